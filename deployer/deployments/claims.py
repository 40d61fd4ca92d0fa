"""Claims: which deployment a runner may begin or go on with, how it becomes that runner's, and if it still is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from deployer.deployments import lifecycle, waiting
from deployer.errors import LostClaim
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, RUNNING, Deployment, Status
from deployer.models.project import Project
from deployer.models.runner import Runner

_deployments = table_of(Deployment)
_projects = table_of(Project)
_runners = table_of(Runner)

_QUEUED_AND_FREE = sa.and_(
    _deployments.c.status == QUEUED, _projects.c.id == _deployments.c.project_id, waiting.IS_FREE
)
# Of hosts that share a database each has projects of its own; what has a server any host can deploy there.
_IS_OF_LANE = sa.and_(
    _projects.c.server_id.is_not_distinct_from(sa.bindparam("server")),
    sa.or_(
        _projects.c.server_id.is_not(None), _projects.c.host_id.is_(None), _projects.c.host_id == sa.bindparam("host")
    ),
)
_NEXT_IN_QUEUE = sa.select(_deployments.c.id).where(_QUEUED_AND_FREE, _IS_OF_LANE).order_by(*waiting.TURN).limit(1)
_NEXT_UNLOCKED = _NEXT_IN_QUEUE.with_for_update(of=_deployments, skip_locked=True)
_IS_MINE = sa.and_(
    _deployments.c.status == RUNNING,
    _deployments.c.runner_id == sa.bindparam("runner"),
    _projects.c.id == _deployments.c.project_id,
)
_MINE = sa.select(_deployments.c.id).where(_IS_MINE, _IS_OF_LANE).order_by(_deployments.c.number)
_SERVERS_WITH_WORK = sa.union(
    *(
        sa.select(_projects.c.server_id).where(is_work, _projects.c.server_id.is_not(None))
        for is_work in (_QUEUED_AND_FREE, _IS_MINE)
    )
)


def next_in_queue(connection: sa.Connection, server_id: str | None = None, host_id: str | None = None) -> str | None:
    """The first queued deployment for a server (None: the host) that nothing holds back; its id."""
    return connection.scalar(_NEXT_IN_QUEUE, _of_lane(connection, server_id, host_id))


def servers_with_work(connection: sa.Connection, runner_id: str) -> list[str]:
    """The servers for which a deployment could begin, or for which a runner has one to go on with."""
    given = {"runner": runner_id, "closed": waiting.closed_projects(connection)}
    return list(connection.scalars(_SERVERS_WITH_WORK, given))


def running_of(
    connection: sa.Connection, runner_id: str, server_id: str | None = None, host_id: str | None = None
) -> list[str]:
    """The deployments for a server (None: the host) that a runner has claimed and not ended; their ids."""
    return list(connection.scalars(_MINE, {"runner": runner_id, "server": server_id, "host": host_id}))


def claim(
    connection: sa.Connection, runner_id: str, server_id: str | None = None, host_id: str | None = None
) -> str | None:
    """queued → running for the next in a server's queue; its id, or None where nothing can start or another was
    faster."""
    # On PostgreSQL others claim at this moment too: whose row it is by now is passed over.
    deployment_id = connection.scalar(_NEXT_UNLOCKED, _of_lane(connection, server_id, host_id))
    if deployment_id is None:
        return None
    return deployment_id if lifecycle.begin(connection, deployment_id, runner_id) else None


def _of_lane(connection: sa.Connection, server_id: str | None, host_id: str | None) -> dict[str, Any]:
    return {"server": server_id, "host": host_id, "closed": waiting.closed_projects(connection)}


def adopt(connection: sa.Connection, runner_id: str, host_id: str | None = None) -> list[str]:
    """Take over what a former runner of this host left running; the ids. The caller holds the runner's lock, so that
    one is gone."""
    elsewhere = sa.select(_runners.c.id).where(_runners.c.host_id != host_id)
    return list(
        connection.scalars(
            _deployments.update()
            .where(
                _deployments.c.status == RUNNING,
                _deployments.c.runner_id != runner_id,
                _deployments.c.runner_id.not_in(elsewhere),
            )
            .values(runner_id=runner_id)
            .returning(_deployments.c.id)
        )
    )


def hand_over(connection: sa.Connection, deployment_id: str, from_runner: str, to_runner: str) -> bool:
    """Take over a running deployment of a runner that has stopped. False if it is no longer that one's."""
    row = connection.execute(
        _deployments.update()
        .where(_deployments.c.id == deployment_id, _deployments.c.status == RUNNING)
        .where(_deployments.c.runner_id == from_runner)
        .values(runner_id=to_runner)
        .returning(_deployments.c.id)
    ).first()
    return row is not None


_SELECT_CLAIM = sa.select(_deployments.c.runner_id, _deployments.c.status, _deployments.c.cancel_requested_by).where(
    _deployments.c.id == sa.bindparam("id")
)


def canceller(connection: sa.Connection, deployment_id: str, runner_id: str) -> str | None:
    """Who asked for the end of a running deployment, for the runner that is at it, also where that one writes nothing
    for long. Raises LostClaim."""
    row = connection.execute(_SELECT_CLAIM, {"id": deployment_id}).first()
    if row is None or (row.runner_id, row.status) != (runner_id, Status.RUNNING):
        raise LostClaim(f"Deployment {deployment_id} is no longer this runner's.")
    found: str | None = row.cancel_requested_by
    return found


_HOLD = (
    sa.select(sa.literal(1))
    .where(
        _deployments.c.id == sa.bindparam("id"),
        _deployments.c.runner_id == sa.bindparam("runner"),
        _deployments.c.status == RUNNING,
    )
    .with_for_update(read=True)
)


def hold(connection: sa.Connection, deployment_id: str, runner_id: str) -> None:
    """Until the transaction's end nobody else can take or end a deployment, for one that is not alone: what it writes
    is then there before whoever comes next looks. Raises LostClaim."""
    if connection.scalar(_HOLD, {"id": deployment_id, "runner": runner_id}) is None:
        raise LostClaim(f"Deployment {deployment_id} is no longer this runner's.")
