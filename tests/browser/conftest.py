"""One daemon and one browser, and for each test a fresh context whose pages must not complain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from deployer.models.user import Throttle
from tests.browser.faults import Faults
from tests.support.daemon import Daemon
from tests.support.servers import _user, make_ssh, ssh, user  # noqa: F401 (fixtures)
from tests.support.standing import (  # noqa: F401 (fixtures)
    config,
    cookie_of,
    gate,
    installation,
    make_daemon,
    make_project,
    operator,
    project,
    repository,
    running,
    shared,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Web and runner, shared by every test that leaves nothing running. It knows one user."""
    with shared(Daemon(tmp_path_factory.mktemp("daemon"))) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_failures_before(daemon: Daemon) -> None:
    """All tests come from one address, whose wrong passwords would add up."""
    with daemon.installation.database.write() as connection:
        connection.execute(sa.delete(Throttle))


# Of this package and not of the session: while the driver is open, its event loop counts as running in the tests'
# thread, where others want to run their own.
@pytest.fixture(scope="package")
def chrome() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    from tests.browser.parts import chromium

    path = chromium()
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def open_context(chrome: Browser, faults: Faults) -> Iterator[Callable[..., BrowserContext]]:
    """Contexts in front of a daemon, closed at the end: ``open_context(daemon, java_script_enabled=False)``.

    A test whose pages complained fails.
    """
    opened: list[BrowserContext] = []

    def open_one(to: Daemon, cookie: str | None = None, **options: Any) -> BrowserContext:
        address = f"http://{to.host}:{to.port}"
        context = chrome.new_context(base_url=address, reduced_motion="reduce", **options)
        context.set_default_timeout(10_000)
        faults.watch(context)
        if cookie:
            context.add_cookies([{"name": "connect.sid", "value": cookie, "url": address}])
        opened.append(context)
        return context

    yield open_one
    for context in opened:
        context.close()
    assert not faults.unexpected()


@pytest.fixture(scope="package")
def cookie(daemon: Daemon) -> str:
    """A session of the user whom the daemon knows."""
    return cookie_of(daemon)


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str) -> Page:
    """Somebody who is logged in."""
    return open_context(daemon, cookie).new_page()


@pytest.fixture
def stranger(open_context: Callable[..., BrowserContext], daemon: Daemon) -> Page:
    return open_context(daemon).new_page()


@pytest.fixture
def plain(open_context: Callable[..., BrowserContext], daemon: Daemon) -> Page:
    """A stranger whose browser runs no scripts."""
    return open_context(daemon, java_script_enabled=False).new_page()
