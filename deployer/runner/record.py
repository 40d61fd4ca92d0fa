"""What is written down of one deployment while it runs, so that whoever comes after this runner goes on from there.

What belongs together is committed together: a command's end with its last output and with what follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from deployer.db import Database, retrying
from deployer.deployments import claims, command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.models.deployment import Command, Status
from deployer.runner.follow import Ending
from deployer.runner.log_sink import LogSink


@dataclass(frozen=True)
class Outcome:
    """How a deployment ends, and which commit its commands left (None where that is not known)."""

    status: Status
    cause: str | None
    deployed_sha: str | None = None


@dataclass(frozen=True)
class Next:
    """The command that begins as another one ends; ``boot_id`` is its place's, where that is known."""

    command: Command
    boot_id: str | None


class Record:
    """The writes of one deployment. Each raises LostClaim when another runner has taken it."""

    def __init__(self, database: Database, deployment_id: str, runner_id: str) -> None:
        self._database = database
        self._id = deployment_id
        self._runner_id = runner_id
        self._asked_at = -1
        self._canceller: str | None = None

    def cancelled_by(self) -> str | None:
        """Who asked for the end, if anybody did; asked again only when something was committed."""
        seen = self._database.bell.generation
        if seen != self._asked_at:
            self._asked_at = seen
            with self._database.read() as connection:
                self._canceller = claims.canceller(connection, self._id, self._runner_id)
        return self._canceller

    def plan(self, planned: Sequence[PlannedCommand], boot_id: str | None) -> list[Command]:
        """Write down, once, what the deployment runs, and begin with it unless somebody asked for its end."""
        commands = [self.command_of(one) for one in planned]

        def write() -> None:
            with self._database.write() as connection:
                command_lifecycle.plan(connection, self._id, planned)
                if not lifecycle.cancel_requested_by(connection, self._id):
                    first = commands[0]
                    first.started_at = command_lifecycle.start_command(connection, first.id, self._runner_id, boot_id)
                    first.boot_id = boot_id

        retrying(write)
        if commands[0].started_at:
            commands[0].status = Status.RUNNING
        return commands

    def command_of(self, planned: PlannedCommand) -> Command:
        """A command as it is before it begins."""
        return Command(**planned.row(self._id))

    def begin(self, begun: Next) -> str | None:
        """Mark a command as running, unless somebody asked for the deployment's end: then who."""
        command = begun.command

        def write() -> str | None:
            with self._database.write() as connection:
                by = lifecycle.cancel_requested_by(connection, self._id)
                if not by:
                    command.started_at = command_lifecycle.start_command(
                        connection, command.id, self._runner_id, begun.boot_id
                    )
                return by

        by = retrying(write)
        if not by:
            command.boot_id = begun.boot_id
            command.status = Status.RUNNING
        return by

    def boot(self, command: Command, boot_id: str) -> None:
        """In which boot of its place a command is about to be launched."""

        def write() -> None:
            with self._database.write() as connection:
                command_lifecycle.record_boot(connection, command.id, self._runner_id, boot_id)

        retrying(write)
        command.boot_id = boot_id

    def save(self, sink: LogSink, command: Command | None = None, stopped_because: str | None = None) -> None:
        """Commit what a command's sink has; and, where the command is being ended before its time, why."""

        def write() -> None:
            with self._database.write(alone=False) as connection:
                if self._database.is_shared:
                    claims.hold(connection, self._id, self._runner_id)
                sink.flush(connection, self._runner_id)
                if command and stopped_because:
                    command_lifecycle.record_stop(connection, command.id, self._runner_id, stopped_because)

        retrying(write)
        sink.settle()

    def end_command(
        self,
        command: Command,
        sink: LogSink,
        ending: Ending,
        *,
        outcome: Outcome | None = None,
        another_try: PlannedCommand | None = None,
        instead: Sequence[PlannedCommand] = (),
        also: Callable[[sa.Connection], None] | None = None,
        following: Next | None = None,
    ) -> Status | None:
        """Commit a command's end with its last output and with what follows it: the deployment's ``outcome``, or
        another try of the command, or other commands ``instead`` of the rest, or the beginning of the command that is
        ``following`` (which may be the first of those), unless somebody asked for the deployment's end. ``also``
        writes what has changed by the command itself. The deployment's status where it has ended."""
        is_begun = False

        def write() -> Status | None:
            nonlocal is_begun
            with self._database.write() as connection:
                command_lifecycle.finish_command(
                    connection,
                    command.id,
                    self._runner_id,
                    ending.status,
                    exit_code=ending.exit_code,
                    cause=ending.cause,
                    progress=sink.store(connection),
                )
                if also:
                    also(connection)
                if outcome:
                    if outcome.deployed_sha:
                        lifecycle.record_commit(
                            connection, self._id, self._runner_id, deployed_sha=outcome.deployed_sha
                        )
                    lifecycle.end(connection, self._id, self._runner_id, outcome.status, outcome.cause)
                    return outcome.status
                if another_try:
                    command_lifecycle.plan(connection, self._id, [another_try])
                if instead:
                    command_lifecycle.skip_rest(connection, self._id)
                    command_lifecycle.plan(connection, self._id, instead)
                is_begun = following is not None and not lifecycle.cancel_requested_by(connection, self._id)
                if following and is_begun:
                    following.command.started_at = command_lifecycle.start_command(
                        connection, following.command.id, self._runner_id, following.boot_id
                    )
                return None

        status = retrying(write)
        sink.settle()
        command.status, command.exit_code, command.cause = ending.status, ending.exit_code, ending.cause
        if following and is_begun:
            following.command.boot_id = following.boot_id
            following.command.status = Status.RUNNING
        return status

    def end(self, outcome: Outcome) -> None:
        """The deployment's end outside a command."""

        def write() -> None:
            with self._database.write() as connection:
                lifecycle.end(connection, self._id, self._runner_id, outcome.status, outcome.cause)

        retrying(write)
