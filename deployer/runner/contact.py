"""Staying in contact with a server: a connection that is lost is made again, while the command goes on there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from deployer import clock
from deployer.errors import ConnectionLost, ExecutorError, HostKeyChanged, ServerRefused
from deployer.executors.base import Answer, Look, Process, Run, RunState
from deployer.executors.ssh import SshExecutor
from deployer.models.deployment import Status

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 30.0

BEGIN_PATIENCE_S = 30.0
"""How long a server is tried that a deployment has not reached yet: nothing runs there that could be lost."""

T = TypeVar("T")


class OutOfContact(ExecutorError):
    """The server was not reached again in time, or nobody wants to wait any longer: how the deployment ends.

    ``offered_host_key`` is the one that was refused because another one is pinned.
    """

    def __init__(self, status: Status, cause: str, offered_host_key: str | None = None) -> None:
        super().__init__(cause)
        self.status = status
        self.cause = cause
        self.offered_host_key = offered_host_key


class Contact:
    """The executor of a deployment's server, made patient.

    Each method is that of `executors.base.Executor`. Where the connection is lost, it is tried again with growing
    waits, for ``reconnect_for_s`` once something was started there; meanwhile ``tell`` gets lines for the log, and
    ``cancelled_by`` is asked. Raises OutOfContact when the waiting is over.
    """

    def __init__(
        self,
        executor: SshExecutor,
        *,
        reconnect_for_s: float,
        cancelled_by: Callable[[], str | None],
        tell: Callable[[str], None],
    ) -> None:
        self._executor = executor
        self._name = executor.address.name
        self._reconnect_for_s = reconnect_for_s
        self._cancelled_by = cancelled_by
        self._tell = tell
        self.has_begun = False
        """Whether a command of the deployment was, or may have been, started there."""
        self._ended: OutOfContact | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it was given up; something of the deployment may still run there."""
        return self._ended is not None

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, so that what is known of the server need not be waited for."""
        return self._executor.is_connected

    def close(self) -> None:
        self._executor.close()

    def launch(self, run: Run) -> None:
        boot_id = self.boot_id()
        is_sent = False

        def launch() -> None:
            nonlocal is_sent
            # A server that lost its power can forget the run directory of a command that had begun. Whether it ran
            # cannot be told then, so it is not launched a second time.
            is_rebooted = is_sent and self._executor.boot_id() != boot_id
            if is_rebooted and self._executor.look(run.id).state is RunState.ABSENT:
                cause = f"{self._name} was rebooted as the command began"
                raise self._end(OutOfContact(Status.INTERRUPTED, cause))
            is_sent = True
            self._executor.launch(run)

        self.has_begun = True
        self._keep(launch)

    def look(self, run_id: str) -> Look:
        return self._keep(lambda: self._executor.look(run_id))

    def age_s(self, run_id: str) -> float | None:
        return self._keep(lambda: self._executor.age_s(run_id))

    def read(self, run_id: str, offset: int, limit: int) -> bytes:
        return self._keep(lambda: self._executor.read(run_id, offset, limit))

    def wait(self, run_id: str, timeout_s: float) -> None:
        self._executor.wait(run_id, timeout_s)

    def wake(self) -> None:
        self._executor.wake()

    def stop(self, run_id: str, deploy_id: str, *, force: bool) -> bool:
        return self._keep(lambda: self._executor.stop(run_id, deploy_id, force=force))

    def survivors(self, run_id: str, deploy_id: str) -> Sequence[Process]:
        return self._keep(lambda: self._executor.survivors(run_id, deploy_id))

    def collect(self, run_id: str) -> None:
        # Not worth waiting for: what is left there is collected at the next contact.
        if self.is_up:
            with contextlib.suppress(ConnectionLost):
                self._executor.collect(run_id)

    def sweep(self) -> None:
        self._keep(self._executor.sweep)

    def base_environment(self) -> dict[str, str]:
        return self._keep(self._executor.base_environment)

    def boot_id(self) -> str:
        return self._keep(self._executor.boot_id)

    def read_file(self, path: str) -> bytes | None:
        return self._keep(lambda: self._executor.read_file(path))

    def probe(self, argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float) -> Answer:
        return self._keep(lambda: self._executor.probe(argv, environment=environment, timeout_s=timeout_s))

    def _keep(self, act: Callable[[], T]) -> T:
        if self._ended:
            # Given up once is given up: nobody waits a second time for the same deployment.
            raise self._ended
        try:
            return act()
        except (ConnectionLost, ServerRefused) as error:
            if not self._may_pass(error):
                raise self._end(self._refused(error)) from error
            return self._again(act, error)

    def _may_pass(self, error: ExecutorError) -> bool:
        """Whether another try may succeed. A refusal is final where nothing runs yet; later a home that is not
        mounted, or a file of keys that is being written, must not cost what runs. Another host key is never waited
        for."""
        return isinstance(error, ConnectionLost) or (self.has_begun and not isinstance(error, HostKeyChanged))

    def _again(self, act: Callable[[], T], error: ExecutorError) -> T:
        lost_at = time.monotonic()
        self._tell(f"{error} {'What runs there goes on. ' if self.has_begun else ''}Trying again.")
        wait_s = FIRST_WAIT_S
        while True:
            self._pause(wait_s, error, lost_at)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            try:
                answer = act()
            except (ConnectionLost, ServerRefused) as again:
                if not self._may_pass(again):
                    raise self._end(self._refused(again)) from again
                if str(again) != str(error):
                    self._tell(str(again))
                error = again
            else:
                waited = clock.duration_words(time.monotonic() - lost_at)
                self._tell(f"In contact with {self._name} again, after {waited}.")
                return answer

    def _pause(self, wait_s: float, error: ExecutorError, lost_at: float) -> None:
        """Wait until the next try. Raises OutOfContact when there is to be none."""
        until = time.monotonic() + wait_s
        patience_s = self._reconnect_for_s if self.has_begun else min(BEGIN_PATIENCE_S, self._reconnect_for_s)
        while True:
            by = self._cancelled_by()
            if by:
                left = f"; what ran on {self._name} is ended when it can be reached again" if self.has_begun else ""
                raise self._end(OutOfContact(Status.CANCELLED, f"cancelled by {by}{left}"))
            now = time.monotonic()
            if now > lost_at + patience_s:
                raise self._end(self._given_up(error))
            if now >= until:
                return
            self._executor.wait("", min(until, lost_at + patience_s + 0.001) - now)

    def _end(self, error: OutOfContact) -> OutOfContact:
        self._ended = error
        return error

    def _given_up(self, error: ExecutorError) -> OutOfContact:
        said = str(error).rstrip(".")
        if not self.has_begun:
            return OutOfContact(Status.FAILED, f"{said}; nothing was run there")
        patience = clock.duration_words(self._reconnect_for_s)
        return OutOfContact(Status.INTERRUPTED, f"{said}, for {patience} (ssh.reconnect_for)")

    def _refused(self, error: ExecutorError) -> OutOfContact:
        offered = error.offered if isinstance(error, HostKeyChanged) else None
        return OutOfContact(Status.INTERRUPTED if self.has_begun else Status.FAILED, str(error), offered)
