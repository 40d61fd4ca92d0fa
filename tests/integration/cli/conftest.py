"""The command line in a folder of its own, and daemons where a command needs one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer import config_file
from deployer.installation import Installation
from tests.support import database
from tests.support.daemon import APP, Daemon, environment
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.servers import _user, make_ssh, ssh, user  # noqa: F401 (fixtures)
from tests.support.standing import make_daemon, repository  # noqa: F401 (fixtures)


class Shell:
    """Types commands: ``shell("project", "list")``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(folder)
        self.data_dir = folder / "data"

    def __call__(
        self, *words: str, given: str | bytes = "", code: int | None = 0, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **settings}
        database.begin(environment["DEPLOYER_STORAGE_DATABASE_URL"])
        done = subprocess.run(
            [sys.executable, str(APP), *words],
            cwd=self.folder,
            env=environment,
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=60,
        )
        said = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in said.stderr, said.stderr
        assert code is None or said.returncode == code, said.stdout + said.stderr
        return said


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A person on a host where nothing was done yet."""
    return Shell(tmp_path)


@pytest.fixture
def operator(shell: Shell, empty_database: Path) -> Iterator[Operator]:
    """The same installation by its use cases, without a process a command. It is there before the first command."""
    config = config_file.load(APP.parent / "config.example.toml", shell.environment)
    database.begin_with(config, empty_database)
    installation = Installation.open(config)
    yield Operator(installation)
    installation.database.dispose()


@pytest.fixture
def make_project(operator: Operator, repository: Repository) -> Callable[..., object]:  # noqa: F811
    def make(*steps: str, **given: object) -> object:
        return operator.make_project(repository.url, steps or ("true",), **given)

    return make


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A running daemon that all tests of a module talk past: they share its database."""
    daemon = Daemon(tmp_path_factory.mktemp("busy"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def at_daemon(shell: Shell, busy: Daemon) -> Shell:
    """Commands on that daemon's host."""
    shell.environment = busy.environment
    return shell


@pytest.fixture
def there(busy: Daemon) -> Operator:
    return Operator(busy.installation)
