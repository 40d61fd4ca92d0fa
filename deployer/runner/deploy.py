"""One deployment, from top to bottom: what it will run, then each command, then its end.

It can be left at any point and begun again: everything it needs is in the database and in the run directories, and
every part of it looks first at what is already there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from deployer import clock, journal, project_secrets, servers, settings, signatures, variables
from deployer.db import retrying
from deployer.deployments import retry
from deployer.errors import DeployerError, ExecutorError, LostClaim
from deployer.executors.base import Executor
from deployer.executors.launcher import end_mark
from deployer.executors.ssh import SshExecutor
from deployer.installation import Installation
from deployer.models.deployment import Command, CommandKind, Status
from deployer.models.server import Server
from deployer.runner import job
from deployer.runner.commit import Repository
from deployer.runner.contact import Contact, OutOfContact
from deployer.runner.course import Course
from deployer.runner.execution import Execution
from deployer.runner.follow import Ending, end_leftovers
from deployer.runner.inputs import Inputs
from deployer.runner.log_sink import LogSink, Numbering
from deployer.runner.places import Places
from deployer.runner.plan import RUN_HERE, plan
from deployer.runner.record import Record
from deployer.runner.releasing import Releasing
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
        self._id = deployment_id
        self._record = Record(self._database, deployment_id, runner_id)
        with self._database.read() as connection:
            self._deployment, commands = job.load(connection, deployment_id)
            self._extra_path = settings.extra_path(connection)
            self._variables_of_all = variables.of_all_projects(connection)
            self._numbering = Numbering.of(connection, deployment_id)
        self._redactor = Redactor([])
        self._project = self._deployment.project
        contact = self._contact_with(remote, commands) if remote else None
        self._places = Places(self._project, here, contact, self._data_dir, at_contact)
        self._resumed_id = next((one.id for one in commands if one.status is Status.RUNNING), None)
        self._revision = Revision(
            self._database,
            self._deployment,
            runner_id,
            mirror=Repository(here, str(self._data_dir.mirror(self._project.id))),
            working_copy=self._working_copy,
        )
        self._releasing = Releasing(self._database, self._deployment, runner_id, self._places, self._config)
        self._course = Course(
            self._deployment,
            commands,
            record=self._record,
            releasing=self._releasing,
            revision=self._revision,
            places=self._places,
        )
        self._present_sink: LogSink | None = None

    def _contact_with(self, remote: SshExecutor, commands: Sequence[Command]) -> Contact:
        contact = Contact(
            remote,
            reconnect_for_s=self._config.ssh.reconnect_for,
            cancelled_by=self._record.cancelled_by,
            tell=self._tell,
        )
        contact.has_begun = any(one.started_at and one.kind not in RUN_HERE for one in commands)
        return contact

    @property
    def is_out_of_contact(self) -> bool:
        """Whether its server was given up, so that something may still run there."""
        return self._places.is_out_of_contact

    def run(self) -> None:
        """Bring the deployment to its end. Raises LostClaim when another runner has taken it."""
        name = f"{self._deployment.ref} {self._project.name}"
        log.info("%s: %s", name, "going on" if self._course.commands else f"started ({job.reason(self._deployment)})")
        try:
            secrets = project_secrets.open_secrets(self._project, self._variables_of_all, self._vault)
            self._redactor = Redactor(secrets.to_redact())
            self._inputs = Inputs(
                self._deployment,
                secrets,
                places=self._places,
                vault=self._vault,
                config=self._config,
                data_dir=self._data_dir,
                extra_path=self._extra_path,
                releasing=self._releasing,
            )
            status = self._run_commands()
        except LostClaim:
            raise
        except OutOfContact as error:
            # Nothing runs there yet: it was asked what there is to do.
            self._show_host_key(error)
            status = self._end(error.status, error.cause)
        except DeployerError as error:
            if any(one.status is Status.RUNNING for one in self._course.commands):
                raise  # whoever ends the deployment ends that command with it
            status = self._end(Status.FAILED, str(error))
        elapsed = clock.now() - (self._deployment.started_at or self._deployment.queued_at)
        why = f": {journal.one_line(self._course.cause)}" if self._course.cause else ""
        log.info("%s: %s in %s%s", name, status, clock.duration_words(elapsed.total_seconds()), why)

    def _run_commands(self) -> Status:
        if not self._course.commands:
            self._course.commands = self._plan()
        status: Status | None = None
        while status is None:
            status = self._run_next()
        return status

    def _run_next(self) -> Status | None:
        """Run the first command that has not ended; the deployment's status where it ended with it."""
        command, done = self._course.left[0], self._course.done
        if command.status is Status.QUEUED:
            if done and done[-1].kind is CommandKind.FETCH:
                found = self._revision.settle()
                if found.sha is None:
                    return self._end(Status.SUPERSEDED if found.is_stale else Status.FAILED, found.cause)
                signatures.require(self._project, found.sha, self._data_dir)
                self._releasing.begin()
            by = self._wait_for(command) or self._record.begin(self._course.next(command))
            if by:
                self._end_leftovers(done)
                return self._end(Status.CANCELLED, f"cancelled by {by}")
        return self._run_command(command)

    def _end_leftovers(self, done: Sequence[Command]) -> None:
        """A cancel between two commands ends what those before it left running, as one during a command does."""
        if not done:
            return
        try:
            end_leftovers(self._places.of(done[-1]), done[-1].id, self._id, self._config.runner.cancel_grace)
        except ExecutorError as error:
            log.warning("%s: what it left running could not be ended yet: %s", self._deployment.ref, error)

    def _plan(self) -> list[Command]:
        """Write down what this deployment runs, and begin with it; later edits of the project do not change it."""
        working_copy = self._working_copy() if self._places.are_one else None
        with self._database.read() as connection:
            skipped = retry.skipped_steps(connection, self._deployment)
        kept = self._releasing.kept()
        planned = plan(self._deployment, working_copy, self._config, skipped, kept)
        # What brings the commit begins, and that runs here.
        boot_id = self._places.there.boot_id() if kept else self._places.here.boot_id()
        return self._record.plan(planned, boot_id)

    def _wait_for(self, command: Command) -> str | None:
        """Wait until another try may begin; who asked for the deployment's end meanwhile."""
        if command.not_before is None:
            return None
        # By the clock only once: it may be set while somebody waits.
        left_s = (command.not_before - clock.now()).total_seconds()
        until = time.monotonic() + min(left_s, command.retry_wait_s)
        while True:
            seen = self._database.bell.generation
            by = self._record.cancelled_by()
            left_s = until - time.monotonic()
            if by or left_s <= 0:
                return by
            self._database.wait_for_change(seen, left_s)

    def _run_command(self, command: Command) -> Status | None:
        """Follow a command that has begun, also after a restart; the deployment's status where it ended with it."""
        sink = self._present_sink = self._sink(command)
        is_resumed = command.id == self._resumed_id
        if is_resumed:
            with self._database.read() as connection:
                sink.resume(connection)
        try:
            ending = Execution(
                self._deployment,
                command,
                sink,
                is_resumed=is_resumed,
                places=self._places,
                inputs=self._inputs,
                record=self._record,
                redactor=self._redactor,
                config=self._config,
            ).run()
        except OutOfContact as error:
            if command.kind in RUN_HERE:
                self._places.here.stop(command.id, self._id, force=True)
            sink.give_up()
            sink.system(f"{error}.")
            self._show_host_key(error)
            ending = Ending(error.status, None, error.cause)
        if ending.status is Status.SUCCESS and self._course.left == [command]:
            self._name_survivors(command, sink)
        cause = self._redactor.fresh().text(ending.cause) if ending.cause else None
        status = self._course.end_command(command, sink, replace(ending, cause=cause))
        self._places.of(command).collect(command.id)
        return status

    def _show_host_key(self, error: OutOfContact) -> None:
        """One that was refused, on the server's page, where a person is sent to compare and trust it."""
        offered = error.offered_host_key
        if offered is None:
            return

        def write() -> None:
            with self._database.write_session() as session:
                if server := session.get(Server, self._project.server_id):
                    servers.offer(server, offered)

        retrying(write)

    def _tell(self, line: str) -> None:
        """A line about the server, in the log of the command that waits for it."""
        log.warning("%s %s: %s", self._deployment.ref, self._project.name, line)
        if self._present_sink:
            self._present_sink.system(line)
            self._record.save(self._present_sink)

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

    def _name_survivors(self, command: Command, sink: LogSink) -> None:
        try:
            left = self._places.of(command).survivors(command.id, self._id)
        except ExecutorError as error:
            # The command has ended well, whether or not its server can be asked any more.
            log.warning("%s: what still runs could not be seen: %s", self._deployment.ref, error)
            return
        for process in left:
            sink.system(f"Still running, and left alone: {process.command} (process {process.pid}).")

    def _working_copy(self) -> Repository:
        return Repository(self._places.there, self._places.working_copy())

    def _end(self, status: Status, cause: str) -> Status:
        """The deployment's end outside a command."""
        return self._course.end(status, self._redactor.fresh().text(cause))
