"""The database: transactions, and waiting for a change. SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from deployer import sqlite
from deployer.bell import Bell
from deployer.config import Config
from deployer.errors import StorageUnavailable

T = TypeVar("T")


class Database:
    """One engine with its rules. Safe to build before a fork: connections are opened on first use."""

    def __init__(self, config: Config) -> None:
        self.is_shared = config.has_shared_database
        """Whether several hosts may use it, each with a data folder of its own."""
        self.bell: Bell
        if self.is_shared:
            # Loaded only where it is used: its driver takes memory.
            from deployer import postgresql

            self.engine = postgresql.make_engine(config.database_url)
            self.bell = postgresql.NotifyBell(self.engine)
            self._is_unavailable, self._words = postgresql.is_unavailable, postgresql.words
            # Between statements others may commit: each sees what is there by then, and its guards decide.
            writer = self.engine.execution_options(isolation_level="READ COMMITTED")
        else:
            self.engine = sqlite.make_engine(config.database_url)
            self.bell = sqlite.Bell(config.data_dir / "bell", config.database_path)
            self._is_unavailable, self._words = sqlite.is_unavailable, sqlite.words
            writer = self.engine.execution_options(is_writing=True)
        self._beside = writer
        self._alone = writer.execution_options(is_alone=True)

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[sa.Connection]:
        """A short write transaction, committed at the end; then the bell.

        It runs alone. Where PostgreSQL could run several at once, a transaction whose statements all guard
        themselves (``UPDATE … WHERE status = …``) may say that it need not be alone; on SQLite every one is.
        Raises StorageUnavailable when the database cannot take it; nothing is written then, unless the connection
        broke at the very commit.
        """
        with self._storage_errors(), (self._alone if alone else self._beside).begin() as connection:
            yield connection
            self.bell.ring_within(connection)
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

    def ask(self, question: Callable[[sa.Connection], T]) -> T:
        """The answer to a question that is asked again, once, on a connection of its own where the first was lost:
        PostgreSQL ends one that stands still in the middle of a transaction, as that of a stopped process does."""
        try:
            with self.read() as connection:
                return question(connection)
        except (OperationalError, InternalError, InterfaceError):
            with self.read() as connection:
                return question(connection)

    def words(self, error: BaseException) -> str:
        """What keeps the database from taking a write, and what to do: a sentence without the words of its driver,
        which may name paths."""
        cause: BaseException | None = error
        found = ""
        while cause is not None and not found:
            found = self._words(cause)
            cause = getattr(cause, "orig", None) or cause.__cause__
        return "The database " + (found or "cannot be written. The daemon's log says why.")

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
        if self.is_shared:
            return False
        with self._storage_errors(), self._alone.begin() as connection:
            return sqlite.give_back_space(connection, pages)

    def settle(self, *, wholly: bool = False) -> None:
        """Copy the log of changes into the file now, so that no other commit has to; ``wholly`` cuts it off as well,
        unless somebody uses it. Nobody waits meanwhile.
        """
        if not self.is_shared:
            sqlite.settle(self.engine, wholly=wholly)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if self._is_unavailable(error.orig):
                raise StorageUnavailable(f"The database cannot be written: {reason(error.orig)}.") from error
            raise
        except Exception as error:
            # Our own BEGIN is the driver's, without SQLAlchemy around it.
            if self._is_unavailable(error):
                raise StorageUnavailable(f"The database cannot be written: {reason(error)}.") from error
            raise


def reason(error: BaseException | None) -> str:
    """A driver's words as part of a line. PostgreSQL's fill several; the indented ones only guess at a cause."""
    lines = [line.strip() for line in str(error).splitlines() if not line.startswith("\t")]
    return " ".join(filter(None, lines)).rstrip(".")


def retrying(act: Callable[[], T], *, first_wait_s: float = 0.05, longest_wait_s: float = 5.0) -> T:
    """Call ``act`` until the database takes its write. For the runner, which must not drop what it knows."""
    wait_s = first_wait_s
    while True:
        try:
            return act()
        except StorageUnavailable:
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, longest_wait_s)
