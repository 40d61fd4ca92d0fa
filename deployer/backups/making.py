"""Making a backup of an installation while it runs.

Working copies, mirrors and what commands were just printing are not in it: the next deployment makes them anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import IO, Any, cast

from deployer import audit
from deployer.audit import Actor
from deployer.backups import archive, single_file
from deployer.errors import BackupError
from deployer.installation import Installation

COPIED_PAGES = 2048
"""8 MiB: what is copied at a time."""

COPY_REST_S = 0.002


def make(installation: Installation, target: Path | IO[bytes], actor: Actor, *, with_key: bool, force: bool) -> int:
    """Write a backup of a running installation; its size in bytes. ``target`` is its file, or a stream.

    Nobody who writes to the database waits for it. Raises BackupError; then there is no file, and an older one of
    that name is as it was.
    """
    if isinstance(target, Path):
        _refuse_present(target, force=force)
        folder, name = target.absolute().parent, str(target.absolute())
    else:
        folder, name = installation.data_dir.scratch, "standard output"
    try:
        # The folder is ours alone (0700), and on the disk where the file is to be.
        with tempfile.TemporaryDirectory(prefix=".deployer-backup-", dir=folder) as work:
            size = _write(installation, Path(work), target, with_key=with_key, force=force)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup could not be written to {name}: {error}.") from error
    with installation.database.write() as connection:
        audit.record(connection, actor, "backup.made", name, "with the key" if with_key else "without the key")
    return size


def _write(installation: Installation, work: Path, target: Path | IO[bytes], *, with_key: bool, force: bool) -> int:
    copy = work / archive.DATABASE
    _copy_database(installation.config.database_path, copy)
    members = {archive.DATABASE: copy}
    if installation.config.source:
        # A copy, so that it does not change under our hands.
        members[archive.CONFIG] = Path(shutil.copyfile(installation.config.source, work / archive.CONFIG))
    if with_key:
        members[archive.KEY] = installation.data_dir.key_file
    if not isinstance(target, Path):
        counted = _Counted(target)
        archive.pack(members, cast(IO[bytes], counted))
        target.flush()
        return counted.size
    packed = work / "backup"
    with open(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        archive.pack(members, file)
        file.flush()
        os.fsync(file.fileno())
    size = packed.stat().st_size
    _refuse_present(target, force=force)
    packed.replace(target)
    single_file.sync_folder(target.absolute().parent)
    return size


def _refuse_present(target: Path, *, force: bool) -> None:
    if target.exists() and not force:
        raise BackupError(f"{target} exists already.", hint="Choose another name, or overwrite it with --force.")


def _copy_database(path: Path, copy: Path) -> None:
    """A copy of the database as it is at this moment, by SQLite's backup interface
    (https://www.sqlite.org/backup.html). Raises BackupError where it is damaged."""
    copy.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as source,
        contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as target,
    ):
        # Within one reader's view of it. Otherwise each commit of another process would have it begin anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        # Nobody else knows the copy yet; it is worth nothing before it is whole.
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=COPIED_PAGES, progress=lambda *_: _rest(copy))
        source.execute("COMMIT")
    problem = single_file.problem(copy)
    if problem:
        raise BackupError(f"The database {path} is damaged: {problem}.", hint="Restore an older backup.")
    single_file.make(copy)


def _rest(copy: Path) -> None:
    """Let others have the disk: what waits to be written grows to no heap that their own commits would wait for."""
    single_file.sync(copy)
    # Who clears what was left behind sees that this was not.
    os.utime(copy.parent)
    time.sleep(COPY_REST_S)


class _Counted(io.RawIOBase):
    """A stream that counts what is written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = 0

    def write(self, data: Any) -> int:
        self._stream.write(data)
        self.size += len(data)
        return len(data)
