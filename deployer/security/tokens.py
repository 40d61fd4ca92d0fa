"""Tokens: long random texts that open something, of which only a hash is stored."""

from __future__ import annotations

import hashlib
import secrets


def new() -> str:
    """256 bits, in characters that an address may hold."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token. It is long and random, so a plain hash keeps it."""
    return hashlib.sha256(token.encode()).hexdigest()
