"""Schedules: times at which a project's newest commit is deployed, and what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, cron, time_zones
from deployer.deployments import lifecycle, queue
from deployer.deployments.lifecycle import NewDeployment
from deployer.errors import InvalidInput, InvalidTransition, NotFound, QueueFull, as_sentence
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, Deployment, Trigger, reference
from deployer.models.project import HAS_SOMETHING_TO_DO, Project
from deployer.models.schedule import Schedule

log = logging.getLogger("deployer.schedules")

GRACE = timedelta(hours=1)
"""What was due while no runner was there is made up for, once, within so long. Later it is missed: what was meant for
the night is not begun in the middle of the day."""

MAX_SCHEDULES = 20
SHOWN_TIMES = 3

NOT_RUNNING = "the runner was not running"
NO_ROOM = "as many deployments waited as runner.max_queued allows"
NO_STEPS = "the project had no steps"

_schedules = table_of(Schedule)
_deployments = table_of(Deployment)
_projects = table_of(Project)


def of_project(session: Session, project_id: str) -> Sequence[Schedule]:
    return session.scalars(
        sa.select(Schedule).where(Schedule.project_id == project_id).order_by(Schedule.number)
    ).all()


def find(session: Session, project_id: str, number: int) -> Schedule:
    """Raises NotFound."""
    found = session.scalar(sa.select(Schedule).where(Schedule.project_id == project_id, Schedule.number == number))
    if found is None:
        raise NotFound(f"The project has no schedule {number}.")
    return found


def add(session: Session, project_id: str, expression: str, zone: str, by: str) -> Schedule:
    """Raises InvalidInput (``expression``, ``zone``)."""
    errors = {}
    zone = zone.strip()
    if problem := time_zones.problem(zone):
        errors["zone"] = as_sentence(problem)
    try:
        expression = cron.parse(expression).text
    except ValueError as error:
        errors["expression"] = str(error)
    if errors:
        raise InvalidInput(errors)
    present = of_project(session, project_id)
    if len(present) >= MAX_SCHEDULES:
        raise InvalidInput({"expression": f"A project has at most {MAX_SCHEDULES} schedules. Remove one first."})
    if any((one.expression, one.zone) == (expression, zone) for one in present):
        raise InvalidInput({"expression": "The project has this schedule already."})
    now = clock.now()
    schedule = Schedule(
        id=clock.new_id(),
        project_id=project_id,
        number=max((one.number for one in present), default=0) + 1,
        expression=expression,
        zone=zone,
        is_enabled=True,
        next_at=cron.parse(expression).next_after(now, zone),
        created_by=by,
        created_at=now,
    )
    session.add(schedule)
    session.flush()
    return schedule


def remove(session: Session, project_id: str, number: int) -> None:
    """Raises NotFound. What it led to stays."""
    session.delete(find(session, project_id, number))


def enable(session: Session, project_id: str, number: int, *, is_enabled: bool) -> None:
    """Switch it off, or on again from now. Raises NotFound, InvalidTransition where its zone is unknown by now."""
    schedule = find(session, project_id, number)
    if is_enabled and (problem := time_zones.problem(schedule.zone)):
        raise InvalidTransition(f"It cannot be switched on: {problem}.", hint="Remove it, and add it again.")
    schedule.is_enabled = is_enabled
    schedule.next_at = cron.parse(schedule.expression).next_after(clock.now(), schedule.zone) if is_enabled else None


def next_times(schedule: Schedule, count: int = SHOWN_TIMES) -> list[datetime]:
    """When it is due next, in UTC; none where it is switched off."""
    found: list[datetime] = []
    at = schedule.next_at
    expression = cron.parse(schedule.expression)
    while at is not None and len(found) < count:
        found.append(at)
        at = expression.next_after(at, schedule.zone)
    return found


def unrecovered(schedule: Schedule) -> datetime | None:
    """When it was missed last, where it has not led to a deployment since."""
    if schedule.missed_at is None or (schedule.last_at is not None and schedule.last_at >= schedule.missed_at):
        return None
    return schedule.missed_at


def in_words(schedule: Schedule) -> str:
    """``every day at 03:00 Europe/Berlin``; the bare expression where there are no plain words for it."""
    return _words(schedule.expression, schedule.zone)


def _words(expression: str, zone: str) -> str:
    return f"{cron.parse(expression).in_words() or expression} {zone}"


def last_deployments(session: Session, found: Sequence[Schedule]) -> dict[str, Deployment]:
    """The deployments that schedules led to last, by their ids, as far as they are kept."""
    wanted = [one.last_deployment_id for one in found if one.last_deployment_id]
    rows = session.scalars(sa.select(Deployment).where(Deployment.id.in_(wanted)))
    return {one.id: one for one in rows}


# Being due -------------------------------------------------------------------------------------------------------


def next_due(connection: sa.Connection) -> datetime | None:
    """When any schedule is due next."""
    found: datetime | None = connection.scalar(sa.select(sa.func.min(_schedules.c.next_at)))
    return found


def due(connection: sa.Connection, now: datetime) -> list[str]:
    """The schedules whose time has come; their ids."""
    return list(
        connection.scalars(
            sa.select(_schedules.c.id).where(_schedules.c.next_at <= now).order_by(_schedules.c.next_at)
        )
    )


def fire(connection: sa.Connection, schedule_id: str, now: datetime, max_queued: int) -> str | None:
    """Deploy because a schedule's time has come, and note when it comes next; the deployment's id.

    None where none is added: it is not due (any more: of several runners one is the first), it was due too long ago,
    its last one still waits, or it cannot be queued; all but the first are noted.
    """
    row = connection.execute(sa.select(_schedules).where(_schedules.c.id == schedule_id)).first()
    if row is None or row.next_at is None or row.next_at > now:
        return None
    if problem := time_zones.problem(row.zone):
        # The host's table of them is another one by now. It is due no more until somebody makes it anew.
        if _take(connection, row, None):
            _miss(connection, row, row.next_at, problem)
        return None
    expression = cron.parse(row.expression)
    # Of times that passed while nobody was there one is made up for, the last.
    due_at = expression.last_until(now, row.zone, row.next_at)
    if not _take(connection, row, expression.next_after(now, row.zone)):
        return None
    if reason := _reason_to_miss(connection, row, now - due_at, max_queued):
        _miss(connection, row, due_at, reason)
        return None
    new = NewDeployment(
        id=clock.new_id(),
        project_id=row.project_id,
        trigger=Trigger.SCHEDULE,
        triggered_by=_words(row.expression, row.zone),
        branch=_branch(connection, row.project_id),
    )
    lifecycle.enqueue(connection, [new])
    _note(connection, row.id, last_at=due_at, last_deployment_id=new.id)
    return new.id


def _take(connection: sa.Connection, row: Any, next_at: datetime | None) -> bool:
    """Move a schedule on from what was seen of it; False where another runner has."""
    mine = connection.execute(
        _schedules.update()
        .where(_schedules.c.id == row.id, _schedules.c.next_at == row.next_at)
        .values(next_at=next_at)
        .returning(_schedules.c.id)
    )
    return mine.first() is not None


def _reason_to_miss(connection: sa.Connection, row: Any, late: timedelta, max_queued: int) -> str:
    if late > GRACE:
        return NOT_RUNNING
    waits = connection.scalar(
        sa.select(_deployments.c.number).where(
            _deployments.c.id == row.last_deployment_id, _deployments.c.status == QUEUED
        )
    )
    if waits is not None:
        return f"{reference(waits)}, of the time before, still waited"
    if not connection.scalar(sa.select(HAS_SOMETHING_TO_DO).where(_projects.c.id == row.project_id)):
        return NO_STEPS
    try:
        queue.require_room(connection, max_queued)
    except QueueFull:
        return NO_ROOM
    return ""


def _branch(connection: sa.Connection, project_id: str) -> str:
    branch: str = connection.execute(sa.select(_projects.c.branch).where(_projects.c.id == project_id)).scalar_one()
    return branch


def _miss(connection: sa.Connection, row: Any, due_at: datetime, because: str) -> None:
    log.warning("schedule %s of project %s: missed at %s: %s", row.number, row.project_id, clock.iso(due_at), because)
    _note(connection, row.id, missed_at=due_at, missed_because=because)


def _note(connection: sa.Connection, schedule_id: str, **values: Any) -> None:
    connection.execute(_schedules.update().where(_schedules.c.id == schedule_id).values(**values))
