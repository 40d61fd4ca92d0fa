"""A server: an sshd where an ordinary user may log in, known to the installation and trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployer.models import Project
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.servers import _user, make_ssh, ssh, user  # noqa: F401 (fixtures)
from tests.support.ssh_server import SshServer


@pytest.fixture
def web1(operator: Operator, ssh: SshServer) -> str:  # noqa: F811
    """The server's id."""
    return operator.make_server(ssh)


@pytest.fixture
def make_project(operator: Operator, repository: Repository, web1: str) -> Callable[..., Project]:
    """A project that is deployed to the server."""

    def make(*steps: Any, **given: Any) -> Project:
        given.setdefault("server", web1)
        return operator.make_project(given.pop("url", repository.url), steps or ("true",), **given)

    return make
