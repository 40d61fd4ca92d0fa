"""The file that a backup is: a tar archive, compressed by gzip.

Its first member is the manifest, which names the others with the SHA-256 of each. It is read from front to back, so
that it can come through a pipe, and what is in it gets names of our own.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from deployer import __version__, clock, migrations
from deployer.errors import BackupError

FORMAT = 1
MANIFEST = "manifest.json"
DATABASE = "deployer.db"
CONFIG = "config.toml"
KEY = "key"

MAX_SMALL_BYTES = 1024 * 1024
"""Of a member that is no database."""

COMPRESSION = 3
"""Of 9: logs become a tenth anyhow, and most of it is waiting for the disk."""

COPY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. ``files`` are the names of its other members, with the SHA-256 of each."""

    version: str
    schema: str
    made_at: datetime
    files: dict[str, str]


def pack(members: Mapping[str, Path], schema: str, file: IO[bytes]) -> None:
    """Write a backup of these files, among them a database whose tables are of the revision ``schema``."""
    files = {name: _sha256(path) for name, path in members.items()}
    manifest = {
        "format": FORMAT,
        "version": __version__,
        "schema": schema,
        "made_at": clock.iso(clock.now()),
        "files": files,
    }
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=COMPRESSION) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        text = json.dumps(manifest, indent=2).encode() + b"\n"
        _add(archive, MANIFEST, io.BytesIO(text), len(text))
        for name, path in members.items():
            with path.open("rb") as content:
                _add(archive, name, content, os.fstat(content.fileno()).st_size)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o600
    member.mtime = int(time.time())
    archive.addfile(member, content)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(file: IO[bytes], folder: Path) -> Manifest:
    """Lay the members into a folder. Raises BackupError unless they are what the manifest says, and nothing else."""
    try:
        return _unpack(file, folder)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BackupError(f"The backup is damaged, or is none: {error}.") from error


def _unpack(file: IO[bytes], folder: Path) -> Manifest:
    with gzip.GzipFile(mode="rb", fileobj=file) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
        members = iter(archive)
        first = next(members, None)
        if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_SMALL_BYTES:
            raise BackupError("This is no backup of Deployer: it does not begin with a manifest.")
        content = archive.extractfile(first)
        assert content is not None
        manifest = _manifest(content.read())
        found = set()
        for member in members:
            if member.name not in manifest.files or member.name in found or not member.isreg():
                raise BackupError(f"The backup holds {member.name!r}, which is no part of one.")
            if member.name != DATABASE and member.size > MAX_SMALL_BYTES:
                raise BackupError(f"The backup is damaged: its {member.name} is too large.")
            content = archive.extractfile(member)
            assert content is not None
            if _copy(content, folder / member.name) != manifest.files[member.name]:
                raise BackupError(f"The backup is damaged: its {member.name} is not what was put in.")
            found.add(member.name)
    if missing := manifest.files.keys() - found:
        raise BackupError(f"The backup is damaged: {', '.join(sorted(missing))} is missing.")
    return manifest


def _manifest(text: bytes) -> Manifest:
    try:
        given = json.loads(text)
        if given["format"] > FORMAT or given["schema"] > migrations.head():
            raise BackupError(
                f"The backup was made by a newer version of Deployer ({given['version']}).",
                hint="Install that version, then restore.",
            )
        files = {str(name): str(digest) for name, digest in given["files"].items()}
        manifest = Manifest(given["version"], given["schema"], datetime.fromisoformat(given["made_at"]), files)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError("The backup is damaged: its manifest cannot be read.") from error
    if DATABASE not in files or not files.keys() <= {DATABASE, CONFIG, KEY}:
        raise BackupError("The backup is damaged: its manifest names other files than a backup has.")
    return manifest


def _copy(content: IO[bytes], path: Path) -> str:
    """Write a new file (0600); the SHA-256 of what it holds."""
    digest = hashlib.sha256()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for part in _parts(content):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _parts(content: IO[bytes]) -> Iterator[bytes]:
    while part := content.read(COPY_BYTES):
        yield part
