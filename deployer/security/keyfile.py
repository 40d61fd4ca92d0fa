"""The key file: one random secret outside the database, from which every other key is derived.

While the key is exchanged for another the file holds both, one a line: the first seals, all open. So at every moment
what the database holds can be opened by what the file holds, wherever the exchange is cut off.
"""

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


def new() -> bytes:
    return os.urandom(KEY_BYTES)


def load_or_create(path: Path) -> bytes:
    """The key at ``path``, made at the first start with mode 0600.

    Raises KeyFileError if others can read it, or if it is no key.
    """
    if not path.exists():
        # Whole before it has its name: web and runner may start at once, and each must find all of it or nothing.
        temporary = _beside(path)
        try:
            _write(temporary, new())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return load(path)


def replace(path: Path, *keys: bytes) -> None:
    """Have the file hold these keys: at every moment it holds the former ones or these, whole and on the disk.

    Raises KeyFileError; then it is as it was, unless the disk failed at the very end.
    """
    temporary = _beside(path)
    try:
        _write(temporary, *keys)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}")


def _write(path: Path, *keys: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.writelines(base64.urlsafe_b64encode(key) + b"\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> bytes:
    """The key that seals. Raises KeyFileError if others can read it, or if it is no key."""
    return load_all(path)[0]


def load_all(path: Path) -> tuple[bytes, ...]:
    """The key that seals, and after it those that only open. Raises KeyFileError."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"The key file {path} can be read by other users (mode {mode:04o}).", hint=f"Run: chmod 600 {path}"
            )
        keys = tuple(base64.urlsafe_b64decode(line) for line in path.read_bytes().split())
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise KeyFileError(f"The key file {path} is damaged.", hint="Restore it from a backup.") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise KeyFileError(f"The key file {path} is damaged.", hint="Restore it from a backup.")
    return keys


class KeyFile:
    """The keys of a file that may be exchanged while this process runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: tuple[bytes, ...] = ()
        self._seen: tuple[int, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """What it holds now; where it cannot be read now, what it held last. Raises KeyFileError where it never
        could."""
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
            if seen != self._seen:
                self._keys, self._seen = load_all(self._path), seen
        except (OSError, KeyFileError):
            if not self._keys:
                load_all(self._path)
        return self._keys


def fingerprint(key: bytes) -> str:
    """What names a key without telling it: 16 hexadecimal digits."""
    return derive(key, "fingerprint").hex()[:16]


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose (HKDF-Expand of RFC 5869 with SHA-256, one block)."""
    return hmac.new(key, purpose.encode() + b"\x01", hashlib.sha256).digest()
