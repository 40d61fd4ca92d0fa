"""One deployment, from top to bottom: what it will run, then each command, then its end.

It can be left at any point and begun again: everything it needs is in the database and in the run directories, and
every part of it looks first at what is already there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from deployer import clock, journal, project_secrets, servers, settings
from deployer.commands import git
from deployer.db import retrying
from deployer.deployments import command_lifecycle, lifecycle
from deployer.errors import DeployerError, ExecutorError, LostClaim
from deployer.executors.base import Executor, RunState
from deployer.executors.launcher import end_mark
from deployer.executors.ssh import SshExecutor
from deployer.installation import Installation
from deployer.models.deployment import Command, CommandKind, Status
from deployer.models.server import Server
from deployer.runner import job
from deployer.runner.commit import Repository
from deployer.runner.contact import Contact, OutOfContact
from deployer.runner.follow import Ending, Follower
from deployer.runner.inputs import Inputs
from deployer.runner.log_sink import LogSink, Numbering
from deployer.runner.plan import RUN_HERE, plan
from deployer.runner.revision import Revision
from deployer.security.redaction import Redactor

log = logging.getLogger("deployer.runner")


class Deploy:
    """The work on one claimed deployment.

    ``here`` runs Deployer's own commands on this host, ``remote`` the rest on the project's server; None where that
    is this host too. ``at_contact`` is called when the server was reached, before anything is run there.
    """

    def __init__(
        self,
        installation: Installation,
        here: Executor,
        remote: SshExecutor | None,
        runner_id: str,
        deployment_id: str,
        *,
        at_contact: Callable[[], None] = lambda: None,
    ) -> None:
        self._data_dir = installation.data_dir
        self._database = installation.database
        self._config = installation.config
        self._vault = installation.vault
        self._here = here
        self._contact = self._contact_with(remote) if remote else None
        self._there: Executor = self._contact or here
        self._at_contact = at_contact
        self._runner_id = runner_id
        self._id = deployment_id
        with self._database.read() as connection:
            self._deployment, self._commands = job.load(connection, deployment_id)
            self._extra_path = settings.extra_path(connection)
            self._numbering = Numbering.of(connection, deployment_id)
        self._asked_at = -1
        self._canceller: str | None = None
        self._cause: str | None = None
        self._project = self._deployment.project
        if self._contact:
            self._contact.has_begun = any(one.started_at and one.kind not in RUN_HERE for one in self._commands)
        self._resumed_id = next((one.id for one in self._commands if one.status is Status.RUNNING), None)
        self._revision = Revision(
            self._database,
            self._deployment,
            runner_id,
            mirror=Repository(here, str(self._data_dir.mirror(self._project.id))),
            working_copy=self._working_copy,
        )
        self._present_sink: LogSink | None = None

    def _contact_with(self, remote: SshExecutor) -> Contact:
        return Contact(
            remote,
            reconnect_for_s=self._config.ssh.reconnect_for,
            cancelled_by=self._cancelled_by,
            tell=self._tell,
        )

    @property
    def is_out_of_contact(self) -> bool:
        """Whether its server was given up, so that something may still run there."""
        return self._contact is not None and self._contact.has_ended

    def _place_of(self, command: Command) -> Executor:
        return self._here if command.kind in RUN_HERE else self._there

    def run(self) -> None:
        """Bring the deployment to its end. Raises LostClaim when another runner has taken it."""
        name = f"{self._deployment.ref} {self._project.name}"
        log.info("%s: %s", name, "going on" if self._commands else f"started ({job.reason(self._deployment)})")
        try:
            secrets = project_secrets.open_secrets(self._project, self._vault)
            self._redactor = Redactor(secrets.to_redact())
            self._inputs = Inputs(
                self._deployment,
                secrets,
                here=self._here,
                there=self._there,
                vault=self._vault,
                config=self._config,
                data_dir=self._data_dir,
                extra_path=self._extra_path,
            )
            status = self._run_commands()
        except LostClaim:
            raise
        except DeployerError as error:
            status = self._end(Status.FAILED, str(error))
        elapsed = clock.now() - (self._deployment.started_at or self._deployment.queued_at)
        why = f": {journal.one_line(self._cause)}" if self._cause else ""
        log.info("%s: %s in %s%s", name, status, clock.duration_words(elapsed.total_seconds()), why)

    def _run_commands(self) -> Status:
        if not self._commands:
            self._commands = self._plan()
        for position, command in enumerate(self._commands):
            if command.status.is_final:
                continue
            is_queued = command.status is Status.QUEUED
            if position and is_queued and self._commands[position - 1].kind is CommandKind.FETCH:
                found = self._revision.settle()
                if found.sha is None:
                    return self._end(Status.SUPERSEDED if found.is_stale else Status.FAILED, found.cause)
            status = self._run_command(command, self._commands[position + 1 :])
            if status is not Status.SUCCESS:
                return status
        return Status.SUCCESS

    # What will run ----------------------------------------------------------------------------------------------

    def _plan(self) -> list[Command]:
        """Write down what this deployment runs, and begin with it; later edits of the project do not change it."""
        planned = plan(self._deployment, self._working_copy() if self._there is self._here else None, self._config)
        commands = [
            Command(**vars(one), deployment_id=self._id, status=Status.QUEUED, output_offset=0, cut_bytes=0)
            for one in planned
        ]

        def write() -> None:
            with self._database.write() as connection:
                command_lifecycle.plan(connection, self._id, planned)
                if not lifecycle.cancel_requested_by(connection, self._id):
                    commands[0].started_at = self._start(connection, commands[0])

        retrying(write)
        if commands[0].started_at:
            commands[0].status = Status.RUNNING
        return commands

    # A command --------------------------------------------------------------------------------------------------

    def _run_command(self, command: Command, rest: Sequence[Command]) -> Status:
        """Run a command, or go on with it after a restart; its status on record."""
        if command.status is not Status.RUNNING:
            by = self._begin(command)
            if by:
                return self._end(Status.CANCELLED, f"cancelled by {by}")
        sink = self._present_sink = self._sink(command)
        if command.id == self._resumed_id:
            with self._database.read() as connection:
                sink.resume(connection)
        try:
            ending = self._forgotten_by_a_reboot(command, sink) or self._follow(command, sink)
            if command.kind is CommandKind.FETCH and ending.status is Status.FAILED:
                ending = self._with_advice(command, ending)
        except OutOfContact as error:
            if command.kind in RUN_HERE:
                self._here.stop(command.id, self._id, force=True)
            sink.give_up()
            sink.system(f"{error}.")
            if error.offered_host_key:
                self._show_host_key(error.offered_host_key)
            ending = Ending(error.status, None, error.cause)
        if ending.status is Status.SUCCESS and not rest:
            self._name_survivors(command, sink)
        status = self._record(command, sink, ending, rest)
        self._place_of(command).collect(command.id)
        return status

    def _follow(self, command: Command, sink: LogSink) -> Ending:
        try:
            if command.boot_id is None:
                self._record_boot(command)
            if command.kind is CommandKind.SEND:
                # Asked first, so that a server that is down or another one is named as such.
                self._there.boot_id()
                self._at_contact()
            self._place_of(command).launch(self._inputs.run_of(command))
        except OutOfContact:
            raise
        except ExecutorError as error:
            sink.system(str(error))
            return Ending(Status.FAILED, None, str(error))
        return self._follower(command, sink).follow()

    def _show_host_key(self, offered: str) -> None:
        """On the server's page, where a person is sent to compare and trust it."""

        def write() -> None:
            with self._database.write_session() as session:
                if server := session.get(Server, self._project.server_id):
                    servers.offer(server, offered)

        retrying(write)

    def _record_boot(self, command: Command) -> None:
        boot_id = self._place_of(command).boot_id()

        def write() -> None:
            with self._database.write() as connection:
                command_lifecycle.record_boot(connection, command.id, self._runner_id, boot_id)

        retrying(write)
        command.boot_id = boot_id

    def _tell(self, line: str) -> None:
        """A line about the server, in the log of the command that waits for it."""
        log.warning("%s %s: %s", self._deployment.ref, self._project.name, line)
        if self._present_sink:
            self._present_sink.system(line)
            self._save(self._present_sink)

    def _with_advice(self, command: Command, ending: Ending) -> Ending:
        """A failed fetch is nearly always about the address or the credential: say what to do."""
        size = self._here.look(command.id).size
        words = self._here.read(command.id, max(0, size - 4000), 4000).decode("utf-8", "replace")
        advice = git.advice(words, has_deploy_key=self._project.deploy_key_public is not None)
        return replace(ending, cause=f"{ending.cause}. {advice}") if advice else ending

    def _forgotten_by_a_reboot(self, command: Command, sink: LogSink) -> Ending | None:
        """A host that lost its power can forget the run directory of a command that had just begun. Whether it ran
        cannot be told then, so it is not run again."""
        if command.id != self._resumed_id or command.boot_id is None:
            return None
        place = self._place_of(command)
        if place.look(command.id).state is not RunState.ABSENT or command.boot_id == place.boot_id():
            return None
        cause = f"{self._place_name(command)} was rebooted as {self._title(command)} began"
        sink.system(f"Interrupted: {cause}.")
        return Ending(Status.INTERRUPTED, None, cause)

    def _place_name(self, command: Command) -> str:
        server = None if command.kind in RUN_HERE else self._project.server
        return server.name if server else "the host"

    @staticmethod
    def _title(command: Command) -> str:
        return f"step '{command.name}'" if command.kind is CommandKind.STEP else f"'{command.line}'"

    def _begin(self, command: Command) -> str | None:
        """Mark the command as running, unless somebody asked for the deployment's end: then who."""

        def write() -> str | None:
            with self._database.write() as connection:
                by = lifecycle.cancel_requested_by(connection, self._id)
                if not by:
                    command.started_at = self._start(connection, command)
                return by

        by = retrying(write)
        if not by:
            command.status = Status.RUNNING
        return by

    def _start(self, connection: sa.Connection, command: Command) -> datetime:
        # No server is waited for in a transaction: where one is not connected, the launch is preceded by a record.
        place = self._place_of(command)
        is_known = place is self._here or (self._contact is not None and self._contact.is_up)
        command.boot_id = place.boot_id() if is_known else None
        return command_lifecycle.start_command(connection, command.id, self._runner_id, command.boot_id)

    def _record(self, command: Command, sink: LogSink, ending: Ending, rest: Sequence[Command]) -> Status:
        """Commit a command's end with its last output and with what follows it: the deployment's end, or the next
        command's beginning (after a fetch, the commit has to be settled first)."""
        is_over = ending.status is not Status.SUCCESS or not rest
        following = rest[0] if rest and not is_over and command.kind is not CommandKind.FETCH else None
        cause = self._redactor.fresh().text(ending.cause) if ending.cause else None
        deployed_sha = self._revision.deployed(command) if is_over else None
        ended, ended_cause = ending.status, cause
        is_success = is_over and ended is Status.SUCCESS
        if is_success and (broken := self._revision.broken(deployed_sha, self._commands)):
            ended, ended_cause = Status.FAILED, broken
        self._cause = ended_cause

        def write() -> Status:
            with self._database.write() as connection:
                command_lifecycle.finish_command(
                    connection,
                    command.id,
                    self._runner_id,
                    ending.status,
                    exit_code=ending.exit_code,
                    cause=cause,
                    progress=sink.store(connection),
                )
                if is_over:
                    if deployed_sha:
                        lifecycle.record_commit(connection, self._id, self._runner_id, deployed_sha=deployed_sha)
                    lifecycle.end(connection, self._id, self._runner_id, ended, ended_cause)
                elif following:
                    by = lifecycle.cancel_requested_by(connection, self._id)
                    if by:
                        lifecycle.cancel(connection, self._id, self._runner_id, f"cancelled by {by}")
                        return Status.CANCELLED
                    following.started_at = self._start(connection, following)
            return ended

        status = retrying(write)
        sink.settle()
        command.status = ending.status
        if following and status is Status.SUCCESS:
            following.status = Status.RUNNING
        return status

    def _follower(self, command: Command, sink: LogSink) -> Follower:
        assert command.started_at is not None
        elapsed = max(0.0, (clock.now() - command.started_at).total_seconds())
        return Follower(
            self._place_of(command),
            sink,
            run_id=command.id,
            deploy_id=self._id,
            title=self._title(command),
            place=self._place_name(command),
            seconds_left=command.timeout_s - elapsed,
            timeout_s=command.timeout_s,
            grace_s=self._config.runner.cancel_grace,
            max_output_bytes=self._config.logs.max_spool_bytes,
            cancelled_by=self._cancelled_by,
            save=lambda: self._save(sink),
        )

    def _sink(self, command: Command) -> LogSink:
        return LogSink(
            deployment_id=self._id,
            command_id=command.id,
            mark=end_mark(command.nonce),
            redactor=self._redactor.fresh(),
            numbering=self._numbering,
            max_bytes=self._config.logs.max_bytes_per_command,
            offset=command.output_offset,
            cut_bytes=command.cut_bytes,
            cut_after_seq=command.cut_after_seq,
        )

    def _save(self, sink: LogSink) -> None:
        def write() -> None:
            with self._database.write(alone=False) as connection:
                sink.flush(connection, self._runner_id)

        retrying(write)
        sink.settle()

    def _cancelled_by(self) -> str | None:
        """Who asked for the end, if anybody did; asked again only when something was committed."""
        seen = self._database.bell.generation
        if seen != self._asked_at:
            self._asked_at = seen
            with self._database.read() as connection:
                self._canceller = lifecycle.canceller(connection, self._id, self._runner_id)
        return self._canceller

    def _name_survivors(self, command: Command, sink: LogSink) -> None:
        try:
            left = self._place_of(command).survivors(command.id, self._id)
        except ExecutorError as error:
            # The command has ended well, whether or not its server can be asked any more.
            log.warning("%s: what still runs could not be seen: %s", self._deployment.ref, error)
            return
        for process in left:
            sink.system(f"Still running, and left alone: {process.command} (process {process.pid}).")

    def _working_copy(self) -> Repository:
        return Repository(self._there, self._inputs.working_copy())

    # Its end outside a command ----------------------------------------------------------------------------------

    def _end(self, status: Status, cause: str) -> Status:
        self._cause = cause

        def write() -> None:
            with self._database.write() as connection:
                lifecycle.end(connection, self._id, self._runner_id, status, cause)

        retrying(write)
        return status
