"""Marks, by which an installation knows a test delivery of its own: nobody else can make one.

A mark lies inside the signed body, and is itself signed with a key that only this installation has: whoever knows a
project's webhook secret, as the forge does, still cannot make one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass

FIELD = "deployer_test"
"""The field of the body's JSON object that holds a mark: its first one, so that every other body is told at once."""

MAX_BYTES = 64 * 1024
"""A longer body is none of ours."""

_BEGINNING = f'{{"{FIELD}":'.encode()


@dataclass(frozen=True, slots=True)
class Mark:
    """``by`` is the person who sent the delivery; ``deploys`` says that it is a push like any other for all that."""

    by: str
    deploys: bool


def make(key: bytes, project_id: str, mark: Mark) -> dict[str, object]:
    """The value of `FIELD` in a body for this project; it has to come first in it."""
    nonce = secrets.token_hex(16)
    return {
        "nonce": nonce,
        "by": mark.by,
        "deploys": mark.deploys,
        "mac": _mac(key, project_id, nonce, mark),
    }


def find(raw: bytes, key: bytes, project_id: str) -> Mark | None:
    """The mark in a body; None where there is none that was made with ``key`` for this project."""
    if not raw.startswith(_BEGINNING) or len(raw) > MAX_BYTES:
        return None
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    given = document.get(FIELD) if isinstance(document, dict) else None
    if not isinstance(given, dict):
        return None
    nonce, by, deploys, mac = (given.get(name) for name in ("nonce", "by", "deploys", "mac"))
    if not (isinstance(nonce, str) and isinstance(by, str) and isinstance(deploys, bool) and isinstance(mac, str)):
        return None
    mark = Mark(by, deploys)
    is_ours = hmac.compare_digest(_mac(key, project_id, nonce, mark).encode(), mac.encode("utf-8", "replace"))
    return mark if is_ours else None


def _mac(key: bytes, project_id: str, nonce: str, mark: Mark) -> str:
    said = json.dumps([project_id, nonce, mark.by, mark.deploys]).encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()
