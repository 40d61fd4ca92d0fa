"""Channels of every kind, and a log with everything that a notification can come to."""

from __future__ import annotations

from datetime import timedelta

from deployer import clock, projects
from deployer.models import Channel, Notification
from deployer.models.channel import ChannelKind
from deployer.models.notification import TO_PEOPLE, NotificationStatus, Occasion
from deployer.notifications import channels
from deployer.notifications.channels import ChannelInput
from tests.support.operator import Operator

LONG_NAME = "a-rather-long-name-of-a-channel-without-any-place-to-break-it-xx"
TOKEN = "ghp_0123456789abcdef"


def make(operator: Operator, project_name: str, deployment_id: str) -> dict[str, str]:
    """The ids of the channels by their kinds."""
    forge = {"api_url": "http://127.0.0.1:9", "token": TOKEN, "repository": "grace/app"}
    wanted = {
        ChannelKind.WEBHOOK: (project_name, ChannelInput("hook", frozenset(TO_PEOPLE), url="http://127.0.0.1:9/in")),
        ChannelKind.GITHUB: (project_name, ChannelInput("statuses", environment="production", **forge)),
        ChannelKind.GITEA: (None, ChannelInput(LONG_NAME, **forge)),
    }
    ids: dict[str, str] = {}
    for kind, (owner, given) in wanted.items():
        checked = channels.check(kind, given)
        with operator.database.write_session() as session:
            project = projects.find(session, owner) if owner else None
            ids[kind] = channels.create(session, kind, checked, project, operator.installation.vault).id
    _log(operator, ids, deployment_id)
    return ids


def _log(operator: Operator, ids: dict[str, str], deployment_id: str) -> None:
    now = clock.now()
    said = {
        NotificationStatus.PENDING: ("GitHub takes no more calls for now (403).", "{}"),
        NotificationStatus.SENT: (None, '{"id": 1, "state": "success"}' + " and more" * 40),
        NotificationStatus.GIVEN_UP: ("The token may not write what is told of grace/app (403). " * 3, "x" * 300),
        NotificationStatus.DROPPED: ("How it ended was told already.", None),
    }
    with operator.database.write_session() as session:
        for status, (error, answer) in said.items():
            for kind in (ChannelKind.WEBHOOK, ChannelKind.GITEA):
                session.add(
                    Notification(
                        id=clock.new_id(),
                        channel_id=ids[kind],
                        deployment_id=deployment_id,
                        occasion=Occasion.STARTED if status is NotificationStatus.DROPPED else Occasion.FAILURE,
                        status=status,
                        attempts=2,
                        next_attempt_at=now + timedelta(days=1),
                        last_error=error,
                        answer=answer,
                        created_at=now,
                        sent_at=now if status is NotificationStatus.SENT else None,
                    )
                )


def remove(operator: Operator) -> None:
    """Those of all projects: other tests have projects too."""
    with operator.database.write_session() as session:
        for channel in session.query(Channel).filter(Channel.project_id.is_(None)):
            session.delete(channel)
