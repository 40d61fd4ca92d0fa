"""The course of one deployment: its commands in their order, and what follows the end of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from deployer import clock
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.models.deployment import Command, CommandKind, Deployment, Status
from deployer.runner.follow import Ending
from deployer.runner.log_sink import LogSink
from deployer.runner.places import Places
from deployer.runner.plan import another_try
from deployer.runner.record import Next, Outcome, Record
from deployer.runner.releasing import Releasing, Write, with_tries
from deployer.runner.revision import Revision

log = logging.getLogger("deployer.runner")


class Course:
    """``commands`` are those that are written down, the tries of one behind each other; ``cause`` is why the
    deployment ended, where that was no success."""

    def __init__(
        self,
        deployment: Deployment,
        commands: list[Command],
        *,
        record: Record,
        releasing: Releasing,
        revision: Revision,
        places: Places,
    ) -> None:
        self.commands = commands
        self.cause: str | None = None
        self._deployment = deployment
        self._record = record
        self._releasing = releasing
        self._revision = revision
        self._places = places

    @property
    def left(self) -> list[Command]:
        """Those that have not ended."""
        return [one for one in self.commands if not one.status.is_final]

    @property
    def done(self) -> list[Command]:
        """Those that have run to their end."""
        return [one for one in self.commands if one.status.is_final and one.status is not Status.SKIPPED]

    def next(self, command: Command) -> Next:
        # No server is waited for here: where one is not connected, the launch is preceded by a record.
        return Next(command, self._places.known_boot_id(command))

    def end_command(self, command: Command, sink: LogSink, ending: Ending) -> Status | None:
        """Record a command's end with what follows it: another try, the next command's beginning (after a fetch, the
        commit has to be settled first), the way back to the former release, or the deployment's end, whose status is
        returned then."""
        if ending.is_its_own and (again := another_try(command)):
            return self._try_again(command, sink, ending, again)
        also = self._releasing.at_end_of(command, ending)
        rest = [one for one in self.left if one is not command]
        if ending.status is Status.SUCCESS and rest:
            following = None if command.kind is CommandKind.FETCH else self.next(rest[0])
            return self._record.end_command(command, sink, ending, also=also, following=following)
        if way_back := self._releasing.way_back(command, ending, self.commands):
            return self._go_back(command, sink, ending, way_back, also)
        outcome = self._outcome(command, ending)
        self.cause = outcome.cause
        return self._record.end_command(command, sink, ending, also=also, outcome=outcome)

    def _try_again(self, command: Command, sink: LogSink, ending: Ending, again: PlannedCommand) -> Status | None:
        """It begins with the end of the former try, where there is nothing to wait for."""
        wait = f" in {clock.duration_words(again.retry_wait_s)}" if again.not_before else ""
        self._say(sink, ending, f"Trying again{wait}: try {again.attempt} of {command.tries}.")
        begun = self._record.command_of(again)
        following = None if again.not_before else self.next(begun)
        status = self._record.end_command(command, sink, ending, another_try=again, following=following)
        self.commands.insert(self.commands.index(command) + 1, begun)
        return status

    def _go_back(
        self, command: Command, sink: LogSink, ending: Ending, way_back: Sequence[PlannedCommand], also: Write | None
    ) -> Status | None:
        """In place of what would have followed, the former release becomes live again."""
        self._say(sink, ending, f"Going back to {self._releasing.former_name}.")
        begun = [self._record.command_of(one) for one in way_back]
        status = self._record.end_command(
            command, sink, ending, also=also, instead=way_back, following=self.next(begun[0])
        )
        for one in self.commands:
            if one.status is Status.QUEUED:
                one.status = Status.SKIPPED
        self.commands += begun
        return status

    def _say(self, sink: LogSink, ending: Ending, line: str) -> None:
        log.info("%s %s: %s. %s", self._deployment.ref, self._deployment.project.name, ending.cause, line)
        sink.system(line)

    def _outcome(self, command: Command, last: Ending) -> Outcome:
        """How the deployment ends with its last command."""
        if self._releasing.is_used:
            return self._releasing.outcome(command, last, self.commands)
        deployed_sha = self._revision.deployed(command, last.status, self.commands)
        if last.status is Status.SUCCESS and (broken := self._revision.broken(deployed_sha, self.commands)):
            return Outcome(Status.FAILED, broken, deployed_sha)
        cause = None if last.status is Status.SUCCESS else with_tries(last, command)
        return Outcome(last.status, cause, deployed_sha)

    def end(self, status: Status, cause: str) -> Status:
        """The deployment's end outside a command."""
        self.cause = cause if status is Status.SUPERSEDED else self._releasing.with_live(cause)
        self._record.end(Outcome(status, self.cause))
        return status
