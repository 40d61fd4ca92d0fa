"""At what a deployment was when its runner was killed, as the database and the run directories tell right after."""

from __future__ import annotations

import sqlalchemy as sa

from deployer.models.deployment import Command, Deployment, Status
from tests.chaos.scene import Scene

MOMENTS = ("idle", "queued", "between commands", "launching", "running", "finishing")


def moment(scene: Scene) -> str:
    """One of `MOMENTS`. "launching": the command's row says that it runs, and its launcher has not begun."""
    with scene.operator.database.read() as connection:
        statuses = set(connection.scalars(sa.select(Deployment.status).where(Deployment.finished_at.is_(None))))
        command_id = connection.scalar(
            sa.select(Command.id)
            .join(Deployment, Deployment.id == Command.deployment_id)
            .where(Deployment.status == Status.RUNNING, Command.status == Status.RUNNING)
        )
    if Status.RUNNING not in statuses:
        return "queued" if statuses else "idle"
    if command_id is None:
        return "between commands"
    run = next((spool / command_id for spool in scene.spools if (spool / command_id / "pid").exists()), None)
    if run is None:
        return "launching"
    return "finishing" if (run / "exit").exists() else "running"
