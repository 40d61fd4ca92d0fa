"""Fixtures of whoever needs other hosts: sshds where an ordinary user may log in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.ordinary_user import OrdinaryUser, ordinary_user
from tests.support.ssh_server import SshServer, require_own_files, require_sshd
from tests.support.waiting import wait_until


@pytest.fixture(scope="session")
def _user() -> Iterator[OrdinaryUser]:
    require_sshd()
    with ordinary_user() as made:
        yield made


@pytest.fixture
def user(_user: OrdinaryUser) -> Iterator[OrdinaryUser]:
    """Their home is as it was before each test."""
    yield _user

    def is_empty() -> bool:
        # What a test killed may still write its last words.
        folders = [path for path in _user.home.iterdir() if path.is_dir()]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return not folders

    wait_until(is_empty, "an empty home")


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
