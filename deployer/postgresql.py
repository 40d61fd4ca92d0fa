"""PostgreSQL, the database of several hosts: its engine, its bell, and what its errors mean."""

from __future__ import annotations

import contextlib
import logging
import select
import time
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg.types.string import StrDumper
from sqlalchemy.ext.compiler import compiles

from deployer.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("deployer.bell")

LOCK_TIMEOUT_MS = 5_000
"""As long as SQLite waits for its lock."""

IDLE_IN_TRANSACTION_MS = 5_000
"""A host that is stopped in the middle of a transaction must not hold up the others for longer than they wait for a
lock."""

WRITE_LOCK = 0x6465706C6F79
"""The advisory lock of write transactions; any number that other programs on the database do not use."""

MIGRATION_LOCK = WRITE_LOCK + 1

CHANNEL = "deployer_bell"
NET_INTERVAL_S = 20.0
"""How often a listening connection that hears nothing is asked whether it still is one."""

RECONNECT_S = (0.2, 5.0)
"""Between tries to listen again: the first wait, and the longest."""

_CONNECT = {
    "connect_timeout": 5,
    # A host that went away without a word is noticed within about 20 s (tcp(7)).
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "deployer",
}


def make_engine(url: str) -> sa.Engine:
    """Safe to build before a fork: connections are opened on first use.

    Readers see one snapshot for a whole transaction, as they do on SQLite.
    """
    options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"
    engine = sa.create_engine(
        url,
        pool_size=8,
        max_overflow=-1,
        # A server that was restarted has closed them all.
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ",
        connect_args={**_CONNECT, "options": options},
    )
    sa.event.listen(engine, "connect", _prepare_connection)
    sa.event.listen(engine, "begin", _begin)
    return engine


def is_unavailable(error: BaseException | None) -> bool:
    """Whether a failed statement says that the database cannot be used now, rather than that the statement is wrong.

    A connection that broke, a full disk, a lock that was not given, a server that only reads
    (https://www.postgresql.org/docs/15/errcodes-appendix.html, by the driver's classes).
    """
    return isinstance(error, psycopg.OperationalError | psycopg.InternalError)


class NotifyBell(Bell):
    """Rung by NOTIFY within the transaction, so that it sounds exactly when that is committed; heard by LISTEN."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self._engine = engine

    def ring(self) -> None:
        """Nothing is left to do after the commit: see `ring_within`."""

    def ring_within(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"NOTIFY {CHANNEL}")

    def _open(self) -> Callable[[], None]:
        listening: psycopg.Connection[Any] | None = None
        # What cannot be listened to now is listened to later; whoever waits looks by itself after a while.
        with contextlib.suppress(psycopg.Error):
            listening = self._listen()
        return lambda: self._watch(listening)

    def _listen(self) -> psycopg.Connection[Any]:
        arguments = {**self._engine.url.translate_connect_args(username="user", database="dbname"), **_CONNECT}
        arguments.update(self._engine.url.query)
        connection = psycopg.connect(**arguments, autocommit=True)
        connection.execute(f"LISTEN {CHANNEL}")
        return connection

    def _watch(self, listening: psycopg.Connection[Any] | None) -> None:
        wait_s = RECONNECT_S[0]
        while not self.is_closed:
            try:
                if listening is None:
                    listening = self._listen()
                    wait_s = RECONNECT_S[0]
                    # What was committed meanwhile nobody told of.
                    self.announce()
                self._hear(listening)
            except Exception as error:
                # Nobody would wake this process's waiters any more: whatever it is, a new connection may do.
                if not isinstance(error, psycopg.Error | OSError):
                    log.exception("the bell failed, and is begun anew")
                if listening:
                    with contextlib.suppress(psycopg.Error):
                        listening.close()
                listening = None
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, RECONNECT_S[1])

    def _hear(self, listening: psycopg.Connection[Any]) -> None:
        """Wait for word, and pass it on."""
        # Not select(2): in a process with a thousand viewers the descriptor may lie beyond what that can wait for.
        poller = select.poll()
        poller.register(listening.fileno(), select.POLLIN)
        if not poller.poll(NET_INTERVAL_S * 1000):
            listening.execute("SELECT 1")
            return
        # Takes what has arrived, without waiting for more.
        for _ in listening.notifies(timeout=0):
            pass
        if listening.closed:
            raise psycopg.OperationalError("the listening connection was closed")
        self.announce()


class _WithoutNul(StrDumper):
    """Text of PostgreSQL cannot hold a NUL, and what comes from outside (a commit's message) can."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


def _prepare_connection(connection: psycopg.Connection[Any], _record: Any) -> None:
    connection.adapters.register_dumper(str, _WithoutNul)


def _begin(connection: sa.Connection) -> None:
    """A transaction that writes waits for every other one, as on SQLite, unless its statements guard themselves."""
    if connection.get_execution_options().get("is_alone"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


@compiles(sa.String, "postgresql")
def _as_text(_type: sa.String, _compiler: Any, **_options: Any) -> str:
    """Lengths are told to the reader of the models; SQLite does not hold to them. A name from outside that is longer
    must not make a delivery fail here either."""
    return "TEXT"
