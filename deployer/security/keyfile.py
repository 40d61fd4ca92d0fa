"""The key file: one random secret outside the database, from which every other key is derived."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path

from deployer.errors import KeyFileError

KEY_BYTES = 32


def load_or_create(path: Path) -> bytes:
    """The key at ``path``, made at the first start with mode 0600.

    Raises KeyFileError if others can read it, or if it is no key.
    """
    if not path.exists():
        # Whole before it has its name: web and runner may start at once, and each must find all of it or nothing.
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        try:
            _write(temporary, base64.urlsafe_b64encode(os.urandom(KEY_BYTES)) + b"\n")
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return load(path)


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"The key file {path} can be read by other users (mode {mode:04o}).", hint=f"Run: chmod 600 {path}"
            )
        key = base64.urlsafe_b64decode(path.read_bytes().strip())
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise KeyFileError(f"The key file {path} is damaged.", hint="Restore it from a backup.") from error
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"The key file {path} is damaged.", hint="Restore it from a backup.")
    return key


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (HKDF-Expand of RFC 5869 with SHA-256, one block)."""
    return hmac.new(key, purpose.encode() + b"\x01", hashlib.sha256).digest()
