"""A server: an sshd where an ordinary user may log in, known to the installation and trusted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deployer.models import Project
from tests.support.operator import Operator
from tests.support.ordinary_user import OrdinaryUser, ordinary_user
from tests.support.repository import Repository
from tests.support.ssh_server import SshServer, require_own_files, require_sshd


@pytest.fixture(scope="session")
def _user() -> Iterator[OrdinaryUser]:
    require_sshd()
    with ordinary_user() as made:
        yield made


@pytest.fixture
def user(_user: OrdinaryUser) -> Iterator[OrdinaryUser]:
    """Their home is as it was before each test."""
    yield _user
    for path in _user.home.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


@pytest.fixture
def make_ssh(user: OrdinaryUser) -> Iterator[Callable[..., SshServer]]:
    """sshds that run: ``make_ssh("rm /usr/bin/git")`` with other files than this host."""
    made: list[SshServer] = []

    def make(*changed: str) -> SshServer:
        number = len(list(user.folder.iterdir()))
        if changed:
            require_own_files(user.folder / f"layer-{number}")
        folder = user.folder / f"sshd-{number}"
        made.append(SshServer(folder, home=user.home, user=user.name, changed=changed))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def ssh(make_ssh: Callable[..., SshServer]) -> SshServer:
    return make_ssh()


@pytest.fixture
def web1(operator: Operator, ssh: SshServer) -> str:
    """The server's id."""
    return operator.make_server(ssh)


@pytest.fixture
def make_project(operator: Operator, repository: Repository, web1: str) -> Callable[..., Project]:
    """A project that is deployed to the server."""

    def make(*steps: Any, **given: Any) -> Project:
        given.setdefault("server", web1)
        return operator.make_project(given.pop("url", repository.url), steps or ("true",), **given)

    return make
