"""SQLite, the database of one host: a file in the data folder, with our pragmas and our transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from deployer.bell import FileBell

BUSY_TIMEOUT_MS = 5_000
LOCK_INTERVAL_S = 0.0004
WAL_PAGES = 4000


def address(path: Path, mode: str) -> str:
    """A database's file as a URI (https://www.sqlite.org/uri.html). Neither mode, ``ro`` or ``rw``, makes one that is
    not there."""
    return f"{path.absolute().as_uri()}?mode={mode}"


def make_engine(url: str) -> sa.Engine:
    """Safe to build before a fork: connections are opened on first use.

    The file must be there: one that was moved away is a fault to tell of, and no reason to begin with an empty one.
    """
    place = address(Path(sa.make_url(url).database or ""), "rw")

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(place, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)

    engine = sa.create_engine(url, creator=connect, pool_size=8, max_overflow=-1)
    sa.event.listen(engine, "connect", prepare_connection)
    sa.event.listen(engine, "begin", _begin)
    return engine


class Bell(FileBell):
    """Rung by touching a file; whoever did not touch it is noticed by the database's own number."""

    def __init__(self, path: Path, database: Path) -> None:
        super().__init__(path, self._data_version)
        self._database = database
        self._connection: sqlite3.Connection | None = None

    def _data_version(self) -> int:
        # A connection of its own that never writes and holds no transaction: only so does the number
        # change with everybody else's commits (https://www.sqlite.org/pragma.html#pragma_data_version).
        if self._connection is None:
            self._connection = sqlite3.connect(
                address(self._database, "ro"), uri=True, isolation_level=None, check_same_thread=False
            )
        row = self._connection.execute("PRAGMA data_version").fetchone()
        return int(row[0])


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a failed statement says that the database cannot be used now, rather than that the statement is wrong.

    "attempt to write a readonly database" and a damaged file come as other classes than a lock or a full disk.
    """
    wrong = (sqlite3.IntegrityError, sqlite3.ProgrammingError)
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, wrong)


_WORDS = {
    sqlite3.SQLITE_FULL: "cannot be written: its disk is full. Make room there.",
    sqlite3.SQLITE_BUSY: "cannot be written: another program keeps it locked. End that program, or wait for it.",
    sqlite3.SQLITE_LOCKED: "cannot be written: another program keeps it locked. End that program, or wait for it.",
    sqlite3.SQLITE_READONLY: "cannot be written: it, or its disk, is read-only. Make it writable for the daemon.",
    sqlite3.SQLITE_PERM: "cannot be opened. Give it back to the daemon's user.",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened. Give it back to the daemon's user, or restore a backup.",
    sqlite3.SQLITE_CORRUPT: "is damaged. Restore a backup.",
    sqlite3.SQLITE_NOTADB: "is damaged. Restore a backup.",
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk fails or is full. See what the kernel says of it.",
}


def words(error: BaseException | None) -> str:
    """What keeps the database from being used, and what to do; empty where that is not known."""
    return _WORDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")


def prepare_connection(connection: sqlite3.Connection, _record: Any) -> None:
    """Give a new SQLite connection our rules."""
    # The driver would begin transactions by its own rules; `_begin` does it by ours.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchone()[0] != "wal":
        # Must precede the first table; it has no effect on a database that has one.
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    # The log of changes is copied into the database less often than by default, so that a flood of output is written
    # twice at most now and then; it is cut back to this size afterwards.
    cursor.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_PAGES * 4096}")
    # Pages beyond this are read again from the system's cache, which all processes share.
    cursor.execute("PRAGMA cache_size = -2000")
    cursor.close()


def give_back_space(connection: sa.Connection, pages: int) -> bool:
    """See `db.Database.give_back_space`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    # SQLite does one page a step, and Python 3.11 makes no second step where there is no result.
    for _ in range(min(pages, _surplus(driver))):
        driver.execute("PRAGMA incremental_vacuum(1)")
    return _surplus(driver) > 0


def _surplus(driver: sqlite3.Connection) -> int:
    """How many pages are free beyond a twentieth of all."""
    (free,) = driver.execute("PRAGMA freelist_count").fetchone()
    (every,) = driver.execute("PRAGMA page_count").fetchone()
    return int(free) - int(every) // 20


def settle(engine: sa.Engine, *, wholly: bool) -> None:
    """See `db.Database.settle`."""
    with contextlib.closing(engine.raw_connection()) as connection:
        driver = connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if wholly:
            # It takes the write lock, and would wait for readers with it.
            driver.execute("PRAGMA busy_timeout = 0")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("is_writing"):
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        _begin_immediate(driver)
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_immediate(driver: sqlite3.Connection) -> None:
    """Take the write lock at once: a transaction that reads first and writes later fails without waiting when
    somebody wrote in between.

    SQLite itself asks again at growing intervals, of up to 100 ms. Beside a process that writes all the time such a
    waiter hardly ever finds the lock free, so we ask in short, even ones.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > deadline:
                    raise
            time.sleep(LOCK_INTERVAL_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
