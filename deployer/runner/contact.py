"""Staying in contact with a server: a connection that is lost is made again, while the command goes on there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from deployer import clock
from deployer.errors import ConnectionLost, ExecutorError, HostKeyChanged, ServerRefused
from deployer.executors.base import Answer, Look, Process, Run
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

    @property
    def is_up(self) -> bool:
        """Whether there is a connection, so that what is known of the server need not be waited for."""
        return self._executor.is_connected

    def close(self) -> None:
        self._executor.close()

    def launch(self, run: Run) -> None:
        self.has_begun = True
        self._keep(lambda: self._executor.launch(run))

    def look(self, run_id: str) -> Look:
        return self._keep(lambda: self._executor.look(run_id))

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
        try:
            self._executor.collect(run_id)
        except (ConnectionLost, ServerRefused):
            return

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
        try:
            return act()
        except ServerRefused as error:
            raise self._refused(error) from error
        except ConnectionLost as error:
            return self._again(act, error)

    def _again(self, act: Callable[[], T], error: ConnectionLost) -> T:
        lost_at = time.monotonic()
        self._tell(f"{error} {'What runs there goes on. ' if self.has_begun else ''}Trying again.")
        wait_s = FIRST_WAIT_S
        while True:
            self._pause(wait_s, error, lost_at)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
            try:
                answer = act()
            except ConnectionLost as again:
                if str(again) != str(error):
                    self._tell(str(again))
                error = again
            except ServerRefused as refusal:
                raise self._refused(refusal) from refusal
            else:
                waited = clock.duration_words(time.monotonic() - lost_at)
                self._tell(f"In contact with {self._name} again, after {waited}.")
                return answer

    def _pause(self, wait_s: float, error: ConnectionLost, lost_at: float) -> None:
        """Wait until the next try. Raises OutOfContact when there is to be none."""
        until = time.monotonic() + wait_s
        patience_s = self._reconnect_for_s if self.has_begun else min(BEGIN_PATIENCE_S, self._reconnect_for_s)
        while True:
            by = self._cancelled_by()
            if by:
                left = f"; what ran on {self._name} is ended when it can be reached again" if self.has_begun else ""
                raise OutOfContact(Status.CANCELLED, f"cancelled by {by}{left}")
            now = time.monotonic()
            if now > lost_at + patience_s:
                raise self._given_up(error)
            if now >= until:
                return
            self._executor.wait("", min(until, lost_at + patience_s + 0.001) - now)

    def _given_up(self, error: ConnectionLost) -> OutOfContact:
        said = str(error).rstrip(".")
        if not self.has_begun:
            return OutOfContact(Status.FAILED, f"{said}; nothing was run there")
        patience = clock.duration_words(self._reconnect_for_s)
        return OutOfContact(Status.INTERRUPTED, f"{said}, for {patience} (ssh.reconnect_for)")

    def _refused(self, error: ServerRefused) -> OutOfContact:
        offered = error.offered if isinstance(error, HostKeyChanged) else None
        return OutOfContact(Status.INTERRUPTED if self.has_begun else Status.FAILED, str(error), offered)
