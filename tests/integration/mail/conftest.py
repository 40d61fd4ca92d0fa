"""Mail servers, and an installation that sends by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.config import Config, ServerSettings, SmtpSettings
from deployer.installation import Installation
from deployer.models import Notification
from tests.support.mail_server import Authority, MailServer, SilentServer
from tests.support.operator import Operator
from tests.support.waiting import wait_until


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
def silent() -> Iterator[SilentServer]:
    """One that accepts connections and says nothing."""
    with SilentServer() as made:
        yield made


@pytest.fixture
def config(config: Config, request: pytest.FixtureRequest) -> Config:
    """Mails go to `mail_server`, by the configuration."""
    given: dict[str, Any] = {"server": ServerSettings(public_url="https://deploy.example.com")}
    if "silent" in request.fixturenames:
        given["smtp"] = SmtpSettings(**request.getfixturevalue("silent").settings())
    elif "mail_server" in request.fixturenames:
        given["smtp"] = request.getfixturevalue("mail_server").smtp_settings()
    return replace(config, **given)


class Outbox:
    """What is in the outbox, and the time that passes there."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def rows(self) -> list[SimpleNamespace]:
        wanted = sa.select(*Notification.__table__.columns)
        return self._operator.rows(wanted.order_by(Notification.created_at, Notification.id))

    @property
    def row(self) -> SimpleNamespace:
        """The one that there is."""
        (row,) = self.rows()
        return row

    def wait_for(self, **wanted: Any) -> SimpleNamespace:
        """Until the one row is so: ``wait_for(status="sent")``."""

        def is_so() -> bool:
            rows = self.rows()
            return len(rows) == 1 and all(getattr(rows[0], name) == value for name, value in wanted.items())

        wait_until(is_so, f"a notification with {wanted}")
        return self.row

    def is_due(self, *, age: timedelta = timedelta(0)) -> None:
        """Let the time come for everything that waits; ``age`` is how long ago it was owed."""
        now = clock.now()
        values: dict[str, Any] = {"next_attempt_at": now}
        if age:
            values["created_at"] = now - age
        with self._operator.database.write() as connection:
            connection.execute(sa.update(Notification).values(**values))


@pytest.fixture
def outbox(operator: Operator) -> Outbox:
    return Outbox(operator)


@pytest.fixture
def with_smtp(installation: Installation) -> Callable[..., Installation]:
    """The same installation with other mail settings in its configuration."""

    def make(settings: Any) -> Installation:
        installation.config = replace(installation.config, smtp=settings)
        return installation

    return make
