"""Deployer: push to GitHub, your server deploys it."""

__version__ = "0.1.0"
