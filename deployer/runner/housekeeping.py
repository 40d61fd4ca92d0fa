"""The timed work: tidying up what is no longer needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import sqlalchemy as sa

from deployer import clock
from deployer.db import Database
from deployer.executors.base import Executor
from deployer.installation import Installation
from deployer.logins import FORGET_AFTER
from deployer.models.deployment import Command
from deployer.models.user import Invitation, LoginSession, Throttle

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
    chores: list[Callable[[], None]] = [
        lambda: collect_finished(installation, executor),
        executor.sweep,
        lambda: forget_expired(installation.database),
    ]
    for chore in chores:
        try:
            chore()
        except Exception:
            log.exception("a part of the housekeeping failed")


def collect_finished(installation: Installation, executor: Executor) -> None:
    """Collect runs whose end is on record, but whose runner was killed before it could."""
    for run_id in os.listdir(installation.data_dir.spool):
        with installation.database.read() as connection:
            finished_at = connection.scalar(sa.select(Command.finished_at).where(Command.id == run_id))
        if finished_at:
            executor.collect(run_id)


def forget_expired(database: Database) -> None:
    """Sessions and invitations that have ended, and failed logins that no longer count."""
    now = clock.now()
    with database.write() as connection:
        connection.execute(sa.delete(LoginSession).where(LoginSession.expires_at < now))
        connection.execute(sa.delete(Invitation).where(Invitation.expires_at < now))
        connection.execute(
            sa.delete(Throttle).where(Throttle.blocked_until < now, Throttle.last_failure_at < now - FORGET_AFTER)
        )
