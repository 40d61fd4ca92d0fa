"""The runner's process: one lock, and a lane for each server that has something to run."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType

from deployer import clock
from deployer.db import retrying
from deployer.deployments import claims, reading, runners
from deployer.deployments.runners import Host
from deployer.executors.local import LocalExecutor
from deployer.installation import Installation
from deployer.runner import courier, housekeeping, lookout, mailer, timetable
from deployer.runner.heartbeat import Heartbeat
from deployer.runner.lane import Lane

log = logging.getLogger("deployer.runner")

BEAT_S = 5.0
"""How often the runner shows at its lock that it goes on."""

REST_S = 0.05
"""Between looks for servers without a lane that have work."""

GIVEN_UP_WITHIN = timedelta(days=1)
"""How far back a new runner looks for deployments of servers that may have left something running."""


class Runner:
    """Runs what is queued, one deployment at a time per server."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._database = installation.database
        self._id = clock.new_id()
        self._lanes: dict[str | None, Lane] = {}
        self._at_work: set[str] = set()

    def run_forever(self) -> None:
        """Never returns. SIGTERM ends the process at once and leaves commands running: the next runner finds them."""
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGINT, _leave)
        for one in (signal.SIGHUP, signal.SIGQUIT):
            # Started by nohup, or in the background of a shell: what is ignored here no step could ever be ended by.
            if signal.getsignal(one) is signal.SIG_IGN:
                signal.signal(one, _stay)
        with _only_runner(self._installation.data_dir.runner_lock) as lock:
            try:
                self._work(lock)
            except BaseException:
                # The lock must not be given to another runner while lanes still work: process and lock end as one.
                log.exception("the runner ends")
                os._exit(1)

    def _work(self, lock: int) -> None:
        # First, since it gives back room, and on a full disk nothing else begins.
        scheduler = housekeeping.start(self._installation)
        mailer.start(self._installation)
        courier.start(self._installation)
        self._begin()
        log.info("runner is ready")
        lookout.start(self._installation)
        timetable.start(self._installation, scheduler)
        for server_id in {None, *self._untidy()}:
            self._open(server_id, is_untidy=server_id is not None)
        beat_at = float("-inf")
        while True:
            if time.monotonic() >= beat_at + BEAT_S:
                beat_at = time.monotonic()
                _beat(lock)
            seen = self._database.bell.generation
            for server_id in self._in_need():
                self._open(server_id)
            self._database.wait_for_change(seen, BEAT_S)
            # A lane that is open hears of its work itself; who opens new ones need not look at every commit.
            time.sleep(REST_S)

    def _open(self, server_id: str | None, *, is_untidy: bool = False) -> None:
        present = self._lanes.get(server_id)
        if present and present.is_alive():
            return
        try:
            lane = Lane(self._installation, self._id, server_id, self._at_work, is_untidy=is_untidy)
        except OSError as error:
            # The kernel gives out no more watches: another lane may end, and this one is tried again.
            log.error("no lane can be opened for the server %s: %s", server_id, error)
            if server_id is None:
                raise
            return
        self._lanes[server_id] = lane
        lane.start()

    def _begin(self) -> None:
        """Take over what a former runner of this host left running; where hosts share the database, tell them."""
        host_id = self._installation.host_id
        host = Host(host_id, socket.gethostname()) if host_id else None

        def begin() -> None:
            with self._database.write() as connection:
                claims.adopt(connection, self._id, host_id)
                if host:
                    runners.register(connection, self._id, host)

        retrying(begin)
        if host:
            # What others ended here while this host was thought to be gone must not run beside what comes next.
            housekeeping.collect_finished(self._installation, LocalExecutor(self._installation.data_dir.spool))
            Heartbeat(self._installation, self._id, host, after_taking=self._look_back).start()

    def _look_back(self) -> None:
        for lane in tuple(self._lanes.values()):
            lane.look_back()
        self._database.bell.announce()

    def _untidy(self) -> Sequence[str]:
        with self._database.read() as connection:
            return reading.servers_given_up(connection, clock.now() - GIVEN_UP_WITHIN)

    def _in_need(self) -> list[str]:
        return self._database.ask(lambda connection: claims.servers_with_work(connection, self._id))


@contextlib.contextmanager
def _only_runner(path: Path) -> Iterator[int]:
    """Hold the runner's lock for as long as the process lives; a second runner waits here. Its descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another runner works on this data folder; waiting for its end")
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield fd
    finally:
        os.close(fd)


def _beat(lock: int) -> None:
    """The lock's time of change is what others see (deployer/health.py)."""
    with contextlib.suppress(OSError):
        os.utime(lock)


def _stay(_signal: int, _frame: FrameType | None) -> None:
    """As good as ignored, but not handed on to what is started."""


def _leave(_signal: int, _frame: FrameType | None) -> None:
    # Whatever the process was at is either committed or will be done again; there is nothing to tidy.
    os._exit(0)
