"""The database: engine, SQLite's pragmas, transactions, and waiting for a change."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from deployer.bell import Bell
from deployer.config import Config
from deployer.errors import StorageUnavailable

BUSY_TIMEOUT_MS = 5_000
LOCK_INTERVAL_S = 0.0004
WAL_PAGES = 4000

T = TypeVar("T")


class Database:
    """One engine with its rules. Safe to build before a fork: connections are opened on first use."""

    def __init__(self, config: Config) -> None:
        self.path = config.database_path
        self.engine = sa.create_engine(
            f"sqlite:///{self.path}",
            pool_size=8,
            max_overflow=-1,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        )
        sa.event.listen(self.engine, "connect", prepare_connection)
        sa.event.listen(self.engine, "begin", _begin)
        self._writer = self.engine.execution_options(is_writing=True)
        self._probe_connection: sqlite3.Connection | None = None
        self.bell = Bell(config.data_dir / "bell", self._data_version)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A short write transaction: BEGIN IMMEDIATE, COMMIT at the end, then the bell.

        Raises StorageUnavailable when the database cannot take it; nothing is written then.
        """
        with _storage_errors(), self._writer.begin() as connection:
            yield connection
        self.bell.ring()

    @contextmanager
    def write_session(self) -> Iterator[Session]:
        """The same with the ORM on top."""
        with self.write() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A snapshot to read from."""
        with self.engine.connect() as connection:
            yield connection

    def wait_for_change(self, seen: int, timeout_s: float) -> int:
        """Block until something was committed after generation ``seen``, here or in another process."""
        return self.bell.wait(seen, timeout_s)

    def dispose(self) -> None:
        self.engine.dispose()

    def give_back_space(self, pages: int) -> bool:
        """Cut up to ``pages`` pages (4 KiB) off the end of the file; whether there are more to cut off.

        What lies there is moved into free pages before. A twentieth of the file may be free, for what comes next.
        PostgreSQL's autovacuum does this by itself.
        """
        if self.engine.dialect.name != "sqlite":
            return False
        with _storage_errors(), self._writer.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            # SQLite does one page a step, and Python 3.11 makes no second step where there is no result.
            for _ in range(min(pages, _surplus(driver))):
                driver.execute("PRAGMA incremental_vacuum(1)")
            return _surplus(driver) > 0

    def settle(self, *, wholly: bool = False) -> None:
        """Copy the log of changes into the file now, so that no other commit has to; ``wholly`` cuts it off as well,
        unless somebody uses it. Nobody waits meanwhile.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with contextlib.closing(self.engine.raw_connection()) as connection:
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

    def _data_version(self) -> int:
        # A connection of its own that never writes and holds no transaction: only so does the number
        # change with everybody else's commits (https://www.sqlite.org/pragma.html#pragma_data_version).
        if self._probe_connection is None:
            self._probe_connection = sqlite3.connect(
                f"file:{self.path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
        row = self._probe_connection.execute("PRAGMA data_version").fetchone()
        return int(row[0])


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


def _surplus(driver: sqlite3.Connection) -> int:
    """How many pages are free beyond a twentieth of all."""
    (free,) = driver.execute("PRAGMA freelist_count").fetchone()
    (every,) = driver.execute("PRAGMA page_count").fetchone()
    return int(free) - int(every) // 20


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(f"The database cannot be written: {error}.") from error
    except OperationalError as error:
        raise StorageUnavailable(f"The database cannot be written: {error.orig}.") from error
    except DBAPIError as error:
        # "attempt to write a readonly database" and a damaged file come as other classes.
        if isinstance(error.orig, sqlite3.DatabaseError) and not isinstance(
            error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError
        ):
            raise StorageUnavailable(f"The database cannot be written: {error.orig}.") from error
        raise


def retrying(act: Callable[[], T], *, first_wait_s: float = 0.05, longest_wait_s: float = 5.0) -> T:
    """Call ``act`` until the database takes its write. For the runner, which must not drop what it knows."""
    wait_s = first_wait_s
    while True:
        try:
            return act()
        except StorageUnavailable:
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, longest_wait_s)
