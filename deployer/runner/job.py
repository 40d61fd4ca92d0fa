"""A deployment with everything that running it needs, read at once.

Plain statements instead of the ORM's loading: every push waits for this, and it takes a third of the time.
"""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

from deployer.models.base import Base, table_of
from deployer.models.deployment import Command, Deployment, Trigger
from deployer.models.project import Project, Step, Variable
from deployer.models.server import Server

M = TypeVar("M", bound=Base)


def _rows_of(model: type[Base], key: str, *order: str) -> sa.Select[Any]:
    table = table_of(model)
    return sa.select(table).where(table.c[key] == sa.bindparam("key")).order_by(*(table.c[one] for one in order))


_DEPLOYMENT = _rows_of(Deployment, "id", "number")
_COMMANDS = _rows_of(Command, "deployment_id", "position", "attempt")
_PROJECT = _rows_of(Project, "id", "name")
_SERVER = _rows_of(Server, "id", "name")
_STEPS = _rows_of(Step, "project_id", "position")
_VARIABLES = _rows_of(Variable, "project_id", "name")


def load(connection: sa.Connection, deployment_id: str) -> tuple[Deployment, list[Command]]:
    """The deployment, with its project, that one's steps and variables, and the commands planned so far.

    The objects belong to no session: changing them changes nothing in the database.
    """
    (deployment,) = _read(connection, Deployment, _DEPLOYMENT, deployment_id)
    (deployment.project,) = _read(connection, Project, _PROJECT, deployment.project_id)
    if deployment.project.server_id:
        (deployment.project.server,) = _read(connection, Server, _SERVER, deployment.project.server_id)
    deployment.project.steps = _read(connection, Step, _STEPS, deployment.project_id)
    deployment.project.variables = _read(connection, Variable, _VARIABLES, deployment.project_id)
    return deployment, _read(connection, Command, _COMMANDS, deployment_id)


def _read(connection: sa.Connection, model: type[M], statement: sa.Select[Any], key: str) -> list[M]:
    return [model(**row) for row in connection.execute(statement, {"key": key}).mappings()]


def reason(deployment: Deployment) -> str:
    """Why a deployment runs, for a line of the log: ``push by grace, 1a2b3c4``.

    Who pushed is somebody's own word: what could end the line, or pass for another, is left out.
    """
    by = "".join(one for one in deployment.triggered_by or "" if one.isprintable())
    if not by and deployment.trigger is Trigger.RETRY:
        by = "itself"
    between = ", " if deployment.trigger in (Trigger.POLL, Trigger.SCHEDULE) else " by "
    words = f"{deployment.trigger}{between}{by}" if by else str(deployment.trigger)
    return f"{words}, {deployment.commit_sha[:7]}" if deployment.commit_sha else words
