"""The timetable: what happens at a time of its own, by APScheduler: schedules that are due, and windows that open.

The database says what is due. APScheduler is told the next such moment only, and again after each change of the
database; so nothing of it has to outlive this process.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from deployer import clock
from deployer.db import retrying
from deployer.deployments import schedules, waiting
from deployer.errors import StorageUnavailable
from deployer.installation import Installation

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler

log = logging.getLogger("deployer.runner")

IDLE_WAIT_S = 30.0
"""The longest wait between two looks: so late a clock that was set, or a sleep of the host, is noticed."""

REST_S = 0.5
"""Between two looks, however often something is committed."""

FAULT_WAIT_S = 10.0
_JOB = "due"


def start(installation: Installation, scheduler: BaseScheduler) -> None:
    """Keep to the timetable from now on, beginning with what was missed."""
    threading.Thread(target=Timetable(installation, scheduler).run, name="timetable", daemon=True).start()


class Timetable:
    def __init__(self, installation: Installation, scheduler: BaseScheduler) -> None:
        self._database = installation.database
        self._max_queued = installation.config.runner.max_queued
        self._scheduler = scheduler
        self._planned: datetime | None = None
        self._opens_at: datetime | None = None

    def run(self) -> None:
        while True:
            seen = self._database.bell.generation
            try:
                self.look()
            except Exception as error:
                is_storage = isinstance(error, StorageUnavailable | DBAPIError)
                log.error("the timetable could not be read: %s", error, exc_info=not is_storage)
                time.sleep(FAULT_WAIT_S)
                continue
            time.sleep(REST_S)
            self._database.wait_for_change(seen, IDLE_WAIT_S)

    def look(self) -> None:
        """Do what is due, and have APScheduler call again when the next thing is."""
        now = clock.now()
        with self._database.read() as connection:
            due = schedules.due(connection, now)
        for schedule_id in due:
            self._fire(schedule_id)
        if self._opens_at is not None and self._opens_at <= now:
            # Nothing is written when a window opens, but lanes are to look for what waited for it.
            self._database.bell.announce()
        with self._database.read() as connection:
            self._opens_at = waiting.next_opening(connection, now)
            moments = [schedules.next_due(connection), self._opens_at]
        self._plan(min((one for one in moments if one is not None), default=None))

    def _fire(self, schedule_id: str) -> None:
        def fire() -> str | None:
            with self._database.write() as connection:
                return schedules.fire(connection, schedule_id, clock.now(), self._max_queued)

        deployment_id = retrying(fire)
        if deployment_id is not None:
            log.info("a schedule is due: deployment %s waits", deployment_id)

    def _plan(self, at: datetime | None) -> None:
        if at == self._planned:
            return
        self._planned = at
        if at is None:
            if self._scheduler.get_job(_JOB):
                self._scheduler.remove_job(_JOB)
            return
        self._scheduler.add_job(
            self._come, "date", run_date=at, id=_JOB, replace_existing=True, misfire_grace_time=None
        )

    def _come(self) -> None:
        """The planned moment is there."""
        self._planned = None
        self._database.bell.announce()
