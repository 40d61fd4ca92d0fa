"""What channels are told of a deployment: the facts as they are stored, without secrets, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from deployer import clock
from deployer.models.base import table_of
from deployer.models.deployment import CommandKind, Deployment, Status, Trigger
from deployer.models.notification import Notification, Occasion
from deployer.models.release import Release
from deployer.notifications.message import WORDS, Redact, one_line, shortened, shown

MAX_LINE = 300
MAX_TEXT = 4000

_releases = table_of(Release)


@dataclass(frozen=True)
class Telling:
    """The facts of one notification. ``asked`` says who or what asked for the deployment; ``release`` names the one
    that it made, or went back to; ``link`` leads to its page; ``branch`` is empty where a ``tag`` is deployed."""

    notification_id: str
    occasion: Occasion
    project: str
    repository_url: str
    deployment_id: str
    ref: str
    status: Status
    trigger: Trigger
    asked: str
    branch: str
    link: str
    queued_at: datetime
    tag: str | None = None
    triggered_by: str | None = None
    release: str | None = None
    sha: str | None = None
    commit_message: str = ""
    author: str = ""
    cause: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def word(self) -> str:
        """``failed``, ``recovered`` …"""
        is_cancelled = self.occasion is Occasion.CANCELLATION
        return str(self.status) if is_cancelled else WORDS[self.occasion]

    @property
    def subject(self) -> str:
        """The first line of the commit's message."""
        return shortened(one_line(self.commit_message.strip().split("\n", 1)[0]), MAX_LINE)

    @property
    def cause_line(self) -> str:
        return shortened(one_line(self.cause.strip().split("\n", 1)[0]), MAX_LINE)

    @property
    def duration(self) -> str:
        if self.started_at is None or self.finished_at is None:
            return ""
        return clock.duration_words((self.finished_at - self.started_at).total_seconds())


def of(connection: sa.Connection, notification: Notification, redact: Redact, public_url: str) -> Telling:
    """The facts of a notification whose deployment and project are loaded."""
    deployment = notification.deployment
    has_begun_only = notification.occasion is Occasion.STARTED
    who = shortened(one_line(shown(deployment.triggered_by or deployment.pusher, redact)), MAX_LINE)
    release = _release(connection, deployment.release_id)
    return Telling(
        notification_id=notification.id,
        occasion=notification.occasion,
        project=deployment.project.name,
        repository_url=deployment.project.repository_url,
        deployment_id=deployment.id,
        ref=deployment.ref,
        # What it has come to since is told by a notification of its own.
        status=Status.RUNNING if has_begun_only else deployment.status,
        trigger=deployment.trigger,
        asked=_asked(deployment, who, release),
        branch="" if deployment.tag else one_line(shown(deployment.branch, redact)),
        tag=one_line(shown(deployment.tag, redact)) or None,
        link=f"{public_url}/deployments/{deployment.ref}",
        queued_at=deployment.queued_at,
        triggered_by=who or None,
        release=release,
        sha=_sha(deployment),
        commit_message=shortened(shown(deployment.commit_message, redact).strip(), MAX_TEXT),
        author=shortened(one_line(shown(deployment.author_name, redact)), MAX_LINE),
        cause="" if has_begun_only else shortened(shown(deployment.cause, redact).strip(), MAX_TEXT),
        started_at=deployment.started_at,
        finished_at=None if has_begun_only else deployment.finished_at,
    )


def _sha(deployment: Deployment) -> str | None:
    """The commit. Of a tag it is known after the fetch: what the forge named may be the annotated tag itself."""
    if deployment.tag is None:
        return deployment.sha
    has_fetched = any(one.kind is CommandKind.FETCH and one.status is Status.SUCCESS for one in deployment.commands)
    goes_on = any(one.kind is not CommandKind.FETCH and one.started_at for one in deployment.commands)
    return deployment.sha if goes_on or (has_fetched and deployment.status.is_final) else None


def _release(connection: sa.Connection, release_id: str | None) -> str | None:
    row = connection.execute(
        sa.select(_releases.c.number, _releases.c.commit_sha).where(_releases.c.id == release_id)
    ).first()
    return f"{row.number}-{row.commit_sha[:7]}" if row else None


def _asked(deployment: Deployment, who: str, release: str | None) -> str:
    """Who or what asked for a deployment, in the words of its page."""
    by = f" by {who}" if who else ""
    match deployment.trigger:
        case Trigger.PUSH:
            return f"push{by}"
        case Trigger.POLL:
            return "found on the remote"
        case Trigger.SCHEDULE:
            return f"by its schedule{f', {who}' if who else ''}"
        case Trigger.RETRY:
            return f"retry{by}" if deployment.triggered_by else "by itself, after an interruption"
        case Trigger.ROLLBACK:
            return f"rolled back{f' to {release}' if release else ''}{by}"
        case Trigger.MANUAL:
            return f"by hand, {who}" if who else "by hand"
    return f"{deployment.trigger}{by}"
