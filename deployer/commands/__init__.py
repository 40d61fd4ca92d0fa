"""Builders of commands: they compose scripts and environments and run nothing."""
