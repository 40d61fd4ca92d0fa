"""The timed work: tidying up what is no longer needed."""

from __future__ import annotations

import logging
import os

import sqlalchemy as sa

from deployer import clock
from deployer.db import Database
from deployer.executors.base import Executor
from deployer.installation import Installation
from deployer.models.deployment import Command
from deployer.models.user import LoginSession

log = logging.getLogger("deployer.housekeeping")

INTERVAL_MIN = 60


def start(installation: Installation, executor: Executor) -> None:
    """Tidy now and every hour from now on, in a thread of its own."""
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    scheduler = BackgroundScheduler(daemon=True, timezone="UTC")
    scheduler.add_job(
        tidy,
        "interval",
        args=[installation, executor],
        minutes=INTERVAL_MIN,
        next_run_time=clock.now(),
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()


def tidy(installation: Installation, executor: Executor) -> None:
    collect_finished(installation, executor)
    executor.sweep()
    end_expired_sessions(installation.database)


def collect_finished(installation: Installation, executor: Executor) -> None:
    """Collect runs whose end is on record, but whose runner was killed before it could."""
    for run_id in os.listdir(installation.data_dir.spool):
        with installation.database.read() as connection:
            finished_at = connection.scalar(sa.select(Command.finished_at).where(Command.id == run_id))
        if finished_at:
            executor.collect(run_id)


def end_expired_sessions(database: Database) -> None:
    expired = LoginSession.expires_at < clock.now()
    with database.read() as connection:
        if not connection.scalar(sa.select(sa.func.count()).where(expired)):
            return
    with database.write() as connection:
        connection.execute(sa.delete(LoginSession).where(expired))
