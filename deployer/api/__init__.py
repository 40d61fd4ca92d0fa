"""Blueprints that answer with JSON and streams."""
