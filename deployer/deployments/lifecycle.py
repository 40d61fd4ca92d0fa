"""The state machine of deployments: with `command_lifecycle`, the only writer of a status.

    queued ──► running ──► success | failed | cancelled | interrupted | superseded
       └────► cancelled | superseded | interrupted

Each arrow is a named function around one guarded ``UPDATE … WHERE status = … RETURNING``. Those of a running
deployment also fence on the runner that claimed it. Each writes an event row in the same transaction. No row
returned means that somebody else got there first: then the functions return False (or raise LostClaim, where a
runner must stop).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from deployer import clock
from deployer.deployments import command_lifecycle, reruns
from deployer.errors import LostClaim
from deployer.models.base import table_of
from deployer.models.deployment import (
    FOLLOWS_BRANCH,
    QUEUED,
    RUNNING,
    SUPERSEDED,
    Deployment,
    DeploymentEvent,
    Status,
    Trigger,
)
from deployer.models.project import Project
from deployer.notifications import wishes

ARROWS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset((Status.RUNNING, Status.CANCELLED, Status.SUPERSEDED, Status.INTERRUPTED)),
    Status.RUNNING: frozenset(
        (Status.SUCCESS, Status.FAILED, Status.CANCELLED, Status.INTERRUPTED, Status.SUPERSEDED)
    ),
}

_deployments = table_of(Deployment)
_events = table_of(DeploymentEvent)
_projects = table_of(Project)


@dataclass(frozen=True)
class NewDeployment:
    """What is known of a deployment when it is asked for."""

    id: str
    project_id: str
    trigger: Trigger
    branch: str
    triggered_by: str | None = None
    commit_sha: str | None = None
    commit_message: str | None = None
    author_name: str | None = None
    author_email: str | None = None
    pusher: str | None = None
    compare_url: str | None = None
    repository: str | None = None
    delivery_guid: str | None = None
    retry_of: str | None = None
    from_step: int | None = None
    release_id: str | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    ignores_windows: bool = False


_NEW_FIELDS = tuple(field.name for field in fields(NewDeployment))

_SUPERSEDED = "a newer push took its place"
_GONE_BACK = "a rollback took its place"

# Pushes come many a second, so what they need is built once.
_INSERT_DEPLOYMENTS = _deployments.insert()
_INSERT_EVENTS = _events.insert()
_SUPERSEDE = (
    _deployments.update()
    .where(_deployments.c.status == QUEUED, _deployments.c.project_id == sa.bindparam("of_project"))
    .values(
        status=SUPERSEDED,
        cause=sa.bindparam("new_cause"),
        superseded_by=sa.bindparam("winner"),
        finished_at=sa.bindparam("at"),
    )
    .returning(_deployments.c.id)
)
_SUPERSEDE_PUSH = _SUPERSEDE.where(FOLLOWS_BRANCH, _deployments.c.branch == sa.bindparam("of_branch"))
# What would deploy over a rollback at once though nobody asked for it by hand.
_SUPERSEDE_AUTOMATIC = _SUPERSEDE.where(
    sa.or_(
        FOLLOWS_BRANCH,
        _deployments.c.trigger == Trigger.SCHEDULE,
        sa.and_(_deployments.c.trigger == Trigger.RETRY, _deployments.c.triggered_by.is_(None)),
    )
)


def enqueue(connection: sa.Connection, new: Sequence[NewDeployment]) -> None:
    """Record deployments in their order. Latest wins: a push supersedes the queued one of its project and branch (or
    tag), and a way back to an earlier release whatever nobody asked for by hand.

    Within one call as well: of several pushes for one branch the last is left queued, and the others are recorded
    as superseded by it.
    """
    now = clock.now()
    winners = {(one.project_id, one.branch): one.id for one in new if one.trigger.follows_branch}
    events = []
    back = {one.project_id: one.id for one in new if one.trigger is Trigger.ROLLBACK}
    for project_id, winner in back.items():
        given = {"of_project": project_id, "winner": winner, "new_cause": _GONE_BACK, "at": now}
        for (deployment_id,) in connection.execute(_SUPERSEDE_AUTOMATIC, given):
            events.append(_event(deployment_id, Status.SUPERSEDED, now, winner))
    for (project_id, branch), winner in winners.items():
        given = {"of_project": project_id, "of_branch": branch, "winner": winner, "new_cause": _SUPERSEDED, "at": now}
        for (deployment_id,) in connection.execute(_SUPERSEDE_PUSH, given):
            events.append(_event(deployment_id, Status.SUPERSEDED, now, winner))
    rows = []
    for one in new:
        winner = winners[one.project_id, one.branch] if one.trigger.follows_branch else one.id
        is_superseded = winner != one.id
        row = {name: getattr(one, name) for name in _NEW_FIELDS}
        row["status"] = Status.SUPERSEDED if is_superseded else Status.QUEUED
        row["superseded_by"] = winner if is_superseded else None
        row["cause"] = _SUPERSEDED if is_superseded else None
        row["queued_at"] = now
        row["finished_at"] = now if is_superseded else None
        rows.append(row)
        events.append(_event(one.id, Status.QUEUED, now, one.triggered_by))
        if is_superseded:
            events.append(_event(one.id, Status.SUPERSEDED, now, winner))
    connection.execute(_INSERT_DEPLOYMENTS, rows)
    connection.execute(_INSERT_EVENTS, events)


def begin(connection: sa.Connection, deployment_id: str, runner_id: str) -> bool:
    """queued → running. False if another runner was faster, with it or with another one of its project."""
    now = clock.now()
    values: dict[str, Any] = {"runner_id": runner_id, "started_at": now}
    try:
        with connection.begin_nested():
            is_begun = _move(connection, deployment_id, Status.QUEUED, Status.RUNNING, at=now, **values)
    except IntegrityError:
        # The index on running deployments.
        return False
    if is_begun:
        wishes.began(connection, deployment_id, now)
    return is_begun


def request_cancel(connection: sa.Connection, deployment_id: str, by: str) -> bool:
    """Ask for the end of a deployment: a queued one ends at once, a running one when its runner has stopped it.

    False if it has already ended. Asking twice changes nothing.
    """
    now = clock.now()
    marks: dict[str, Any] = {"cancel_requested_at": now, "cancel_requested_by": by}
    if _move(
        connection,
        deployment_id,
        Status.QUEUED,
        Status.CANCELLED,
        detail=by,
        at=now,
        finished_at=now,
        cause=f"cancelled by {by} before it began",
        **marks,
    ):
        return True
    running = connection.execute(
        _deployments.update()
        .where(
            _deployments.c.id == deployment_id,
            _deployments.c.status == RUNNING,
            _deployments.c.cancel_requested_at.is_(None),
        )
        .values(**marks)
        .returning(_deployments.c.id)
    ).first()
    if running:
        connection.execute(_INSERT_EVENTS, [_event(deployment_id, "cancel_requested", now, by)])
        return True
    return status_of(connection, deployment_id) is Status.RUNNING


def status_of(connection: sa.Connection, deployment_id: str) -> Status | None:
    return connection.scalar(sa.select(_deployments.c.status).where(_deployments.c.id == deployment_id))


_SELECT_CANCEL = sa.select(_deployments.c.cancel_requested_by).where(_deployments.c.id == sa.bindparam("id"))


def cancel_requested_by(connection: sa.Connection, deployment_id: str) -> str | None:
    """Who asked for the end of a running deployment; None if nobody did."""
    return connection.scalar(_SELECT_CANCEL, {"id": deployment_id})


def succeed(connection: sa.Connection, deployment_id: str, runner_id: str) -> None:
    _end(connection, deployment_id, runner_id, Status.SUCCESS, None)


def fail(connection: sa.Connection, deployment_id: str, runner_id: str, cause: str) -> None:
    _end(connection, deployment_id, runner_id, Status.FAILED, cause)


def cancel(connection: sa.Connection, deployment_id: str, runner_id: str, cause: str) -> None:
    _end(connection, deployment_id, runner_id, Status.CANCELLED, cause)


def interrupt(connection: sa.Connection, deployment_id: str, runner_id: str, cause: str) -> None:
    _end(connection, deployment_id, runner_id, Status.INTERRUPTED, cause)


def supersede_running(connection: sa.Connection, deployment_id: str, runner_id: str, cause: str) -> None:
    """running → superseded: what is live already contains the pushed commit."""
    _end(connection, deployment_id, runner_id, Status.SUPERSEDED, cause)


def end(connection: sa.Connection, deployment_id: str, runner_id: str, status: Status, cause: str | None) -> None:
    """The arrow from running to ``status``, where that is decided elsewhere."""
    if status is Status.SUCCESS:
        succeed(connection, deployment_id, runner_id)
    else:
        arrows = {
            Status.FAILED: fail,
            Status.CANCELLED: cancel,
            Status.INTERRUPTED: interrupt,
            Status.SUPERSEDED: supersede_running,
        }
        arrows[status](connection, deployment_id, runner_id, cause or "")


def _end(connection: sa.Connection, deployment_id: str, runner_id: str, status: Status, cause: str | None) -> None:
    now = clock.now()
    told, rerun = cause, None
    if status is Status.INTERRUPTED:
        note, rerun = reruns.after_interruption(connection, deployment_id)
        told = f"{cause}{note}"
    if not _move(
        connection,
        deployment_id,
        Status.RUNNING,
        status,
        fence=runner_id,
        detail=told,
        at=now,
        finished_at=now,
        cause=told,
    ):
        raise LostClaim(f"Deployment {deployment_id} is no longer this runner's.")
    command_lifecycle.end_with_deployment(connection, deployment_id, status, cause, now)
    wishes.ended(connection, deployment_id, status, now)
    if rerun:
        enqueue(connection, [NewDeployment(id=clock.new_id(), **vars(rerun))])


def interrupt_all(connection: sa.Connection, cause: str) -> int:
    """queued | running → interrupted, of everything, in an installation that was made from a backup: nothing of it
    runs or waits here. Nobody is told by mail. How many there were."""
    rows = connection.execute(
        sa.select(_deployments.c.id, _deployments.c.status).where(_deployments.c.status.in_([QUEUED, RUNNING]))
    ).all()
    now = clock.now()
    for deployment_id, status in rows:
        _move(
            connection,
            deployment_id,
            status,
            Status.INTERRUPTED,
            detail=cause,
            at=now,
            finished_at=now,
            cause=cause,
        )
        command_lifecycle.end_with_deployment(connection, deployment_id, Status.INTERRUPTED, cause, now)
    return len(rows)


def record_commit(connection: sa.Connection, deployment_id: str, runner_id: str, **facts: Any) -> None:
    """Write what became known of the commit while it ran (no change of status, but fenced like one)."""
    row = connection.execute(
        _deployments.update()
        .where(_deployments.c.id == deployment_id, _deployments.c.status == RUNNING)
        .where(_deployments.c.runner_id == runner_id)
        .values(**facts)
        .returning(_deployments.c.id)
    ).first()
    if row is None:
        raise LostClaim(f"Deployment {deployment_id} is no longer this runner's.")


# The one guarded update -----------------------------------------------------------------------------------------


@functools.cache
def _arrow(present: Status, columns: tuple[str, ...], *, is_fenced: bool) -> ReturningUpdate[Any]:
    statement = (
        _deployments.update()
        .where(_deployments.c.id == sa.bindparam("deployment"), _deployments.c.status == present)
        .values({column: sa.bindparam(f"new_{column}") for column in ("status", *columns)})
        .returning(_deployments.c.id)
    )
    return statement.where(_deployments.c.runner_id == sa.bindparam("fence")) if is_fenced else statement


def _move(
    connection: sa.Connection,
    deployment_id: str,
    present: Status,
    wanted: Status,
    *,
    fence: str | None = None,
    detail: str | None = None,
    at: datetime | None = None,
    **values: Any,
) -> bool:
    assert wanted in ARROWS[present]
    given = {f"new_{name}": value for name, value in values.items()}
    given |= {"deployment": deployment_id, "new_status": wanted, "fence": fence}
    statement = _arrow(present, tuple(values), is_fenced=fence is not None)
    if connection.execute(statement, given).first() is None:
        return False
    connection.execute(_INSERT_EVENTS, [_event(deployment_id, wanted, at or clock.now(), detail)])
    return True


def _event(deployment_id: str, event: str, at: datetime, detail: str | None) -> dict[str, Any]:
    return {"deployment_id": deployment_id, "event": str(event), "at": at, "detail": detail}
