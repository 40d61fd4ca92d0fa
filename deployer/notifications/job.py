"""What an attempt needs to send a notification to a channel, and whether it is still worth sending."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from deployer import project_secrets
from deployer.errors import ChannelError, NotFound
from deployer.installation import Installation
from deployer.models.base import table_of
from deployer.models.channel import ChannelKind
from deployer.models.deployment import Command, CommandKind, Deployment
from deployer.models.notification import Notification, NotificationStatus, Occasion
from deployer.notifications import channels, forges, telling
from deployer.notifications.forges import Forge
from deployer.notifications.telling import Telling
from deployer.security.redaction import Redactor

WHOLE_SHA = 40
"""Digits of a commit's id; with SHA-256 there are more."""

_notifications = table_of(Notification)
_deployments = table_of(Deployment)
_commands = table_of(Command)


@dataclass(frozen=True)
class Job:
    """A notification with its channel, its words, and what stands in their way.

    ``pointless`` says why it is not to be sent any more. ``is_outdated``: a later deployment of the project was told
    to be live already. ``is_settled``: no fetch can change any more which commit is deployed. ``remote_id`` is what
    the forge calls the deployment, where it was told of it.
    """

    channel_id: str
    kind: ChannelKind
    target: str
    told: Telling
    redactor: Redactor = field(repr=False)
    sealed: dict[str, str] = field(repr=False)
    forge: Forge | None = None
    remote_id: str | None = None
    is_outdated: bool = False
    is_settled: bool = False
    pointless: str = ""

    @property
    def waits_for_commit(self) -> bool:
        """Whether it can be told only when the deployment has found its commit."""
        return self.forge is not None and not (self.is_settled and _is_whole(self.told.sha))


def read(installation: Installation, connection: sa.Connection, notification_id: str) -> Job:
    """Raises SecretUnreadable, or NotFound where it is gone."""
    with Session(connection) as session:
        notification = session.scalars(
            sa.select(Notification)
            .where(Notification.id == notification_id)
            .options(
                joinedload(Notification.channel),
                joinedload(Notification.deployment).joinedload(Deployment.project),
            )
        ).one_or_none()
        if notification is None or notification.channel is None:
            raise NotFound("The notification went with its channel or its deployment.")
        channel, deployment = notification.channel, notification.deployment
        sealed = channels.opened(channel, installation.vault)
        secrets = project_secrets.read_secrets(session, deployment.project, installation.vault).to_redact()
        redactor = Redactor([*secrets, *channels.to_redact(sealed)])
        told = telling.of(connection, notification, redactor.whole, installation.config.public_url)
        forge = channels.forge_of(channel, sealed) if channel.kind.is_forge else None
        later = _Later(connection, channel.id, deployment.id, deployment.project_id, notification.created_at)
        pointless = "" if channel.is_enabled else "The channel was switched off."
        if forge and channel.project_id is None:
            pointless = pointless or _elsewhere(forge, deployment.project.repository_url)
        return Job(
            channel_id=channel.id,
            kind=channel.kind,
            target=channel.target,
            told=told,
            redactor=redactor,
            sealed=sealed,
            forge=forge,
            remote_id=later.remote_id(),
            is_outdated=forge is not None and later.is_live(),
            is_settled=deployment.status.is_final or _has_settled(connection, deployment.id),
            pointless=pointless or _pointless(told, later, forge, is_final=deployment.status.is_final),
        )


def _has_settled(connection: sa.Connection, deployment_id: str) -> bool:
    """Whether something after the fetch has begun, which settles the commit."""
    wanted = sa.select(sa.literal(1)).where(
        _commands.c.deployment_id == deployment_id,
        _commands.c.kind != CommandKind.FETCH,
        _commands.c.started_at.is_not(None),
    )
    return connection.scalar(wanted.limit(1)) is not None


def _elsewhere(forge: Forge, url: str) -> str:
    """A channel of all projects is for those whose repository is there."""
    try:
        forges.repository_of(forge, url, must_be_there=True)
    except ChannelError as refusal:
        return str(refusal)
    return ""


def _is_whole(sha: str | None) -> bool:
    """Whether it is a commit's whole id, and not the beginning that a person gave, which forges do not take."""
    return sha is not None and len(sha) >= WHOLE_SHA


def _pointless(told: Telling, later: _Later, forge: Forge | None, *, is_final: bool) -> str:
    """Nobody is told something older after something newer."""
    if told.occasion is Occasion.STARTED and later.is_of_deployment():
        return "How it ended was told already."
    if forge and not _is_whole(told.sha) and is_final:
        return "It ended before its commit was known."
    if forge and told.sha and later.is_of_commit(told.sha):
        return "Something later was told of this commit already."
    return ""


class _Later:
    """What the channel was sent already, though it was owed later."""

    def __init__(
        self, connection: sa.Connection, channel_id: str, deployment_id: str, project_id: str, created_at: datetime
    ) -> None:
        self._connection = connection
        self._of_channel = _notifications.c.channel_id == channel_id
        self._of_deployment = _notifications.c.deployment_id == deployment_id
        self._of_project = _deployments.c.project_id == project_id
        self._is_later = sa.and_(
            self._of_channel,
            _notifications.c.status == NotificationStatus.SENT,
            _notifications.c.created_at > created_at,
        )

    def is_of_deployment(self) -> bool:
        return self._is_there(self._of_deployment)

    def is_of_commit(self, sha: str) -> bool:
        known = sa.func.coalesce(_deployments.c.deployed_sha, _deployments.c.commit_sha)
        return self._is_there(sa.and_(self._of_project, known == sha))

    def is_live(self) -> bool:
        return self._is_there(sa.and_(self._of_project, _notifications.c.occasion == Occasion.SUCCESS))

    def remote_id(self) -> str | None:
        """What the forge calls the deployment, whenever it was told of it first."""
        found: str | None = self._connection.scalar(
            sa.select(_notifications.c.remote_id)
            .where(self._of_channel, self._of_deployment, _notifications.c.remote_id.is_not(None))
            .limit(1)
        )
        return found

    def _is_there(self, condition: sa.ColumnElement[bool]) -> bool:
        wanted = (
            sa.select(sa.literal(1))
            .select_from(_notifications.join(_deployments, _deployments.c.id == _notifications.c.deployment_id))
            .where(self._is_later, condition)
            .limit(1)
        )
        return self._connection.scalar(wanted) is not None
