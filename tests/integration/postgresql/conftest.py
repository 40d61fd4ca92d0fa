"""Installations on a PostgreSQL of their own, which a test may stop; whatever the other tests run on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer.config import Config, StorageSettings
from deployer.installation import Installation
from tests.support.daemon import Daemon
from tests.support.database import Server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """It answers at first, and again at the end, so that what is left can be looked at."""
    yield _server
    if not _server.is_running:
        _server.start()


@pytest.fixture(scope="session")
def _template(_server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that is migrated, and otherwise empty."""
    _server.make("migrated")
    folder = tmp_path_factory.mktemp("migrated") / "data"
    Installation.open(Config(storage=StorageSettings(str(folder), _server.url("migrated")))).database.dispose()
    return "migrated"


@pytest.fixture
def database(server: Server, _template: str) -> str:
    """The name of a migrated database."""
    name = f"test{next(_numbers)}"
    server.make(name, _template)
    return name


@pytest.fixture
def storage(tmp_path: Path, server: Server, database: str) -> StorageSettings:
    return StorageSettings(str(tmp_path / "data"), server.url(database))


@pytest.fixture
def installation(config: Config) -> Iterator[Installation]:
    opened = Installation.open(config)
    yield opened
    opened.database.dispose()


@pytest.fixture
def make_daemon(tmp_path: Path, installation: Installation) -> Iterator[Callable[..., Daemon]]:
    """Hosts that share the database and its key: ``make_daemon("web", …)``. The first one is the installation's own;
    each other has a data folder of its own."""
    made: list[Daemon] = []

    def make(command: str = "serve", **settings: object) -> Daemon:
        url = installation.config.storage.database_url
        folder = tmp_path / f"host-{len(made)}" if made else tmp_path
        daemon = Daemon(folder, command, **{"storage_database_url": url, **settings})
        if made:
            daemon.config.data_dir.mkdir(mode=0o700)
            shutil.copy(installation.data_dir.key_file, daemon.config.data_dir)
        made.append(daemon)
        return daemon

    yield make
    for one in made:
        one.close()
