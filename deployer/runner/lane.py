"""A lane: the thread that runs the deployments of one server, one after the other."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from deployer import journal, servers
from deployer.db import retrying
from deployer.deployments import claims, command_lifecycle, lifecycle, reading
from deployer.errors import DeployerError, ExecutorError, LostClaim, StorageUnavailable
from deployer.executors.local import LocalExecutor
from deployer.executors.ssh import SshExecutor
from deployer.executors.ssh_connection import Address
from deployer.installation import Installation
from deployer.models.deployment import Deployment, Status
from deployer.runner import housekeeping
from deployer.runner.deploy import Deploy

log = logging.getLogger("deployer.runner")

IDLE_WAIT_S = 60.0

TIDY_WAIT_S = (1.0, 60.0)
"""Between tries to tidy a server that was given up: the first wait, and the longest."""

RESUME_WAIT_S = 0.5
"""Before a deployment is gone on with whose commit was not answered."""

KEPT_OPEN_S = 300.0
"""How long a connection stays open after its last deployment, so that the next one need not wait for it."""


class Lane(threading.Thread):
    """Runs what is queued for one server; ``server_id`` None is this host. Ends when its server is deleted.

    ``at_work`` holds the deployments that the lanes of this runner are at. ``is_untidy``: something of a deployment
    that was given up may still run there, and is to be ended.
    """

    def __init__(
        self,
        installation: Installation,
        runner_id: str,
        server_id: str | None,
        at_work: set[str],
        *,
        is_untidy: bool = False,
    ) -> None:
        super().__init__(name=f"lane-{server_id or 'local'}", daemon=True)
        self._installation = installation
        self._database = installation.database
        self._runner_id = runner_id
        self._server_id = server_id
        self._at_work = at_work
        self._looks_back = True
        self._here = LocalExecutor(installation.data_dir.spool)
        self._remote: SshExecutor | None = None
        self._used_at = 0.0
        self._tidied_connection = 0
        self._is_untidy = is_untidy
        self._tidy_at = 0.0
        self._tidy_wait_s = TIDY_WAIT_S[0]

    def run(self) -> None:
        try:
            self._work()
        except BaseException:
            # The next runner, started by whoever supervises this one, goes on.
            log.exception("a lane of the runner ended; the runner ends with it")
            os._exit(1)

    def _work(self) -> None:
        self._database.bell.listen(self._wake)
        while self._has_server():
            seen = self._database.bell.generation
            deployment_id = self._left() or self._claim()
            if deployment_id:
                self._at_work.add(deployment_id)
                try:
                    self._deploy(deployment_id)
                finally:
                    self._at_work.discard(deployment_id)
            else:
                self._tidy_when_due()
                self._close_when_idle()
                self._database.wait_for_change(seen, self._patience())
        self._database.bell.forget(self._wake)
        self._here.close()
        if self._remote:
            self._remote.close()

    def _wake(self) -> None:
        self._here.wake()
        if remote := self._remote:
            remote.wake()

    def look_back(self) -> None:
        """Something that another runner left may be this one's at the next change. Called from any thread."""
        self._looks_back = True

    def _left(self) -> str | None:
        """What is this runner's and not ended: left by a former one, or begun without knowing it."""
        if not self._looks_back:
            return None
        self._looks_back = False
        host_id = self._installation.host_id
        left = self._database.ask(
            lambda connection: claims.running_of(connection, self._runner_id, self._server_id, host_id)
        )
        # Its project was moved to this server at the very moment at which another lane began it.
        left = [one for one in left if one not in self._at_work]
        if len(left) > 1:
            self._looks_back = True
        return left[0] if left else None

    def _claim(self) -> str | None:
        host_id = self._installation.host_id
        if self._database.ask(lambda connection: claims.next_in_queue(connection, self._server_id, host_id)) is None:
            return None

        def claim() -> str | None:
            try:
                with self._database.write() as connection:
                    return claims.claim(connection, self._runner_id, self._server_id, host_id)
            except StorageUnavailable:
                # What it claimed may be this runner's without its knowing.
                self._looks_back = True
                raise

        return retrying(claim)

    def _deploy(self, deployment_id: str) -> None:
        try:
            remote = self._remote_executor()
            deploy = Deploy(
                self._installation, self._here, remote, self._runner_id, deployment_id, at_contact=self._tidy
            )
            deploy.run()
            self._is_untidy = self._is_untidy or deploy.is_out_of_contact
        except LostClaim as error:
            self._lost(deployment_id, error)
        except DeployerError as error:
            # Before anything was begun: a server that is not trusted yet, a key that cannot be opened.
            self._fail(deployment_id, str(error))
        except (OperationalError, InternalError, InterfaceError):
            # The database cannot be read: the next runner, started by whoever supervises this one, goes on.
            raise
        except Exception as error:
            log.exception("deployment %s ended by an error of the runner", deployment_id)
            self._fail(deployment_id, f"an internal error: {type(error).__name__}; the runner's log says more")

    def _lost(self, deployment_id: str, error: LostClaim) -> None:
        """Another runner's by now; or ended by one, because this host was thought to be gone; or ours all the same,
        where the answer to a commit was lost on the way: then it is gone on with from what is recorded."""
        with Session(self._database.engine) as session:
            deployment = session.scalar(sa.select(Deployment).where(Deployment.id == deployment_id))
            if deployment is None:
                log.warning("%s", error)  # deleted with its project
                return
            is_given_up = deployment.status is Status.INTERRUPTED
            is_ours = deployment.status is Status.RUNNING and deployment.runner_id == self._runner_id
            commands = [one.id for one in deployment.commands if one.started_at]
        log.warning("%s: %s", deployment.ref, error)
        if is_given_up:
            for command_id in commands[-1:]:
                self._here.stop(command_id, deployment_id, force=True)
        elif is_ours:
            self._looks_back = True
            time.sleep(RESUME_WAIT_S)

    def _fail(self, deployment_id: str, cause: str) -> None:
        """End a deployment that cannot be followed any more, with whatever of it still runs."""
        with self._database.read() as connection:
            running = command_lifecycle.running_command(connection, deployment_id)
        for place in (self._here, self._remote):
            if running and place:
                try:
                    place.stop(running, deployment_id, force=True)
                except ExecutorError:
                    # Ended at the next contact.
                    self._is_untidy = self._is_untidy or place is self._remote

        def fail() -> None:
            with self._database.write() as connection:
                lifecycle.fail(connection, deployment_id, self._runner_id, cause)

        with contextlib.suppress(LostClaim):
            retrying(fail)
        with Session(self._database.engine) as session:
            log.warning("%s: failed: %s", reading.find(session, deployment_id).ref, journal.one_line(cause))

    # The server -------------------------------------------------------------------------------------------------

    def _remote_executor(self) -> SshExecutor | None:
        """The executor of this lane's server as it is configured now; None for this host."""
        if self._server_id is None:
            return None
        address = self._address(self._server_id)
        if self._remote is None or self._remote.address != address:
            if self._remote:
                self._remote.close()
            self._remote, self._tidied_connection = SshExecutor(address), 0
        self._used_at = time.monotonic()
        return self._remote

    def _address(self, server_id: str) -> Address:
        with Session(self._database.engine) as session:
            return servers.address_of(servers.find(session, server_id), self._installation.vault)

    def _tidy(self) -> None:
        """Once a connection, before a deployment runs anything over it: end and collect what earlier ones left. Where
        other hosts deploy to the server too, each time: one of them may have given it up since."""
        if self._remote and (self._database.is_shared or self._tidied_connection != self._remote.connections):
            # Where the contact is lost meanwhile, the next connection begins with it again.
            with contextlib.suppress(ExecutorError):
                housekeeping.tidy_server(self._database, self._remote)
                self._tidied_connection = self._remote.connections
                self._is_untidy = False
                self._tidy_wait_s = TIDY_WAIT_S[0]

    def _tidy_when_due(self) -> None:
        """What was given up is ended as soon as its server can be reached again, also if nothing new is deployed."""
        if not self._is_untidy or time.monotonic() < self._tidy_at:
            return
        with contextlib.suppress(DeployerError):
            remote = self._remote_executor()
            if remote:
                remote.boot_id()
                self._tidied_connection = 0
                self._tidy()
        self._tidy_at = time.monotonic() + self._tidy_wait_s
        self._tidy_wait_s = min(2 * self._tidy_wait_s, TIDY_WAIT_S[1])

    def _patience(self) -> float:
        return max(0.0, self._tidy_at - time.monotonic()) if self._is_untidy else IDLE_WAIT_S

    def _has_server(self) -> bool:
        if self._server_id is None:
            return True
        with self._database.read() as connection:
            return servers.exists(connection, self._server_id)

    def _close_when_idle(self) -> None:
        if self._remote and self._remote.is_connected and time.monotonic() > self._used_at + KEPT_OPEN_S:
            self._remote.close()
