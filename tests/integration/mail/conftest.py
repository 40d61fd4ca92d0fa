"""Mail servers, and an installation that sends by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from deployer.config import Config, ServerSettings
from deployer.installation import Installation
from tests.support.mail_server import Authority, MailServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def make_mail_server(authority: Authority) -> Iterator[Callable[..., MailServer]]:
    """Mail servers that run: ``make_mail_server("starttls", login=True, names=("localhost",))``."""
    with ExitStack() as stack:

        def make(
            security: str = "none", *, login: bool = False, names: tuple[str, ...] = ("localhost",)
        ) -> MailServer:
            context = authority.context(*names) if security != "none" else None
            return stack.enter_context(MailServer(security, context, login=login))

        yield make


@pytest.fixture
def mail_server(make_mail_server: Callable[..., MailServer]) -> MailServer:
    """One that takes every mail, without encryption or login."""
    return make_mail_server()


@pytest.fixture
def config(config: Config, request: pytest.FixtureRequest) -> Config:
    """Mails go to `mail_server`, by the configuration."""
    given: dict[str, Any] = {"server": ServerSettings(public_url="https://deploy.example.com")}
    if "mail_server" in request.fixturenames:
        given["smtp"] = request.getfixturevalue("mail_server").smtp_settings()
    return replace(config, **given)


@pytest.fixture
def with_smtp(installation: Installation) -> Callable[..., Installation]:
    """The same installation with other mail settings in its configuration."""

    def make(settings: Any) -> Installation:
        installation.config = replace(installation.config, smtp=settings)
        return installation

    return make
