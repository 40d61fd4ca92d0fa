"""Waiting: what holds a queued deployment back. Claims and pages ask the same conditions, so they cannot disagree."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from deployer import clock, time_zones, windows
from deployer.deployments.lifecycle import NewDeployment
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, RUNNING, Deployment, Trigger, reference
from deployer.models.project import Project
from deployer.models.server import Server
from deployer.windows import Windows

_deployments = table_of(Deployment)
_projects = table_of(Project)
_servers = table_of(Server)


class Hold(StrEnum):
    """Why a deployment cannot begin, however idle a runner is."""

    LOCK = "lock"  # somebody froze its project
    APPROVAL = "approval"  # an administrator has not said yet that it may
    WINDOW = "window"  # it is not the time of the week for it
    PROJECT = "project"  # another one of its project runs
    SERVER = "server"  # another one runs on its server


_same_project = _deployments.alias()
_running = _deployments.alias()
_neighbour = _projects.alias()

# A rollback is the emergency exit: nothing that people set up beforehand holds it back.
_IS_NO_ROLLBACK = _deployments.c.trigger != Trigger.ROLLBACK

HOLDS: dict[Hold, sa.ColumnElement[bool]] = {
    Hold.LOCK: sa.and_(_projects.c.locked_at.is_not(None), _IS_NO_ROLLBACK),
    Hold.APPROVAL: sa.and_(_projects.c.needs_approval, _deployments.c.approved_at.is_(None), _IS_NO_ROLLBACK),
    Hold.WINDOW: sa.and_(
        _projects.c.id.in_(sa.bindparam("closed", expanding=True)),
        sa.not_(_deployments.c.ignores_windows),
        _IS_NO_ROLLBACK,
    ),
    Hold.PROJECT: sa.select(sa.literal(1))
    .where(_same_project.c.project_id == _deployments.c.project_id, _same_project.c.status == RUNNING)
    .exists(),
    # One at a time per server, whichever host is at it; of its own host a runner knows that it is at one thing.
    Hold.SERVER: sa.select(sa.literal(1))
    .where(
        _running.c.status == RUNNING,
        _neighbour.c.id == _running.c.project_id,
        _neighbour.c.server_id == _projects.c.server_id,
    )
    .exists(),
}
"""Each as a condition on a queued deployment joined with its project; ``closed`` are what `closed_projects` tells."""

BY_PEOPLE = (Hold.LOCK, Hold.APPROVAL, Hold.WINDOW)

IS_FREE = sa.and_(*(sa.not_(condition) for condition in HOLDS.values()))
"""Whether nothing holds it back."""

IS_ALLOWED = sa.and_(*(sa.not_(HOLDS[hold]) for hold in BY_PEOPLE))
"""Whether nothing that people set up does."""

TURN = (_IS_NO_ROLLBACK, _deployments.c.number)
"""The order in which those that are free begin: a rollback comes first."""

_WITH_WINDOWS = sa.select(_projects.c.id, _projects.c.windows, _projects.c.windows_zone).where(
    _projects.c.windows.is_not(None)
)


def closed_projects(connection: sa.Connection, now: datetime | None = None) -> list[str]:
    """The projects that may not be deployed at this time of the week; their ids.

    Asked anew each time, since it changes without anybody writing anything; few projects have windows.
    """
    now = now or clock.now()
    return [row.id for row in connection.execute(_WITH_WINDOWS) if not _is_open(row, now)]


def allowed(connection: sa.Connection, new: Sequence[NewDeployment]) -> list[NewDeployment]:
    """Of deployments that were just enqueued those that nothing holds back which people set up."""
    if not new:
        return []
    found = set(
        connection.scalars(
            sa.select(_deployments.c.id).where(
                _deployments.c.id.in_([one.id for one in new]),
                _projects.c.id == _deployments.c.project_id,
                IS_ALLOWED,
            ),
            {"closed": closed_projects(connection)},
        )
    )
    return [one for one in new if one.id in found]


def next_opening(connection: sa.Connection, now: datetime) -> datetime | None:
    """When the next window of any project opens."""
    found = [_windows(row.windows, row.windows_zone) for row in connection.execute(_WITH_WINDOWS)]
    return min((at for one in found if one and (at := one.opens_after(now))), default=None)


def _is_open(row: Any, now: datetime) -> bool:
    found = _windows(row.windows, row.windows_zone)
    return found is not None and found.is_open(now)


@functools.lru_cache(maxsize=256)
def _windows(text: str, zone: str) -> Windows | None:
    """None where they cannot be read: then it is no time of theirs."""
    if time_zones.problem(zone):
        return None
    try:
        return windows.parse(text, zone)
    except ValueError:
        return None


# In words --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """What a queued deployment waits for. ``words`` is empty where it is about to begin."""

    holds: tuple[Hold, ...]
    words: str

    @property
    def is_held(self) -> bool:
        """Whether people hold it back, rather than what else runs."""
        return any(hold in BY_PEOPLE for hold in self.holds)

    @property
    def needs_approval(self) -> bool:
        return Hold.APPROVAL in self.holds


_FIELDS = (
    _deployments.c.id,
    _deployments.c.number,
    _deployments.c.project_id,
    _projects.c.locked_by,
    _projects.c.locked_because,
    _projects.c.windows,
    _projects.c.windows_zone,
    _projects.c.server_id,
    _projects.c.host_id,
)
_QUEUE = (
    sa.select(*_FIELDS, *(sa.case((condition, 1), else_=0).label(hold) for hold, condition in HOLDS.items()))
    .join_from(_deployments, _projects, _projects.c.id == _deployments.c.project_id)
    .where(_deployments.c.status == QUEUED)
    .order_by(*TURN)
)
_AT_WORK = (
    sa.select(
        _deployments.c.number,
        _deployments.c.project_id,
        _projects.c.server_id,
        _projects.c.host_id,
        _servers.c.name.label("server_name"),
    )
    .join_from(_deployments, _projects, _projects.c.id == _deployments.c.project_id)
    .outerjoin(_servers, _servers.c.id == _projects.c.server_id)
    .where(_deployments.c.status == RUNNING)
    .order_by(_deployments.c.number)
)


def queue(connection: sa.Connection, now: datetime | None = None) -> dict[str, Waiting]:
    """What each queued deployment waits for, by its id."""
    now = now or clock.now()
    rows = connection.execute(_QUEUE, {"closed": closed_projects(connection, now)}).all()
    at_work = connection.execute(_AT_WORK).all() if rows else []
    # By lane, what comes before: what runs there, then what is free to begin.
    before = {_lane(row): f"its turn: {reference(row.number)} is running" for row in at_work}
    found = {}
    for row in rows:
        holds = tuple(hold for hold in Hold if row._mapping[hold])
        words = [_in_words(hold, row, at_work, now) for hold in holds]
        if not holds:
            if _lane(row) in before:
                words = [before[_lane(row)]]
            before[_lane(row)] = f"its turn: {reference(row.number)} comes first"
        found[row.id] = Waiting(holds, "; ".join(words))
    return found


def of(connection: sa.Connection, deployment_id: str) -> Waiting | None:
    """What a deployment waits for; None of one that is not queued."""
    return queue(connection).get(deployment_id)


def _lane(row: Any) -> tuple[str | None, str | None]:
    """What runs one deployment after the other: a server, or a host."""
    return (row.server_id, None) if row.server_id else (None, row.host_id)


def _in_words(hold: Hold, row: Any, at_work: Sequence[Any], now: datetime) -> str:
    if hold is Hold.LOCK:
        return lock_words(row.locked_by, row.locked_because)
    if hold is Hold.APPROVAL:
        return "an administrator has to approve it"
    if hold is Hold.WINDOW:
        return window_words(row.windows, row.windows_zone, now)
    if hold is Hold.PROJECT:
        return next(f"{reference(one.number)} is running" for one in at_work if one.project_id == row.project_id)
    one = next(one for one in at_work if one.server_id == row.server_id)
    return f"{reference(one.number)} is running on {one.server_name}"


def lock_words(by: str, because: str) -> str:
    return f"frozen by {by} because {because}"


def window_words(text: str, zone: str, now: datetime) -> str:
    """What a project waits for that is outside its windows."""
    found = _windows(text, zone)
    opens_at = found.opens_after(now) if found else None
    if opens_at is None:
        return "its deploy windows cannot be read on this host: save them again"
    return f"the next deploy window opens {time_zones.words(opens_at, zone, now)} ({zone})"
