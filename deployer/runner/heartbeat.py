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


class Heartbeat(threading.Thread):
    """``before_taking`` is called before deployments of another runner become this one's."""

    def __init__(
        self, installation: Installation, runner_id: str, host: Host, *, before_taking: Callable[[], None]
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._database = installation.database
        self._lost_after = timedelta(seconds=installation.config.runner.host_lost_after)
        self._runner_id = runner_id
        self._host = host
        self._before_taking = before_taking

    def run(self) -> None:
        is_away = False
        while True:
            try:
                self._beat()
                self._look_after_others()
                is_away = False
            except (StorageUnavailable, DBAPIError) as error:
                # Without the database nobody gets anywhere; what runs goes on.
                if not is_away:
                    log.warning("no heartbeat: %s", str(error).splitlines()[0])
                is_away = True
            time.sleep(runners.BEAT_S)

    def _beat(self) -> None:
        with self._database.write(alone=False) as connection:
            runners.beat(connection, self._runner_id, self._host)

    def _look_after_others(self) -> None:
        with self._database.read() as connection:
            takeable = runners.takeable(connection)
            lost = runners.lost(connection, self._lost_after)
        if takeable:
            self._before_taking()
        for left in takeable:
            with self._database.write() as connection:
                if runners.take_over(connection, left, self._runner_id):
                    log.warning("the runner on %s has stopped; going on with %s", left.host_name, left.deployment_id)
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
