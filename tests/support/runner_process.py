"""A real runner in a process of its own, which can be killed at any point."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from deployer import clock
from deployer.config import Config
from tests.support.waiting import wait_until

SET_BY = "DEPLOYER_TEST_CLOCK_SET_BY"
"""In a runner's environment: the file that says by how many seconds its clock was set."""

# A server that has everything loaded forks each runner: it starts in milliseconds.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["pytest", "deployer.runner.loop", "apscheduler.schedulers.background", "alembic", "tests.support.runner_process"]
)


def _main(
    config: Config, log_path: str, environment: dict[str, str], prepare: Callable[[], None] | None = None
) -> None:
    from deployer.installation import Installation
    from deployer.runner.loop import Runner

    if SET_BY in environment:
        _set_clock(Path(environment[SET_BY]))
    os.environ.update(environment)
    logging.basicConfig(filename=log_path, level=logging.INFO, format="%(process)d %(levelname)s %(message)s")
    try:
        if prepare:
            prepare()
        Runner(Installation.open(config)).run_forever()
    except BaseException:
        logging.exception("the runner ended")
        raise


def _set_clock(path: Path) -> None:
    """Have the time of day be another one, by as many seconds as a file says at the moment."""
    true_now, true_time = clock.now, time.time

    def by() -> float:
        return float(path.read_text()) if path.exists() else 0.0

    clock.now = lambda: true_now() + timedelta(seconds=by())
    time.time = lambda: true_time() + by()


class RunnerProcess:
    """``log`` is what it wrote to its own log. `kill` it at the end.

    ``prepare`` is called in the process before its work begins.
    """

    def __init__(
        self,
        config: Config,
        log_path: Path,
        environment: dict[str, str] | None = None,
        *,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._log_path = log_path
        self._environment = environment or {}
        self._prepare = prepare
        self._process: BaseProcess | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def code(self) -> int | None:
        """How it ended, where it ended by itself."""
        return self._process.exitcode if self._process else None

    @property
    def log(self) -> str:
        return self._log_path.read_text() if self._log_path.exists() else ""

    @property
    def is_ready(self) -> bool:
        return f"{self.pid} INFO runner is ready" in self.log

    def start(self) -> RunnerProcess:
        assert not self.is_running
        self._process = _context.Process(
            target=_main, args=(self._config, str(self._log_path), self._environment, self._prepare), daemon=True
        )
        self._process.start()
        self.starts += 1
        return self

    def wait_until_ready(self) -> RunnerProcess:
        wait_until(lambda: self.is_ready, "the runner is ready")
        return self

    def kill(self) -> None:
        """``kill -9``."""
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> int | None:
        """Send a signal and wait for the end; the exit code."""
        if self._process is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        self._process.join(10)
        assert not self._process.is_alive(), "the runner did not end"
        code = self._process.exitcode
        self._process.close()
        self._process = None
        return code
