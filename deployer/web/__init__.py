"""Blueprints that answer with pages."""
