"""The runner's process: one lock, one loop. It claims deployments and runs them one after the other."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import DBAPIError

from deployer import clock
from deployer.db import retrying
from deployer.deployments import command_lifecycle, lifecycle
from deployer.errors import LostClaim
from deployer.executors.local import LocalExecutor
from deployer.installation import Installation
from deployer.runner import housekeeping, mailer
from deployer.runner.deploy import Deploy

log = logging.getLogger("deployer.runner")

IDLE_WAIT_S = 60.0


class Runner:
    """Runs what is queued on this host, one deployment at a time."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._database = installation.database
        self._id = clock.new_id()

    def run_forever(self) -> None:
        """Never returns. SIGTERM ends the process at once and leaves commands running: the next runner finds them."""
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, _leave)
        with _only_runner(self._installation.data_dir.runner_lock):
            executor = LocalExecutor(self._installation.data_dir.spool)
            self._database.bell.listen(executor.wake)
            housekeeping.start(self._installation, executor)
            mailer.start(self._installation)
            log.info("runner is ready")
            self._take_over(executor)
            while True:
                seen = self._database.bell.generation
                deployment_id = self._claim()
                if deployment_id:
                    self._deploy(executor, deployment_id)
                else:
                    self._database.wait_for_change(seen, IDLE_WAIT_S)

    def _take_over(self, executor: LocalExecutor) -> None:
        """Go on with what a former runner left running."""

        def adopt() -> list[str]:
            with self._database.write() as connection:
                return list(lifecycle.adopt(connection, self._id))

        for deployment_id in retrying(adopt):
            log.info("going on with deployment %s", deployment_id)
            self._deploy(executor, deployment_id)

    def _claim(self) -> str | None:
        with self._database.read() as connection:
            if lifecycle.next_in_queue(connection) is None:
                return None

        def claim() -> str | None:
            with self._database.write() as connection:
                return lifecycle.claim(connection, self._id)

        return retrying(claim)

    def _deploy(self, executor: LocalExecutor, deployment_id: str) -> None:
        try:
            Deploy(self._installation, executor, self._id, deployment_id).run()
        except LostClaim as error:
            log.warning("%s", error)
        except DBAPIError:
            # The database cannot be read: the next runner, started by whoever supervises this one, goes on.
            raise
        except Exception as error:
            log.exception("deployment %s ended by an error of the runner", deployment_id)
            self._fail(
                executor, deployment_id, f"an internal error: {type(error).__name__}; the runner's log says more"
            )

    def _fail(self, executor: LocalExecutor, deployment_id: str, cause: str) -> None:
        """End a deployment that cannot be followed any more, with whatever of it still runs."""
        with self._database.read() as connection:
            running = command_lifecycle.running_command(connection, deployment_id)
        if running:
            executor.stop(running, deployment_id, force=True)

        def fail() -> None:
            with self._database.write() as connection:
                lifecycle.fail(connection, deployment_id, self._id, cause)

        with contextlib.suppress(LostClaim):
            retrying(fail)


@contextlib.contextmanager
def _only_runner(path: Path) -> Iterator[None]:
    """Hold the runner's lock for as long as the process lives; a second runner waits here."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another runner works on this data folder; waiting for its end")
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Whatever the process was at is either committed or will be done again; there is nothing to tidy.
    os._exit(0)
