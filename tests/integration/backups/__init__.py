"""Backups of real installations, and installations from backups."""
