"""Making an installation from a backup, in an empty data folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from deployer import audit, clock, migrations
from deployer.audit import Actor
from deployer.backups import archive, single_file
from deployer.config import Config
from deployer.db import Database
from deployer.deployments import lifecycle
from deployer.errors import BackupError, DeployerError
from deployer.installation import DataDir, keeps_secrets, runner_is_up
from deployer.security import keyfile

CAUSE = "restored from a backup, in which it had not ended"

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
    _refuse_used(data_dir, work)
    try:
        data_dir.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_dir.root.chmod(0o700)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            return _restore(config, source, work, actor)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise BackupError(f"The backup cannot be restored: {error}.") from error


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
            audit.record(connection, actor, "backup.restored", f"of {clock.iso(manifest.made_at)}")
    finally:
        database.dispose()
    single_file.make(there.database_path)
    needs_key = not any((folder / archive.KEY).exists() for folder in (work, work.parent)) and keeps_secrets(there)
    return Restored(manifest.made_at, ended, needs_key, _put_in_place(work, work.parent))


def _unpacked(source: Path | IO[bytes], work: Path) -> archive.Manifest:
    if not isinstance(source, Path):
        return archive.unpack(source, work)
    with source.open("rb") as file:
        return archive.unpack(file, work)


def _put_in_place(work: Path, root: Path) -> Path | None:
    """The database last: without it there is no installation yet. Where the settings are now."""
    settings = None
    if (work / archive.CONFIG).exists():
        settings = (work / archive.CONFIG).rename(root / SETTINGS)
    if (work / archive.KEY).exists():
        single_file.sync(work / archive.KEY)
        (work / archive.KEY).rename(root / archive.KEY)
    (work / archive.DATABASE).rename(root / archive.DATABASE)
    single_file.sync_folder(root)
    return settings


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
