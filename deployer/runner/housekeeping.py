"""The timed work: tidying up what is no longer needed."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployer import clock, scratch
from deployer.db import Database
from deployer.deployments import runners
from deployer.executors.base import RunState
from deployer.executors.local import LocalExecutor
from deployer.executors.ssh import SshExecutor
from deployer.installation import Installation
from deployer.logins import FORGET_AFTER
from deployer.models.deployment import Command
from deployer.models.project import Project
from deployer.models.user import Invitation, LoginSession, Throttle
from deployer.notifications import outbox
from deployer.runner import trimming

if TYPE_CHECKING:
    from apscheduler.schedulers.base import BaseScheduler

log = logging.getLogger("deployer.housekeeping")

INTERVAL_MIN = 60
SCRATCH_KEPT_S = 600.0


def start(installation: Installation) -> BaseScheduler:
    """Tidy now and every hour from now on, in a thread of its own; the scheduler that sees to it."""
    from apscheduler.schedulers.background import BackgroundScheduler

    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    scheduler = BackgroundScheduler(daemon=True, timezone="UTC")
    scheduler.add_job(
        tidy,
        "interval",
        args=[installation, LocalExecutor(installation.data_dir.spool)],
        minutes=INTERVAL_MIN,
        next_run_time=clock.now(),
        coalesce=True,
        misfire_grace_time=None,
    )
    scheduler.start()
    return scheduler


def tidy(installation: Installation, executor: LocalExecutor) -> None:
    chores: list[Callable[[], None]] = [
        lambda: collect_finished(installation, executor),
        executor.sweep,
        lambda: forget_expired(installation.database),
        lambda: clear_scratch(installation.data_dir.scratch),
        lambda: remove_mirrors(installation),
        lambda: trimming.trim(installation.database, installation.config.retention),
    ]
    for chore in chores:
        try:
            chore()
        except Exception:
            log.exception("a part of the housekeeping failed")


def collect_finished(installation: Installation, executor: LocalExecutor) -> None:
    """Collect runs whose end is on record, but whose runner was killed before it could. What still runs of one was
    ended by another host, which thought this one to be gone."""
    for run_id in os.listdir(installation.data_dir.spool):
        deployment_id = _finished_deployment(installation.database, run_id)
        if deployment_id:
            if executor.look(run_id).state is RunState.ALIVE:
                executor.stop(run_id, deployment_id, force=True)
            executor.collect(run_id)


def clear_scratch(folder: Path) -> None:
    """Remove what a process that was killed left there: it may hold a key."""
    oldest = time.time() - SCRATCH_KEPT_S
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # its own process removes it at this moment
            if entry.stat(follow_symlinks=False).st_mtime < oldest:
                scratch.remove(Path(entry.path))


def remove_mirrors(installation: Installation) -> None:
    """Remove mirrors of projects that are gone, where whoever deleted them was killed before it could.

    The folder is looked at first: a mirror is made after its project.
    """
    present = list(installation.data_dir.mirrors.glob("*.git"))
    with installation.database.read() as connection:
        known = {installation.data_dir.mirror(one) for one in connection.scalars(sa.select(Project.id))}
    for mirror in present:
        if mirror not in known:
            shutil.rmtree(mirror, ignore_errors=True)


def tidy_server(database: Database, executor: SshExecutor) -> None:
    """The same on a server, at a contact with it. What still runs of a command whose end is on record was given up
    while the server could not be reached; it is ended first."""
    for run_id in executor.uncollected():
        deployment_id = _finished_deployment(database, run_id)
        if deployment_id is None:
            continue
        if executor.look(run_id).state is RunState.ALIVE:
            log.info("ending what is left of command %s on %s", run_id, executor.address.name)
            executor.stop(run_id, deployment_id, force=True)
        executor.collect(run_id)
    executor.sweep()


def _finished_deployment(database: Database, run_id: str) -> str | None:
    """The deployment of a command whose end is on record."""
    with database.read() as connection:
        return connection.scalar(
            sa.select(Command.deployment_id).where(Command.id == run_id, Command.finished_at.is_not(None))
        )


def forget_expired(database: Database) -> None:
    """Sessions and invitations that have ended, failed logins that no longer count, and mails of long ago."""
    now = clock.now()
    with database.write() as connection:
        connection.execute(sa.delete(LoginSession).where(LoginSession.expires_at < now))
        connection.execute(sa.delete(Invitation).where(Invitation.expires_at < now))
        connection.execute(
            sa.delete(Throttle).where(Throttle.blocked_until < now, Throttle.last_failure_at < now - FORGET_AFTER)
        )
        outbox.forget(connection)
        if database.is_shared:
            runners.forget(connection)
