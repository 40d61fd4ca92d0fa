"""Backups: an installation in one file, and an installation from such a file."""
