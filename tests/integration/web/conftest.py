"""The shared daemon and the people in front of it take the places of the runner tests' standing parts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer.models import Variable
from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.servers import _user, make_ssh, ssh, user  # noqa: F401 (fixtures)
from tests.support.standing import (  # noqa: F401 (fixtures)
    _cookie,
    _plain_cookie,
    admin,
    config,
    daemon,
    forge,
    gate,
    installation,
    make_daemon,
    make_project,
    member,
    operator,
    plain_member,
    project,
    repository,
    running,
    shared,
    stranger,
)

_addresses = (f"198.51.100.{number}" for number in itertools.count(1))


@pytest.fixture(scope="session")
def proxied_daemon(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Daemon]:
    """A web process behind one proxy, so that each test can come from addresses of its own."""
    made = Daemon(tmp_path_factory.mktemp("proxied"), "web", server_trusted_proxies=1)
    with shared(made.begin_with(empty_database)):
        yield made


@pytest.fixture
def proxied(proxied_daemon: Daemon) -> Browser:
    """A stranger from an address that nobody else comes from."""
    return Browser(proxied_daemon, headers={"X-Forwarded-For": next(_addresses)})


@pytest.fixture
def nothing_of_all_projects(operator) -> Iterator[None]:  # noqa: F811
    """The daemon is shared, and a variable of all projects would be everybody's."""
    yield
    with operator.database.write() as connection:
        connection.execute(sa.delete(Variable).where(Variable.project_id.is_(None)))
