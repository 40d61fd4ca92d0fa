"""Making an installation from a backup, in an empty data folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from deployer import accounts, audit, clock, migrations
from deployer.audit import Actor
from deployer.backups import archive, single_file
from deployer.config import Config
from deployer.db import Database, reason
from deployer.deployments import lifecycle
from deployer.errors import BackupError, DeployerError, StorageUnavailable
from deployer.installation import DataDir, keeps_secrets, runner_is_up
from deployer.models.user import Invitation, LoginSession
from deployer.notifications import outbox
from deployer.security import keyfile

RESTORED = "restored from a backup"
CAUSE = f"{RESTORED}, in which it had not ended"

SETTINGS = "config.toml.restored"
"""Beside the settings in use, and not in their place: it may be they that say where the data folder is."""


@dataclass(frozen=True)
class Restored:
    """What became of a restore: of how many deployments the end was written down, whether the key is missing that
    opens what the database keeps, and where the settings of then were laid."""

    made_at: datetime
    ended: int
    needs_key: bool
    config: Path | None


def restore(config: Config, source: Path | IO[bytes], actor: Actor) -> Restored:
    """Fill an empty data folder from a backup. Only the key may be there already.

    Raises BackupError; then the folder is as empty as before. What ran or waited when the backup was made is ended
    as interrupted: a push of then is not run by surprise.
    """
    data_dir = DataDir(config.data_dir)
    work = data_dir.root / "restoring"
    try:
        _refuse_used(data_dir, work)
        data_dir.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with data_dir.filled():
            # It may have been opened since.
            _refuse_used(data_dir, work)
            data_dir.root.chmod(0o700)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(mode=0o700)
            try:
                return _restore(config, source, work, actor)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"The backup cannot be restored: {error}.") from error
    except DBAPIError as error:
        raise BackupError(f"The backup cannot be restored: {reason(error.orig)}.") from error
    except StorageUnavailable as error:
        raise BackupError(f"The backup cannot be restored: {error}") from error


def _refuse_used(data_dir: DataDir, work: Path) -> None:
    if runner_is_up(data_dir):
        raise BackupError(
            f"A runner works on the data folder {data_dir.root}.",
            hint="Stop Deployer and move the folder away, then restore.",
        )
    present = {path.name for path in data_dir.root.iterdir()} if data_dir.root.exists() else set()
    if present - {archive.KEY, work.name}:
        raise BackupError(
            f"The data folder {data_dir.root} is not empty.",
            hint="Stop Deployer and move the folder away, or choose another storage.data_dir; then restore.",
        )


def _restore(config: Config, source: Path | IO[bytes], work: Path, actor: Actor) -> Restored:
    manifest = _unpacked(source, work)
    problem = single_file.problem(work / archive.DATABASE)
    if problem:
        raise BackupError(f"The backup is damaged: its database is not sound ({problem}).")
    if single_file.schema(work / archive.DATABASE) is None:
        raise BackupError("The backup is damaged: its database holds no tables of Deployer.")
    _check_key(work, work.parent)
    # An installation of its own until everything is in order.
    there = replace(config, storage=replace(config.storage, data_dir=str(work)))
    try:
        if migrations.is_behind(there):
            migrations.upgrade(there)
    except DeployerError as error:
        raise BackupError(f"The backup cannot be used: {error}") from error
    database = Database(there)
    try:
        with database.write() as connection:
            ended = lifecycle.interrupt_all(connection, CAUSE)
            _forget_admissions(connection)
            outbox.give_up_all(connection, f"Given up: {RESTORED}.")
            audit.record(connection, actor, "backup.restored", f"of {clock.iso(manifest.made_at)}")
    finally:
        database.dispose()
    single_file.make(there.database_path)
    # Whatever came there meanwhile, it is not written over.
    _refuse_used(DataDir(work.parent), work)
    needs_key = not any((folder / archive.KEY).exists() for folder in (work, work.parent)) and keeps_secrets(there)
    return Restored(manifest.made_at, ended, needs_key, _put_in_place(work, work.parent))


def _forget_admissions(connection: sa.Connection) -> None:
    """What ended after the backup was made (a login, an invitation, a set-up link) lets nobody in again."""
    connection.execute(sa.delete(LoginSession))
    connection.execute(sa.delete(Invitation))
    accounts.forget_setup_token(connection)


def _unpacked(source: Path | IO[bytes], work: Path) -> archive.Manifest:
    if not isinstance(source, Path):
        return archive.unpack(source, work)
    with source.open("rb") as file:
        return archive.unpack(file, work)


def _put_in_place(work: Path, root: Path) -> Path | None:
    """The database last: without it there is no installation yet. Nothing is written over. Where the settings are
    now."""
    placed: list[Path] = []
    try:
        for name, wanted in ((archive.CONFIG, SETTINGS), (archive.KEY, archive.KEY), (archive.DATABASE,) * 2):
            if (work / name).exists():
                single_file.sync(work / name)
                os.link(work / name, root / wanted)
                placed.append(root / wanted)
                (work / name).unlink()
        single_file.sync_folder(root)
    except OSError:
        for path in placed:
            path.unlink()
        raise
    return root / SETTINGS if root / SETTINGS in placed else None


def _check_key(work: Path, root: Path) -> None:
    """Raises BackupError where the folder has another key than the backup, or one that is none."""
    try:
        present = keyfile.load(root / archive.KEY) if (root / archive.KEY).exists() else None
        given = keyfile.load(work / archive.KEY) if (work / archive.KEY).exists() else None
    except DeployerError as error:
        raise BackupError(f"The backup cannot be restored: {error}") from error
    if present and given and present != given:
        raise BackupError(
            f"The data folder {root} has another key than the backup.", hint="Move that key away, then restore."
        )
