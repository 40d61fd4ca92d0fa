"""An HTTP server in the place of chats and forges, channels to it, and deployments that begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from deployer import clock, projects
from deployer.config import Config, OutboundSettings, ServerSettings
from deployer.deployments import claims, command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.installation import Installation
from deployer.models import Channel, Notification
from deployer.models.channel import ChannelKind
from deployer.models.deployment import CommandKind, Status
from deployer.models.notification import TO_PEOPLE
from deployer.notifications import channels, sending
from deployer.notifications.channels import ChannelInput
from tests.support.listener import Listener
from tests.support.operator import Operator

MINE = "my runner"
SHA = "1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(
        config,
        server=ServerSettings(public_url="https://deploy.example.com"),
        outbound=OutboundSettings(allow_private=True),
    )


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture
def make_channel(operator: Operator) -> Callable[..., Channel]:
    """A channel that is told everything: ``make_channel("webhook", url=…, project=…)``."""

    def make(kind: str = "webhook", *, name: str = "hook", project: Any = None, **given: Any) -> Channel:
        wanted = ChannelKind(kind)
        checked = channels.check(wanted, ChannelInput(**{"name": name, "occasions": frozenset(TO_PEOPLE), **given}))
        vault = operator.installation.vault
        with operator.database.write_session() as session:
            owner = projects.find(session, project.id) if project else None
            return channels.create(session, wanted, checked, owner, vault)

    return make


class Life:
    """Deployments that begin and end without a runner around them."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._database = operator.database

    def begin(self, project: Any, sha: str | None = SHA, *, is_fetched: bool = True, **facts: Any) -> str:
        deployment_id = self._operator.deploy(project)
        with self._database.write() as connection:
            assert claims.claim(connection, MINE, host_id=self._operator.installation.host_id) == deployment_id
            given = {"commit_sha": sha, **facts}
            lifecycle.record_commit(connection, deployment_id, MINE, **given)
            if is_fetched:
                step = PlannedCommand(f"{deployment_id[:30]}-step", 0, CommandKind.STEP, "a", "a", 60, "n")
                command_lifecycle.plan(connection, deployment_id, [step])
                command_lifecycle.start_command(connection, step.id, MINE, None)
        return deployment_id

    def end(
        self, deployment_id: str, status: Status = Status.SUCCESS, cause: str = "step 'test' exited with 1"
    ) -> str:
        with self._database.write() as connection:
            lifecycle.end(connection, deployment_id, MINE, status, None if status is Status.SUCCESS else cause)
        return deployment_id

    def run(self, project: Any, status: Status = Status.SUCCESS, **facts: Any) -> str:
        return self.end(self.begin(project, **facts), status)


@pytest.fixture
def life(operator: Operator) -> Life:
    return Life(operator)


class Sent:
    """What is in the outbox for channels, and the sending of it."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def rows(self) -> list[SimpleNamespace]:
        wanted = sa.select(*Notification.__table__.columns).where(Notification.channel_id.is_not(None))
        return self._operator.rows(wanted.order_by(Notification.created_at, Notification.id))

    @property
    def row(self) -> SimpleNamespace:
        (row,) = self.rows()
        return row

    def send(self, channel: Channel) -> None:
        sending.send_due(self._operator.installation, channel.id)

    def is_due(self, *, age: timedelta = timedelta(0)) -> None:
        """Let the time come for everything that waits."""
        values: dict[str, Any] = {"next_attempt_at": clock.now()}
        if age:
            values["created_at"] = clock.now() - age
        with self._operator.database.write() as connection:
            connection.execute(sa.update(Notification).values(**values))

    def leave_only(self, *occasions: str) -> None:
        """Forget what was owed of anything else."""
        with self._operator.database.write() as connection:
            connection.execute(sa.delete(Notification).where(Notification.occasion.not_in(occasions)))


@pytest.fixture
def outbox(operator: Operator) -> Sent:
    return Sent(operator)


@pytest.fixture
def sealed(installation: Installation) -> Callable[[Channel], dict[str, str]]:
    """What a channel keeps sealed."""
    return lambda channel: channels.opened(channel, installation.vault)
