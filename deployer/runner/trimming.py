"""Trimming the database to what is kept: in small transactions with pauses between, beside which webhooks go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from deployer import clock, retention
from deployer.config import RetentionSettings
from deployer.db import Database

log = logging.getLogger("deployer.housekeeping")

AIM_S = 0.008
"""How long a transaction should hold the write lock. Webhooks that come meanwhile wait for it."""

REST_S = 0.004
"""The least pause after a transaction; after a longer one the pause is as long as that was."""

SETTLED_BYTES = 4 * 1024 * 1024
"""After how much that was taken out its space is given back, so that the list of free pages stays short, and the log
of changes is copied into the file: a quarter of what makes any commit, also a webhook's, do that."""

AT_ONCE = 100


class Pace:
    """How much is done in one transaction: as much as takes `AIM_S` here and now."""

    def __init__(self, size: int, *, least: int, most: int) -> None:
        self.size = size
        self._least = least
        self._most = most

    def learn(self, took_s: float) -> None:
        """Go by what the last transaction took, and rest."""
        if took_s > AIM_S * 1.5:
            self.size = max(self._least, self.size // 2)
        elif took_s < AIM_S / 2:
            self.size = min(self._most, self.size * 2)
        time.sleep(max(REST_S, took_s))


def trim(database: Database, settings: RetentionSettings) -> None:
    """Take out what is no longer kept, then give the space back."""
    trimmer = Trimmer(database)
    with database.read() as connection:
        projects = retention.of_projects(connection, settings)
    deployments = deliveries = 0
    for project_id, kept in projects.items():
        deployments += trimmer.trim_deployments(project_id, kept)
        deliveries += trimmer.trim_deliveries(project_id, kept)
    events = trimmer.trim_audit_log(settings.audit_days)
    if deployments or deliveries or events:
        log.info(
            "removed what is no longer kept: %s deployments, %s deliveries, %s lines of the audit log",
            deployments,
            deliveries,
            events,
        )
    trimmer.give_back_space()
    database.settle(wholly=True)


class Trimmer:
    def __init__(self, database: Database) -> None:
        self._database = database
        # In bytes, and in pages of the file.
        self._pace = Pace(128 * 1024, least=32 * 1024, most=1024 * 1024)
        self._page_pace = Pace(32, least=4, most=512)
        self._removed_bytes = 0
        self._unsettled_bytes = 0

    def trim_deployments(self, project_id: str, kept: retention.Limits) -> int:
        """How many were removed."""
        removed = 0
        while True:
            with self._database.read() as connection:
                ids = retention.expired_deployments(connection, project_id, kept, clock.now(), AT_ONCE)
            if not ids:
                return removed
            removed += len(ids)
            while ids:
                with self._database.read() as connection:
                    portion = retention.portion(connection, ids, self._pace.size)
                with self._removing() as connection:
                    retention.remove(connection, portion)
                ids = [one for one in ids if one not in portion.whole]

    def trim_deliveries(self, project_id: str, kept: retention.Limits) -> int:
        removed = 0
        while True:
            with self._database.read() as connection:
                ids = retention.expired_deliveries(connection, project_id, kept, clock.now(), self._pace.size)
            if not ids:
                return removed
            with self._removing() as connection:
                retention.remove_deliveries(connection, ids)
            removed += len(ids)

    def trim_audit_log(self, days: int) -> int:
        removed = 0
        while True:
            with self._database.read() as connection:
                ids = retention.expired_audit_events(connection, days, clock.now(), self._rows)
            if not ids:
                return removed
            with self._removing() as connection:
                retention.remove_audit_events(connection, ids)
            removed += len(ids)

    def give_back_space(self) -> None:
        is_more = True
        while is_more:
            size = self._page_pace.size
            begun = time.monotonic()
            is_more = self._database.give_back_space(size)
            took_s = time.monotonic() - begun
            self._settle_after(size * retention.ROW_BYTES)
            self._page_pace.learn(took_s)

    @property
    def _rows(self) -> int:
        return self._pace.size // retention.ROW_BYTES

    @contextmanager
    def _removing(self) -> Iterator[sa.Connection]:
        with self._database.write() as connection:
            # From here on the lock is held.
            begun = time.monotonic()
            yield connection
        took_s = time.monotonic() - begun
        self._pace.learn(took_s)
        self._removed_bytes += self._pace.size
        if self._removed_bytes >= SETTLED_BYTES:
            self._removed_bytes = 0
            self.give_back_space()

    def _settle_after(self, size: int) -> None:
        self._unsettled_bytes += size
        if self._unsettled_bytes >= SETTLED_BYTES:
            self._unsettled_bytes = 0
            self._database.settle()
