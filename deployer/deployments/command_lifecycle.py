"""The state machine of commands, inside that of their deployment.

    queued ──► running ──► success | failed | cancelled | interrupted
       └────► skipped           └ another try: a command of its own, queued ──► …

Each arrow is a guarded ``UPDATE … RETURNING`` that also fences on the runner which claimed the deployment. No row
returned means that the deployment is another runner's by now: LostClaim, and the runner must stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.dml import ReturningUpdate

from deployer import clock
from deployer.errors import LostClaim
from deployer.models.base import table_of
from deployer.models.deployment import RUNNING, Command, CommandKind, Deployment, Status
from deployer.models.project import Phase

_deployments = table_of(Deployment)
_commands = table_of(Command)


@dataclass(frozen=True)
class PlannedCommand:
    """A command that a deployment will run. ``timeout_s`` and ``retry_wait_s`` are in seconds.

    It is ``attempt`` 1 of ``1 + retries``; a later one waits until ``not_before``. ``skipped_because`` is why it need
    not run at all: then it is skipped from the beginning.
    """

    id: str
    position: int
    kind: CommandKind
    name: str
    line: str
    timeout_s: int
    nonce: str
    phase: Phase | None = None
    attempt: int = 1
    retries: int = 0
    retry_wait_s: int = 0
    not_before: datetime | None = None
    skipped_because: str | None = None

    @property
    def status(self) -> Status:
        return Status.SKIPPED if self.skipped_because else Status.QUEUED

    def row(self, deployment_id: str) -> dict[str, Any]:
        """Its columns, as they are before it begins."""
        facts = {name: value for name, value in vars(self).items() if name != "skipped_because"}
        return {
            **facts,
            "deployment_id": deployment_id,
            "status": self.status,
            "cause": self.skipped_because,
            "output_offset": 0,
            "cut_bytes": 0,
        }


def plan(connection: sa.Connection, deployment_id: str, commands: Iterable[PlannedCommand]) -> None:
    """Write down, once, what a deployment will run: later edits of the project do not change it.

    Also another try of a command, in the transaction that ends the one before it. Raises LostClaim where they are
    there already: by another runner, or by a commit of this one that was not answered.
    """
    rows = [one.row(deployment_id) for one in commands]
    if rows:
        try:
            connection.execute(_commands.insert(), rows)
        except IntegrityError as error:
            raise LostClaim(f"The commands of {deployment_id} are written down already.") from error


_IS_CLAIMED = (
    sa.select(sa.literal(1))
    .where(
        _deployments.c.id == _commands.c.deployment_id,
        _deployments.c.runner_id == sa.bindparam("runner"),
        _deployments.c.status == RUNNING,
    )
    .exists()
)


def _command_arrow(present: Status, *columns: str) -> ReturningUpdate[Any]:
    """A guarded update of ``columns``. A deployment may have many short commands, so each is built once."""
    return (
        _commands.update()
        .where(_commands.c.id == sa.bindparam("command"), _commands.c.status == present, _IS_CLAIMED)
        .values({column: sa.bindparam(f"new_{column}") for column in columns})
        .returning(_commands.c.id)
    )


_PROGRESS = ("output_offset", "cut_bytes", "cut_after_seq")
_START = _command_arrow(Status.QUEUED, "status", "started_at", "boot_id")
_RECORD_OUTPUT = _command_arrow(Status.RUNNING, *_PROGRESS)
_RECORD_BOOT = _command_arrow(Status.RUNNING, "boot_id")
_RECORD_STOP = _command_arrow(Status.RUNNING, "cause")
_FINISH = _command_arrow(Status.RUNNING, "status", "exit_code", "cause", "finished_at", *_PROGRESS)


@dataclass(frozen=True)
class Progress:
    """How far a command's output is stored, written together with the chunks themselves."""

    output_offset: int
    cut_bytes: int
    cut_after_seq: int | None


def start_command(connection: sa.Connection, command_id: str, runner_id: str, boot_id: str | None) -> datetime:
    """queued → running, before its launcher is started; the moment it was begun.

    ``boot_id`` is its place's; None while that was not reached yet, and then `record_boot` precedes the launch.
    """
    now = clock.now()
    values = {"status": Status.RUNNING, "started_at": now, "boot_id": boot_id}
    _move_command(connection, _START, command_id, runner_id, values)
    return now


def record_boot(connection: sa.Connection, command_id: str, runner_id: str, boot_id: str) -> None:
    """In which boot of its place a running command is about to be launched."""
    _move_command(connection, _RECORD_BOOT, command_id, runner_id, {"boot_id": boot_id})


def record_stop(connection: sa.Connection, command_id: str, runner_id: str, cause: str) -> None:
    """Why a running command is about to be ended, so that whoever goes on after a restart knows that it was."""
    _move_command(connection, _RECORD_STOP, command_id, runner_id, {"cause": cause})


def running_command(connection: sa.Connection, deployment_id: str) -> str | None:
    """The id of the command that a deployment is at."""
    return connection.scalar(
        sa.select(_commands.c.id).where(
            _commands.c.deployment_id == deployment_id, _commands.c.status == Status.RUNNING
        )
    )


def record_output(connection: sa.Connection, command_id: str, runner_id: str, progress: Progress) -> None:
    """How far a running command's output is stored (no change of status, but fenced like one)."""
    _move_command(connection, _RECORD_OUTPUT, command_id, runner_id, vars(progress))


def finish_command(
    connection: sa.Connection,
    command_id: str,
    runner_id: str,
    status: Status,
    *,
    exit_code: int | None,
    cause: str | None,
    progress: Progress,
) -> None:
    """running → success | failed | cancelled | interrupted."""
    values = {"status": status, "exit_code": exit_code, "cause": cause, "finished_at": clock.now()}
    _move_command(connection, _FINISH, command_id, runner_id, {**values, **vars(progress)})


def _move_command(
    connection: sa.Connection,
    arrow: ReturningUpdate[Any],
    command_id: str,
    runner_id: str,
    values: dict[str, Any],
) -> None:
    """Raises LostClaim unless the command stands where the arrow begins, in a deployment that is this runner's."""
    given = {f"new_{name}": value for name, value in values.items()}
    if connection.execute(arrow, {"command": command_id, "runner": runner_id, **given}).first() is None:
        raise LostClaim(f"Command {command_id} is no longer this runner's.")


_SKIP_COMMANDS = (
    _commands.update()
    .where(_commands.c.deployment_id == sa.bindparam("deployment"), _commands.c.status == Status.QUEUED)
    .values(status=Status.SKIPPED)
)
# Of a deployment that ends outside its commands, the one that had begun ends with it.
_CLOSE_COMMANDS = (
    _commands.update()
    .where(_commands.c.deployment_id == sa.bindparam("deployment"), _commands.c.status == Status.RUNNING)
    .values(status=sa.bindparam("new_status"), cause=sa.bindparam("new_cause"), finished_at=sa.bindparam("at"))
)


def skip_rest(connection: sa.Connection, deployment_id: str) -> None:
    """queued → skipped: something else is run in place of what has not begun."""
    connection.execute(_SKIP_COMMANDS, {"deployment": deployment_id})


def end_with_deployment(
    connection: sa.Connection, deployment_id: str, status: Status, cause: str | None, at: datetime
) -> None:
    """A deployment's end: what had not begun is skipped; what runs, if the end came from outside it, ends with it."""
    skip_rest(connection, deployment_id)
    connection.execute(
        _CLOSE_COMMANDS, {"deployment": deployment_id, "new_status": status, "new_cause": cause, "at": at}
    )
