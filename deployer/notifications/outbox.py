"""The outbox: what a deployment owes, to mail and to channels, kept until it is sent, given up, or no longer wanted.

    pending ──► sent | given_up | dropped
       ▲────────────────┘  by hand

What mails are owed is said here, what channels are in `wishes`; both are written with the change that they tell of.

An attempt is claimed before it is made: the row says when the next one is due, and only then is the mail sent. A
runner that is killed in between sends it once more when that time has come, with the same Message-ID; none is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from deployer import clock
from deployer.models.base import table_of
from deployer.models.deployment import Deployment, Status, last_event
from deployer.models.notification import PENDING, Notification, NotificationStatus, Occasion
from deployer.models.project import Project
from deployer.models.setting import Setting

MARK = "mail.is_configured"
"""The setting that says that mails can be sent. Without it nothing is owed, so that nobody gets a backlog of weeks on
the day on which a mail server is entered. `mail_settings.mark` keeps it; it lies in the database because an end is
recorded in a transaction that knows nothing of the configuration."""

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=2)
GIVE_UP_AFTER = timedelta(days=1)
KEEP_FOR = timedelta(days=90)
MAX_ERROR = 2000

_LOOK_BACK = 20

_deployments = table_of(Deployment)
_projects = table_of(Project)
_notifications = table_of(Notification)
_settings = table_of(Setting)


# What is owed ---------------------------------------------------------------------------------------------------

# Every deployment's end asks, so what that needs is built once.
_SELECT_WISHES = (
    sa.select(
        _deployments.c.project_id,
        _projects.c.mail_on_success,
        _projects.c.mail_on_failure,
        _projects.c.mail_on_recovery,
        _projects.c.mail_on_interruption,
    )
    .join(_projects, _projects.c.id == _deployments.c.project_id)
    .join(_settings, _settings.c.name == MARK)
    .where(_deployments.c.id == sa.bindparam("id"))
)
_newest = (
    sa.select(_deployments.c.status, last_event(_deployments.c.id).label("last_event"))
    .where(
        _deployments.c.project_id == sa.bindparam("project"),
        _deployments.c.id != sa.bindparam("id"),
        _deployments.c.status.in_([Status.SUCCESS, Status.FAILED, Status.INTERRUPTED]),
    )
    .order_by(_deployments.c.number.desc())
    .limit(_LOOK_BACK)
    .subquery()
)
# The newest by their numbers, for which there is an index; of these the last to end: one may have jumped the queue.
_SELECT_BEFORE = sa.select(_newest.c.status).order_by(_newest.c.last_event.desc()).limit(1)
_INSERT = _notifications.insert()


def owe(connection: sa.Connection, deployment_id: str, status: Status, at: datetime) -> Occasion | None:
    """Write down what a deployment's end at ``at`` owes, in the transaction of that end. What it was, if anything.

    A success after a failure or an interruption is a recovery; who wants no recoveries but successes is told of a
    success. Cancelled and superseded deployments say nothing about a project, and nothing is said of them.
    """
    if status not in (Status.SUCCESS, Status.FAILED, Status.INTERRUPTED):
        return None
    wishes = connection.execute(_SELECT_WISHES, {"id": deployment_id}).first()
    if wishes is None:
        return None
    occasion: Occasion | None = None
    if status is Status.FAILED:
        occasion = Occasion.FAILURE if wishes.mail_on_failure else None
    elif status is Status.INTERRUPTED:
        occasion = Occasion.INTERRUPTION if wishes.mail_on_interruption else None
    elif wishes.mail_on_recovery and was_down(connection, wishes.project_id, deployment_id):
        occasion = Occasion.RECOVERY
    elif wishes.mail_on_success:
        occasion = Occasion.SUCCESS
    if occasion:
        put(connection, [(None, occasion)], deployment_id, at)
    return occasion


def put(
    connection: sa.Connection, owed: Sequence[tuple[str | None, Occasion]], deployment_id: str, at: datetime
) -> None:
    """Notifications of a deployment: to which channel (None: by mail), and of what."""
    rows = [
        {
            "id": clock.new_id(),
            "channel_id": channel_id,
            "deployment_id": deployment_id,
            "occasion": occasion,
            "status": NotificationStatus.PENDING,
            "attempts": 0,
            "next_attempt_at": at,
            "created_at": at,
        }
        for channel_id, occasion in owed
    ]
    connection.execute(_INSERT, rows)


def was_down(connection: sa.Connection, project_id: str, deployment_id: str) -> bool:
    """Whether a project's last deployment to end before this one ended badly."""
    before = connection.scalar(_SELECT_BEFORE, {"project": project_id, "id": deployment_id})
    return before in (Status.FAILED, Status.INTERRUPTED)


# What is due ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Due:
    """A notification as an attempt finds it; with ``attempts`` it claims, and speaks of, this attempt alone."""

    id: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime


_PENDING_OF_CHANNEL = sa.and_(
    _notifications.c.status == PENDING,
    _notifications.c.channel_id.is_not_distinct_from(sa.bindparam("channel", type_=sa.String)),
)
_SELECT_DUE = (
    sa.select(
        _notifications.c.id,
        _notifications.c.attempts,
        _notifications.c.created_at,
        _notifications.c.next_attempt_at,
    )
    .where(_PENDING_OF_CHANNEL)
    .order_by(_notifications.c.next_attempt_at, _notifications.c.created_at, _notifications.c.id)
    .limit(1)
)
_SELECT_WAITING = (
    sa.select(_notifications.c.channel_id, sa.func.min(_notifications.c.next_attempt_at))
    .where(_notifications.c.status == PENDING, _notifications.c.channel_id.is_not(None))
    .group_by(_notifications.c.channel_id)
)


def first(connection: sa.Connection, channel_id: str | None = None) -> Due | None:
    """Of what is still to be sent to a channel (None: by mail) the one to be tried first, now or later."""
    row = connection.execute(_SELECT_DUE, {"channel": channel_id}).first()
    return Due(*row) if row else None


def waiting(connection: sa.Connection) -> dict[str, datetime]:
    """The channels for which something is still to be sent, and when the first of it is to be tried."""
    return {row[0]: row[1] for row in connection.execute(_SELECT_WAITING)}


def wait_after(attempts: int) -> timedelta:
    """How long to wait after that many attempts: 1 min, 2, 4 … up to 2 h."""
    return min(FIRST_WAIT * (1 << min(attempts - 1, 20)), LONGEST_WAIT)


def claim(connection: sa.Connection, due: Due) -> Due | None:
    """Count an attempt before it is made; None where it is no longer to be made."""
    attempts = due.attempts + 1
    next_attempt_at = clock.now() + wait_after(attempts)
    is_mine = _change(connection, due, {"attempts": attempts, "next_attempt_at": next_attempt_at})
    return Due(due.id, attempts, due.created_at, next_attempt_at) if is_mine else None


def sent(
    connection: sa.Connection, due: Due, delivered_to: str, *, answer: str = "", remote_id: str | None = None
) -> bool:
    """pending → sent."""
    values = {
        "status": NotificationStatus.SENT,
        "sent_at": clock.now(),
        "last_error": None,
        "delivered_to": delivered_to or None,
        "answer": answer or None,
        "remote_id": remote_id,
    }
    return _change(connection, due, values)


def failed(
    connection: sa.Connection,
    due: Due,
    error: str,
    *,
    is_permanent: bool = False,
    delivered_to: str = "",
    answer: str = "",
    remote_id: str | None = None,
    wait_s: float | None = None,
) -> datetime | None:
    """Try again later, and when; or give up (None), where that is of no use or a day is over. The last attempt is
    when it is. ``wait_s`` is how long the other side wants no further try."""
    now = clock.now()
    values: dict[str, Any] = {
        "last_error": error[:MAX_ERROR],
        "delivered_to": delivered_to or None,
        "answer": answer or None,
        "remote_id": remote_id,
    }
    ends_at = due.created_at + GIVE_UP_AFTER
    again_at = None
    if is_permanent or now >= ends_at:
        values["status"] = NotificationStatus.GIVEN_UP
    else:
        wait = wait_after(due.attempts)
        if wait_s is not None:
            wait = min(max(timedelta(seconds=wait_s), FIRST_WAIT), LONGEST_WAIT)
        again_at = values["next_attempt_at"] = min(now + wait, ends_at)
    return again_at if _change(connection, due, values) else None


def put_off(connection: sa.Connection, due: Due, wait: timedelta, why: str) -> bool:
    """Look again later at what cannot be told yet. No attempt was made."""
    return _change(connection, due, {"next_attempt_at": clock.now() + wait, "last_error": why})


def dropped(connection: sa.Connection, due: Due, why: str) -> bool:
    """pending → dropped: nobody is to get it any more."""
    return _change(connection, due, {"status": NotificationStatus.DROPPED, "last_error": why})


def wait_with(connection: sa.Connection, channel_id: str, until: datetime) -> None:
    """What else is to be sent to a channel that cannot be reached waits for the next try of what was not sent."""
    connection.execute(
        _notifications.update()
        .where(
            _notifications.c.status == PENDING,
            _notifications.c.channel_id == channel_id,
            _notifications.c.next_attempt_at < until,
        )
        .values(next_attempt_at=until)
    )


def try_again(connection: sa.Connection, notification_id: str) -> bool:
    """given_up → pending, by hand. After its day a single attempt is made, and its failure gives up again."""
    row = connection.execute(
        _notifications.update()
        .where(_notifications.c.id == notification_id, _notifications.c.status == NotificationStatus.GIVEN_UP)
        .values({"status": NotificationStatus.PENDING, "attempts": 0, "next_attempt_at": clock.now()})
        .returning(_notifications.c.id)
    ).first()
    return row is not None


def give_up_all(connection: sa.Connection, why: str) -> None:
    """pending → given_up, of everything, in an installation that was made from a backup: what was sent since then is
    not sent again."""
    connection.execute(
        _notifications.update()
        .where(_notifications.c.status == PENDING)
        .values(status=NotificationStatus.GIVEN_UP, last_error=why)
    )


def forget(connection: sa.Connection) -> None:
    """What was sent or given up long ago."""
    connection.execute(
        _notifications.delete().where(
            _notifications.c.created_at < clock.now() - KEEP_FOR,
            _notifications.c.status != NotificationStatus.PENDING,
        )
    )


def _change(connection: sa.Connection, due: Due, values: dict[str, Any]) -> bool:
    """The one guarded update: of what is pending, and of this attempt."""
    row = connection.execute(
        _notifications.update()
        .where(
            _notifications.c.id == due.id,
            _notifications.c.status == PENDING,
            _notifications.c.attempts == due.attempts,
        )
        .values(values)
        .returning(_notifications.c.id)
    ).first()
    return row is not None
