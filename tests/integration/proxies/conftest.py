"""One daemon, with the settings of docs/proxy.md, and in front of it each proxy in turn."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.proxies.servers import Proxy, TlsBrowser, snippet
from tests.support.daemon import Daemon
from tests.support.standing import (  # noqa: F401 (fixtures)
    PASSWORD,
    USER,
    config,
    gate,
    installation,
    make_project,
    operator,
    project,
    repository,
    running,
    shared,
)


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Daemon]:
    settings = {f"server_{name}": value for name, value in tomllib.loads(snippet("toml"))["server"].items()}
    with shared(Daemon(tmp_path_factory.mktemp("behind"), **settings).begin_with(empty_database)) as made:
        yield made


@pytest.fixture(scope="session", params=["caddy", "nginx"])
def proxy(
    request: pytest.FixtureRequest, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with Proxy(request.param, daemon, tmp_path_factory.mktemp("proxy") / request.param).running() as made:
        yield made


@pytest.fixture(scope="session")
def member(proxy: Proxy) -> TlsBrowser:
    """Somebody who logged in through the proxy."""
    browser = TlsBrowser(proxy)
    assert browser.log_in(USER, PASSWORD).status == 302
    return browser


@pytest.fixture
def stranger(proxy: Proxy) -> TlsBrowser:
    return TlsBrowser(proxy)
