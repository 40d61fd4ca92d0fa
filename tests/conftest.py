"""The standing parts: an installation, repositories, projects, an operator, and a runner."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.config import Config, GitSettings, RunnerSettings, StorageSettings
from deployer.executors import processes
from deployer.installation import Installation
from deployer.models import Project
from tests.support import database
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.runner_process import RunnerProcess

# What is ignored here, as in the background of a shell, everything that the tests start would ignore too.
for _ignored in {signal.SIGHUP, signal.SIGQUIT, signal.SIGINT}:
    if signal.getsignal(_ignored) is signal.SIG_IGN:
        signal.signal(_ignored, signal.default_int_handler if _ignored == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def storage(tmp_path: Path) -> StorageSettings:
    return database.storage(tmp_path / "data")


@pytest.fixture
def config(storage: StorageSettings) -> Config:
    return Config(
        storage=storage,
        git=GitSettings(allow_file=True),
        runner=RunnerSettings(cancel_grace=1),
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation's data folder whose database is as the migrations make it. Made once; others begin with a copy
    of that database."""
    folder = tmp_path_factory.mktemp("empty") / "data"
    config = Config(storage=database.storage(folder))
    database.begin(config.storage.database_url)
    Installation.open(config).database.dispose()
    return folder


@pytest.fixture
def installation(config: Config, empty_database: Path) -> Iterator[Installation]:
    database.begin_with(config, empty_database)
    opened = Installation.open(config)
    yield opened
    opened.database.dispose()


@pytest.fixture
def operator(installation: Installation) -> Operator:
    return Operator(installation)


@pytest.fixture
def make_repository(tmp_path: Path) -> Callable[..., Repository]:
    """A repository with one commit."""

    def make(name: str = "origin") -> Repository:
        repository = Repository(tmp_path / name)
        repository.commit("first", README_md="hello\n")
        return repository

    return make


@pytest.fixture
def repository(make_repository: Callable[..., Repository]) -> Repository:
    return make_repository()


@pytest.fixture
def make_project(operator: Operator, repository: Repository) -> Callable[..., Project]:
    """A project of `repository`: ``make_project("step", "step", name=…, …)``."""

    def make(*steps: Any, url: str | None = None, **given: Any) -> Project:
        return operator.make_project(url or repository.url, steps or ("true",), **given)

    return make


@pytest.fixture
def make_runner(config: Config, operator: Operator, tmp_path: Path) -> Iterator[Callable[..., RunnerProcess]]:
    """Runners that are not started yet. At the end they, and what their deployments left running, are killed."""
    made: list[RunnerProcess] = []

    def make(environment: dict[str, str] | None = None, **given: Any) -> RunnerProcess:
        made.append(RunnerProcess(config, tmp_path / f"runner-{len(made)}.log", environment, **given))
        return made[-1]

    yield make
    for runner in made:
        if runner.is_running:
            runner.kill()
    for deployment in operator.deployments():
        for pid in processes.with_variable(f"DEPLOY_ID={deployment.id}".encode()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def runner(make_runner: Callable[..., RunnerProcess]) -> RunnerProcess:
    """A runner that works."""
    return make_runner().start()
