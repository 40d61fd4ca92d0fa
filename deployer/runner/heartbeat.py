"""The heartbeat: where hosts share a database, it tells the others that this one works, and looks after those that do
not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import DBAPIError

from deployer import clock
from deployer.deployments import lifecycle, runners
from deployer.deployments.runners import Host, Left
from deployer.errors import LostClaim, StorageUnavailable
from deployer.installation import Installation

log = logging.getLogger("deployer.runner")


STEADY_S = runners.STALE_AFTER.total_seconds()
"""For how long a heartbeat goes on before it judges others by theirs: after an outage of the database all are old,
and whoever is alive has beaten again by then."""


class Heartbeat(threading.Thread):
    """``after_taking`` is called when a deployment of another runner has become this one's; ``now`` is in seconds."""

    def __init__(
        self,
        installation: Installation,
        runner_id: str,
        host: Host,
        *,
        after_taking: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._database = installation.database
        self._lost_after = timedelta(seconds=installation.config.runner.host_lost_after)
        self._runner_id = runner_id
        self._host = host
        self._after_taking = after_taking
        self._now = now
        self._beaten_at = self._steady_since = float("-inf")

    def run(self) -> None:
        is_away = False
        while True:
            try:
                self.beat()
                is_away = False
            except (StorageUnavailable, DBAPIError) as error:
                # Without the database nobody gets anywhere; what runs goes on.
                if not is_away:
                    log.warning("no heartbeat: %s", str(error).splitlines()[0])
                is_away = True
            time.sleep(runners.BEAT_S)

    def beat(self) -> None:
        """Say that this runner works; and when it has said so for a while, look after those that do not."""
        with self._database.write(alone=False) as connection:
            runners.beat(connection, self._runner_id, self._host)
        now = self._now()
        if now - self._beaten_at > STEADY_S / 2:
            self._steady_since = now
        self._beaten_at = now
        if now - self._steady_since >= STEADY_S:
            self._look_after_others()

    def _look_after_others(self) -> None:
        with self._database.read() as connection:
            takeable = runners.takeable(connection)
            lost = runners.lost(connection, self._lost_after)
        for left in takeable:
            with self._database.write() as connection:
                is_taken = runners.take_over(connection, left, self._runner_id)
            if is_taken:
                log.warning("the runner on %s has stopped; going on with %s", left.host_name, left.deployment_id)
                self._after_taking()
        for left in lost:
            if left not in takeable:
                self._end(left)

    def _end(self, left: Left) -> None:
        patience = clock.duration_words(self._lost_after.total_seconds())
        cause = f"{left.host_name} did not come back within {patience} (runner.host_lost_after)"
        log.warning("%s ends interrupted: %s", left.deployment_id, cause)
        try:
            with self._database.write() as connection:
                lifecycle.interrupt(connection, left.deployment_id, left.runner_id, cause)
        except LostClaim:
            return  # it came back, or another host was faster
