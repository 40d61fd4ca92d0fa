"""Making a backup of an installation while it runs.

Working copies, mirrors and what commands were just printing are not in it: the next deployment makes them anew.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy.exc import DBAPIError

from deployer import audit, scratch, sqlite
from deployer.audit import Actor
from deployer.backups import archive, single_file
from deployer.config import Config
from deployer.db import Database, reason
from deployer.errors import BackupError, StorageUnavailable
from deployer.installation import DataDir, exclusive

WORK = ".deployer-backup-"
"""What the folder in which a backup is made is called, and something random."""

COPIED_PAGES = 2048
"""8 MiB: what is copied at a time."""

COPY_REST_S = 0.002


@dataclass(frozen=True)
class Made:
    """A backup that is written: its size in bytes, and why that could not be noted in the audit log, if so."""

    size: int
    unnoted: str = ""


def make(config: Config, target: Path | IO[bytes], actor: Actor, *, with_key: bool, force: bool) -> Made:
    """Write a backup of an installation, which may run. ``target`` is its file, or a stream.

    Nobody who writes to the database waits for it, and it stays of the version that it is of. Raises BackupError,
    or ConfigError where the data folder is not ours; then there is no file, and an older one of that name is as it
    was.
    """
    data_dir = DataDir(config.data_dir)
    name = str(target.absolute()) if isinstance(target, Path) else "standard output"
    try:
        if not config.database_path.exists():
            raise BackupError(f"There is nothing to back up: {config.database_path} does not exist.")
        data_dir.refuse_foreign()
        if isinstance(target, Path):
            _refuse_present(target, force=force)
            folder = target.absolute().parent
        else:
            folder = data_dir.scratch
            folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(f"{WORK}*"):
            scratch.remove(left)
        # The folder is ours alone (0700), and on the disk where the file is to be.
        with scratch.held(folder, WORK) as work, _key_kept(data_dir) if with_key else contextlib.nullcontext():
            size = _write(config, work, target, with_key=with_key, force=force)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup could not be written to {name}: {error}.") from error
    return Made(size, _note(config, actor, name, "with the key" if with_key else "without the key"))


def _key_kept(data_dir: DataDir) -> contextlib.AbstractContextManager[None]:
    """Nobody exchanges the key meanwhile: it is the one of the database that is copied."""
    return exclusive(data_dir.key_lock)


def _note(config: Config, actor: Actor, name: str, detail: str) -> str:
    """Note a backup in the audit log; why that cannot be done, if so."""
    database = Database(config)
    try:
        with database.write() as connection:
            audit.record(connection, actor, "backup.made", name, detail)
    except (StorageUnavailable, DBAPIError) as error:
        return str(error) if isinstance(error, StorageUnavailable) else f"{reason(error.orig)}."
    finally:
        database.dispose()
    return ""


def _write(config: Config, work: Path, target: Path | IO[bytes], *, with_key: bool, force: bool) -> int:
    copy = work / archive.DATABASE
    schema = _copy_database(config.database_path, copy)
    members = {archive.DATABASE: copy}
    if config.source:
        # A copy, so that it does not change under our hands.
        members[archive.CONFIG] = Path(shutil.copyfile(config.source, work / archive.CONFIG))
    if with_key:
        members[archive.KEY] = DataDir(config.data_dir).key_file
    if not isinstance(target, Path):
        counted = _Counted(target)
        archive.pack(members, schema, cast(IO[bytes], counted))
        target.flush()
        return counted.size
    packed = work / "backup"
    with open(os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        archive.pack(members, schema, file)
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


def _copy_database(path: Path, copy: Path) -> str:
    """A copy of the database as it is at this moment, by SQLite's backup interface
    (https://www.sqlite.org/backup.html); the revision of its tables. Raises BackupError where it is damaged."""
    copy.touch(mode=0o600)
    with (
        contextlib.closing(sqlite3.connect(sqlite.address(path, "ro"), uri=True, isolation_level=None)) as source,
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
    schema = single_file.schema(copy)
    if schema is None:
        raise BackupError(f"There is nothing to back up: {path} holds no tables of Deployer.")
    single_file.make(copy)
    return schema


def _rest(copy: Path) -> None:
    """Let others have the disk: what waits to be written grows to no heap that their own commits would wait for."""
    single_file.sync(copy)
    time.sleep(COPY_REST_S)


class _Counted(io.RawIOBase):
    """A stream that counts what is written to it. After a write that failed nothing more is: whoever closes what lies
    above it would otherwise wait once more for a reader who does not read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._has_failed = False
        self.size = 0

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        if self._has_failed:
            return size
        self._has_failed = True
        while left:
            written = self._stream.write(left)
            if written is None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = left[written:]
        self._has_failed = False
        self.size += size
        return size
