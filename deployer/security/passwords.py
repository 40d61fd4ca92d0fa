"""Passwords: argon2id with OWASP's parameters (19 MiB, two passes, one lane)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 10
MAX_LENGTH = 1024

# Each hash takes 19 MiB and a core; more at once would be a way to stop the daemon.
_at_once = threading.BoundedSemaphore(2)
_DECOY = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$YUk2b6bBFvUGGUZuQGt6lB0lHWFzNZ1eEyFnh8dSM5Y"


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def problem(password: str) -> str | None:
    """Why a new password cannot be taken, in words; None if it can."""
    if len(password) < MIN_LENGTH:
        return f"Use at least {MIN_LENGTH} characters."
    if len(password) > MAX_LENGTH:
        return f"Use at most {MAX_LENGTH} characters."
    try:
        password.encode()
    except UnicodeEncodeError:
        # Python's way to carry bytes that are no UTF-8 (PEP 383).
        return "Use characters of Unicode, encoded as UTF-8."
    return None


def hash_password(password: str) -> str:
    with _at_once:
        return _hasher().hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Whether ``password`` is right. Takes as long where there is no such user, so that nobody learns who exists."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    if len(password) > MAX_LENGTH:
        return False
    with _at_once:
        try:
            return _hasher().verify(password_hash or _DECOY, password) and password_hash is not None
        except (Argon2Error, InvalidHashError):
            return False
