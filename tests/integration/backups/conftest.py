"""A backup, and an installation that was made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.audit import Actor
from deployer.backups import making, restoring
from deployer.config import Config, StorageSettings
from deployer.installation import Installation
from tests.support.database import ON_POSTGRESQL

if ON_POSTGRESQL:
    # Its backups are made by pg_dump.
    collect_ignore_glob = ["test_*.py"]

ADA = Actor("ada (command line)")


@pytest.fixture
def backup(installation: Installation, tmp_path: Path) -> Callable[..., Path]:
    """Make a backup: ``backup(with_key=True)``; its file."""

    def backup(name: str = "backup.tar.gz", *, with_key: bool = False, force: bool = False) -> Path:
        file = tmp_path / name
        making.make(installation.config, file, ADA, with_key=with_key, force=force)
        return file

    return backup


@pytest.fixture
def new_config(config: Config, tmp_path: Path) -> Config:
    """The same settings for a data folder that does not exist yet."""
    return replace(config, storage=StorageSettings(data_dir=str(tmp_path / "restored")))


@pytest.fixture
def restore(new_config: Config) -> Callable[[Path], restoring.Restored]:
    return lambda file: restoring.restore(new_config, file, ADA)


@pytest.fixture
def open_restored(new_config: Config) -> Iterator[Callable[[], Installation]]:
    """What was restored, opened as a daemon would."""
    opened: list[Installation] = []

    def open_restored() -> Installation:
        opened.append(Installation.open(new_config))
        return opened[-1]

    yield open_restored
    for one in opened:
        one.database.dispose()
