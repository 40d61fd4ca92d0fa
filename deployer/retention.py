"""Retention: which deployments, deliveries and lines of the audit log are old enough to go, and taking them out.

A deployment goes when it is beyond its project's count or older than its days. What was superseded is counted apart,
so that a flood of pushes takes the place of nothing else. Of each project some stay in any case: what has not ended,
the last success and what built the current release (it is live), and the newest that was not superseded (it says how
the project stands). What others still need stays until they do not: see `NEEDED_FOR`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from deployer.config import RetentionSettings
from deployer.models.audit import AuditEvent
from deployer.models.base import table_of
from deployer.models.delivery import Delivery, DeliveryPayload, Verdict
from deployer.models.deployment import (
    QUEUED,
    RUNNING,
    SUPERSEDED,
    Command,
    Deployment,
    DeploymentEvent,
    LogChunk,
    Status,
    last_success,
)
from deployer.models.notification import PENDING, Notification
from deployer.models.project import Project
from deployer.models.release import Release

ROW_BYTES = 4096
"""What a row counts for, with its entries in the indexes, when it is said how much is taken out at once."""

NEEDED_FOR = timedelta(days=3)
"""For so long after its end a deployment may be asked for, however little is kept: by GitHub, where what led to it
can be redelivered (https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks),
and by a server that comes back, on which a command of it was given up."""

_projects = table_of(Project)
_deployments = table_of(Deployment)
_commands = table_of(Command)
_chunks = table_of(LogChunk)
_deliveries = table_of(Delivery)
_payloads = table_of(DeliveryPayload)
_audit_events = table_of(AuditEvent)
_notifications = table_of(Notification)
_releases = table_of(Release)


@dataclass(frozen=True)
class Limits:
    """What is kept of a project; 0 is without a limit."""

    deployments: int
    days: int
    deliveries: int
    delivery_days: int

    @property
    def in_words(self) -> str:
        """``the newest 200, for 365 days``; empty where nothing is ever removed."""
        count = f"the newest {self.deployments:,}" if self.deployments else ""
        age = f"for {self.days:,} {'day' if self.days == 1 else 'days'}" if self.days else ""
        return ", ".join(part for part in (count, age) if part)


def limits(keep_deployments: int | None, keep_days: int | None, settings: RetentionSettings) -> Limits:
    """Of a project with these two; None is what the configuration says."""
    return Limits(
        settings.deployments if keep_deployments is None else keep_deployments,
        settings.days if keep_days is None else keep_days,
        settings.deliveries,
        settings.delivery_days,
    )


def of_projects(connection: sa.Connection, settings: RetentionSettings) -> dict[str, Limits]:
    """What is kept of each project, by the projects' ids."""
    rows = connection.execute(sa.select(_projects.c.id, _projects.c.keep_deployments, _projects.c.keep_days))
    return {project_id: limits(count, days, settings) for project_id, count, days in rows}


# Deployments ----------------------------------------------------------------------------------------------------


def expired_deployments(
    connection: sa.Connection, project_id: str, kept: Limits, now: datetime, most: int
) -> list[str]:
    """The oldest ``most`` deployments of a project that are to go; their ids."""
    is_expired = []
    if kept.deployments:
        for is_counted in (_IS_SUPERSEDED, ~_IS_SUPERSEDED):
            newest_beyond = _newest(connection, project_id, is_counted, kept.deployments)
            is_expired.append(sa.and_(is_counted, _deployments.c.number <= newest_beyond))
    if kept.days:
        is_expired.append(_deployments.c.finished_at < now - timedelta(days=kept.days))
    if not is_expired:
        return []
    stays = (_newest(connection, project_id, ~_IS_SUPERSEDED), _live(connection, project_id))
    wanted = (
        sa.select(_deployments.c.id)
        .where(
            _deployments.c.project_id == project_id,
            _deployments.c.status.not_in([QUEUED, RUNNING]),
            sa.or_(*is_expired),
            _deployments.c.number.not_in(stays),
            ~_BUILT_WHAT_IS_CURRENT,
            ~_IS_AWAITED,
            ~_IS_TO_BE_TOLD,
            sa.not_(sa.and_(_MAY_BE_ASKED_FOR, _deployments.c.finished_at > now - NEEDED_FOR)),
        )
        .order_by(_deployments.c.number)
        .limit(most)
    )
    return list(connection.scalars(wanted))


_IS_SUPERSEDED = _deployments.c.status == SUPERSEDED
_retry = _deployments.alias()
# A retry that has not ended looks at what it goes on from.
_IS_AWAITED = (
    sa.select(sa.literal(1))
    .where(
        _retry.c.project_id == _deployments.c.project_id,
        _retry.c.status.in_([QUEUED, RUNNING]),
        _retry.c.retry_of == _deployments.c.id,
    )
    .exists()
)
# Its mail is neither sent nor given up.
_IS_TO_BE_TOLD = (
    sa.select(sa.literal(1))
    .where(_notifications.c.deployment_id == _deployments.c.id, _notifications.c.status == PENDING)
    .exists()
)
_BUILT_WHAT_IS_CURRENT = (
    sa.select(sa.literal(1))
    .where(_projects.c.current_release_id == _releases.c.id, _releases.c.deployment_id == _deployments.c.id)
    .exists()
)
_MAY_BE_ASKED_FOR = sa.or_(
    _deployments.c.delivery_guid.is_not(None),
    _deployments.c.status.in_([Status.FAILED, Status.INTERRUPTED, Status.CANCELLED]),
)


def _newest(connection: sa.Connection, project_id: str, is_counted: sa.ColumnElement[bool], skipped: int = 0) -> int:
    """The number of a project's newest deployment of a kind, behind so many that are newer; 0 where there is none."""
    wanted = (
        sa.select(_deployments.c.number)
        .where(_deployments.c.project_id == project_id, is_counted)
        .order_by(_deployments.c.number.desc())
        .limit(1)
        .offset(skipped)
    )
    return connection.scalar(wanted) or 0


def _live(connection: sa.Connection, project_id: str) -> int:
    """The number of the deployment that made what is live."""
    return connection.scalar(last_success(project_id)) or 0


@dataclass
class Portion:
    """What is taken out in one transaction. ``logs`` says up to which number; ``whole`` are the deployments of which
    nothing else is left then."""

    logs: dict[str, int] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)


_SELECT_LOG = (
    sa.select(_chunks.c.seq, _chunks.c.data)
    .where(_chunks.c.deployment_id == sa.bindparam("id"))
    .order_by(_chunks.c.seq)
    .execution_options(stream_results=True, yield_per=4)
)
_SELECT_COMMANDS = sa.select(_commands.c.id, _commands.c.line).where(_commands.c.deployment_id == sa.bindparam("id"))


def portion(connection: sa.Connection, ids: Sequence[str], size: int) -> Portion:
    """The first about ``size`` bytes of these deployments.

    They are read and not only counted: the disk is then waited for here, and not while the write lock is held.
    """
    found = Portion()
    for deployment_id in ids:
        with connection.execute(_SELECT_LOG, {"id": deployment_id}) as rows:
            for seq, data in rows:
                if size <= 0:
                    return found
                found.logs[deployment_id] = seq
                size -= ROW_BYTES + len(data)
        for command_id, line in connection.execute(_SELECT_COMMANDS, {"id": deployment_id}):
            if size <= 0:
                return found
            found.commands.append(command_id)
            size -= ROW_BYTES + len(line)
        if size <= 0:
            return found
        found.whole.append(deployment_id)
        size -= ROW_BYTES
    return found


def remove(connection: sa.Connection, taken: Portion) -> None:
    """Take a portion out, children first, so that no deletion grows by what depends on its row."""
    for deployment_id, seq in taken.logs.items():
        connection.execute(_chunks.delete().where(_chunks.c.deployment_id == deployment_id, _chunks.c.seq <= seq))
    if taken.commands:
        connection.execute(_commands.delete().where(_commands.c.id.in_(taken.commands)))
    if taken.whole:
        for child in (table_of(DeploymentEvent), table_of(Notification)):
            connection.execute(child.delete().where(child.c.deployment_id.in_(taken.whole)))
        connection.execute(_deployments.delete().where(_deployments.c.id.in_(taken.whole)))


# Deliveries and the audit log -----------------------------------------------------------------------------------


def expired_deliveries(
    connection: sa.Connection, project_id: str, kept: Limits, now: datetime, size: int
) -> list[str]:
    """The oldest deliveries of a project that are to go, of about ``size`` bytes with their payloads; their ids.

    That of a deployment that has not ended stays, and so does the forge's newest one for the project's branch: it
    says which commit the forge named last.
    """
    of_project = _deliveries.c.project_id == project_id
    columns = (_deliveries.c.received_at, _deliveries.c.id)
    newest_first = [column.desc() for column in columns]
    is_expired = []
    if kept.deliveries:
        beyond = connection.execute(
            sa.select(*columns).where(of_project).order_by(*newest_first).limit(1).offset(kept.deliveries)
        ).first()
        if beyond:
            place = [sa.literal(value, column.type) for value, column in zip(beyond, columns, strict=True)]
            is_expired.append(sa.tuple_(*columns) <= sa.tuple_(*place))
    if kept.delivery_days:
        is_expired.append(_deliveries.c.received_at < now - timedelta(days=kept.delivery_days))
    if not is_expired:
        return []
    last_named = connection.scalar(
        sa.select(_deliveries.c.id)
        .join(_projects, _projects.c.id == _deliveries.c.project_id)
        .where(
            of_project,
            _deliveries.c.ref == sa.literal("refs/heads/") + _projects.c.branch,
            _deliveries.c.commit_sha.is_not(None),
            _deliveries.c.verdict != Verdict.UNVERIFIED,
            _deliveries.c.asked_by.is_(None),
        )
        .order_by(*newest_first)
        .limit(1)
    )
    is_under_way = (
        sa.select(sa.literal(1))
        .where(_deployments.c.id == _deliveries.c.deployment_id, _deployments.c.status.in_([QUEUED, RUNNING]))
        .exists()
    )
    wanted = (
        sa.select(_deliveries.c.id, _payloads.c.packed)
        .outerjoin(_payloads, _payloads.c.delivery_id == _deliveries.c.id)
        .where(of_project, sa.or_(*is_expired), _deliveries.c.id != (last_named or ""), ~is_under_way)
        .order_by(_deliveries.c.received_at)
        .limit(max(1, size // ROW_BYTES))
        .execution_options(stream_results=True, yield_per=4)
    )
    found: list[str] = []
    # As with logs, the payloads are read, so that the disk is not waited for while the write lock is held.
    with connection.execute(wanted) as rows:
        for delivery_id, packed in rows:
            found.append(delivery_id)
            size -= ROW_BYTES + len(packed or b"")
            if size <= 0:
                break
    return found


def remove_deliveries(connection: sa.Connection, ids: Sequence[str]) -> None:
    connection.execute(_payloads.delete().where(_payloads.c.delivery_id.in_(ids)))
    connection.execute(_deliveries.delete().where(_deliveries.c.id.in_(ids)))


def expired_audit_events(connection: sa.Connection, days: int, now: datetime, most: int) -> list[int]:
    """The oldest ``most`` lines of the audit log that are older than so many days (0: none is); their ids."""
    if not days:
        return []
    wanted = (
        sa.select(_audit_events.c.id)
        .where(_audit_events.c.at < now - timedelta(days=days))
        .order_by(_audit_events.c.at)
        .limit(most)
    )
    return list(connection.scalars(wanted))


def remove_audit_events(connection: sa.Connection, ids: Sequence[int]) -> None:
    connection.execute(_audit_events.delete().where(_audit_events.c.id.in_(ids)))
