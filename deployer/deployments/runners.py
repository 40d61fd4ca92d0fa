"""Runners of several hosts on one database: who works, whose heartbeat has stopped, and what becomes of its claims.

A runner whose heartbeat has stopped loses what runs on servers to whoever is alive: the commands go on there, and are
followed from where their logs are stored. What runs on its own host waits for that host, and is ended by the others
when it does not come back. The old runner's late writes change nothing: each is guarded by the runner that has the
claim. A data folder with a database of its own has one host, whose lock on the folder says the same: no rows here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from deployer import clock
from deployer.deployments import claims
from deployer.models.base import table_of
from deployer.models.deployment import RUNNING, Command, CommandKind, Deployment, Status
from deployer.models.project import Project
from deployer.models.runner import Runner

BEAT_S = 3.0
STALE_AFTER = timedelta(seconds=15)
"""A heartbeat this old has stopped."""

FORGOTTEN_AFTER = timedelta(days=30)

ON_THE_SERVER = (CommandKind.CHECKOUT, CommandKind.CLONE, CommandKind.VARIABLES, CommandKind.STEP)
"""What runs on a project's server, if it has one, and not on the host of the runner."""

_runners = table_of(Runner)
_deployments = table_of(Deployment)
_commands = table_of(Command)
_projects = table_of(Project)

# The database's clock, so that hosts need not agree on the time. Only a database that hosts share is asked.
_NOW_MS = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"
_NOW: sa.ColumnElement[Any] = sa.literal_column(_NOW_MS)


@dataclass(frozen=True)
class Host:
    """A host by the id in its data folder, and by its name."""

    id: str
    name: str


@dataclass(frozen=True)
class Left:
    """A deployment that a runner with a stopped heartbeat left running."""

    deployment_id: str
    runner_id: str
    host_name: str


def register(connection: sa.Connection, runner_id: str, host: Host) -> None:
    """A runner begins, in the place of any former one of its host, whose claims it has taken over by now."""
    connection.execute(_runners.delete().where(_runners.c.host_id == host.id))
    connection.execute(
        _runners.insert().values(
            id=runner_id, host_id=host.id, host_name=host.name, started_at=clock.now(), heartbeat_at=_NOW
        )
    )


def beat(connection: sa.Connection, runner_id: str, host: Host) -> None:
    """It works. One whose row was forgotten meanwhile registers again."""
    row = connection.execute(
        _runners.update().where(_runners.c.id == runner_id).values(heartbeat_at=_NOW).returning(_runners.c.id)
    ).first()
    if row is None:
        register(connection, runner_id, host)


def takeable(connection: sa.Connection) -> list[Left]:
    """What can be gone on with by anybody: its present command runs on a server."""
    runs_on_server = (
        sa.select(sa.literal(1))
        .where(
            _commands.c.deployment_id == _deployments.c.id,
            _commands.c.status == Status.RUNNING,
            _commands.c.kind.in_(ON_THE_SERVER),
        )
        .exists()
    )
    wanted = _left_since(STALE_AFTER).where(_projects.c.server_id.is_not(None), runs_on_server)
    return _all_left(connection, wanted)


def take_over(connection: sa.Connection, left: Left, runner_id: str) -> bool:
    """Claim it for another runner; False where somebody else was faster, or it has ended."""
    return claims.hand_over(connection, left.deployment_id, left.runner_id, runner_id)


def lost(connection: sa.Connection, lost_after: timedelta) -> list[Left]:
    """What nobody can go on with, of hosts that have been away for so long."""
    return _all_left(connection, _left_since(lost_after))


def forget(connection: sa.Connection) -> None:
    """Runners of hosts that have been away for weeks, and have nothing running."""
    is_claimed = sa.select(sa.literal(1)).where(
        _deployments.c.status == RUNNING, _deployments.c.runner_id == _runners.c.id
    )
    connection.execute(
        _runners.delete().where(_runners.c.heartbeat_at < _before(FORGOTTEN_AFTER), ~is_claimed.exists())
    )


def host_names(connection: sa.Connection) -> dict[str, str]:
    """The hosts that have, or had, a runner: their names by their ids."""
    rows = connection.execute(sa.select(_runners.c.host_id, _runners.c.host_name).order_by(_runners.c.started_at))
    return {row.host_id: row.host_name for row in rows}


def elsewhere(connection: sa.Connection, project: Project, host_id: str | None) -> str | None:
    """The name of the host that a project runs on, where that is neither this one nor a server."""
    if project.server_id or project.host_id in (None, host_id):
        return None
    return host_names(connection).get(project.host_id or "", "another host")


def _all_left(connection: sa.Connection, wanted: sa.Select[Any]) -> list[Left]:
    return [Left(*row) for row in connection.execute(wanted).all()]


def _left_since(age: timedelta) -> sa.Select[Any]:
    return (
        sa.select(_deployments.c.id, _runners.c.id, _runners.c.host_name)
        .join(_runners, _runners.c.id == _deployments.c.runner_id)
        .join(_projects, _projects.c.id == _deployments.c.project_id)
        .where(_deployments.c.status == RUNNING, _runners.c.heartbeat_at < _before(age))
    )


def _before(age: timedelta) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"{_NOW_MS} - {round(age.total_seconds() * 1000)}")
