"""Fixtures of whoever drives a whole daemon: daemons that tests share, and the people in front of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer import accounts
from deployer.config import Config
from deployer.installation import Installation
from deployer.models import Project
from deployer.models.user import User
from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.waiting import wait_until

USER = "ada"
MEMBER = "grace"
PASSWORD = "correct horse battery"

_numbers = itertools.count(1)


def make_user(daemon: Daemon, name: str = USER, password: str = PASSWORD, *, is_admin: bool = True) -> User:
    user = accounts.new_user(name, f"{name}@example.com", password, is_admin=is_admin)
    with daemon.installation.database.write_session() as session:
        accounts.add(session, user)
    return user


def logged_in(daemon: Daemon, name: str = USER, password: str = PASSWORD) -> Browser:
    browser = Browser(daemon)
    answer = browser.log_in(name, password)
    assert (answer.status, answer.location) == (302, "/")
    return browser


@contextmanager
def shared(daemon: Daemon) -> Iterator[Daemon]:
    """A daemon that several tests share. It knows an administrator."""
    try:
        daemon.start()
        make_user(daemon)
        yield daemon
    finally:
        daemon.close()
    # An answer of 500 that no test looked at would be found here.
    assert "Traceback" not in daemon.log, daemon.log


def cookie_of(daemon: Daemon, name: str = USER) -> str:
    """A session of somebody whom the daemon knows."""
    cookie = logged_in(daemon, name).cookie
    assert cookie
    return cookie


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Web and runner, shared by every test that leaves it as it was. It knows an administrator and a member."""
    with shared(Daemon(tmp_path_factory.mktemp("daemon"))) as made:
        make_user(made, MEMBER, is_admin=False)
        yield made


@pytest.fixture
def make_daemon(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., Daemon]]:
    """Daemons of one test, not started yet, with a database that was migrated before: ``make_daemon("web", …)``."""
    made: list[Daemon] = []

    def make(command: str = "serve", *, folder: Path | None = None, **settings: object) -> Daemon:
        made.append(
            Daemon(folder or tmp_path / f"daemon-{len(made)}", command, **settings).begin_with(empty_database)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def config(daemon: Daemon) -> Config:
    return daemon.config


@pytest.fixture
def installation(daemon: Daemon) -> Installation:
    return daemon.installation


@pytest.fixture
def operator(daemon: Daemon) -> Iterator[Operator]:
    """Acts on the shared daemon's data from another process; at the end nothing runs or waits there any more."""
    person = Operator(daemon.installation)
    yield person
    active = [one.id for one in person.deployments() if one.status in ("queued", "running")]
    for deployment_id in active:
        person.cancel(deployment_id)
    for deployment_id in active:
        person.wait_for_end(deployment_id)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One commit, which no test adds to."""
    made = Repository(tmp_path_factory.mktemp("repository") / "origin")
    made.commit("first", README_md="hello\n")
    return made


@pytest.fixture
def make_project(operator: Operator, repository: Repository) -> Callable[..., Project]:
    """A project of the shared daemon under a name of its own."""

    def make(*steps: Any, **given: Any) -> Project:
        given.setdefault("name", f"app-{next(_numbers)}")
        return operator.make_project(given.pop("url", repository.url), steps or ("true",), **given)

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()


@pytest.fixture
def forge(daemon: Daemon, project: Project) -> Forge:
    return Forge(daemon, project)


@pytest.fixture(scope="session")
def _cookie(daemon: Daemon) -> str:
    return cookie_of(daemon)


@pytest.fixture
def member(daemon: Daemon, _cookie: str) -> Browser:
    """Somebody who is logged in, for whatever needs no more than that: the administrator."""
    return Browser(daemon, _cookie)


@pytest.fixture
def admin(member: Browser) -> Browser:
    """The administrator, where the role matters."""
    return member


@pytest.fixture(scope="session")
def _plain_cookie(daemon: Daemon) -> str:
    return cookie_of(daemon, MEMBER)


@pytest.fixture
def plain_member(daemon: Daemon, _plain_cookie: str) -> Browser:
    """Somebody whose role is member."""
    return Browser(daemon, _plain_cookie)


@pytest.fixture
def stranger(daemon: Daemon) -> Browser:
    return Browser(daemon)


class Gate:
    """A step that waits until it is told to go on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def step(self) -> str:
        return f"echo started; while [ ! -e {self._path} ]; do sleep 0.01; done; echo ended"

    def open(self) -> None:
        self._path.touch()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "open")
    yield made
    made.open()


@pytest.fixture
def running(operator: Operator, make_project: Callable[..., Project], gate: Gate) -> str:
    """A deployment whose step waits at the gate; its id."""
    deployment_id = operator.deploy(make_project(gate.step))
    operator.wait_for_output(deployment_id, b"started")
    return deployment_id


def ended(operator: Operator, deployment_id: str) -> None:
    wait_until(lambda: operator.status(deployment_id).is_final, f"the end of {deployment_id}")
