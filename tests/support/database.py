"""The database that tests run on: SQLite, or a real PostgreSQL where DEPLOYER_TEST_DATABASE=postgresql."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from deployer.config import Config, StorageSettings
from deployer.postgresql import WRITE_LOCK
from tests.support import programs

ON_POSTGRESQL = os.environ.get("DEPLOYER_TEST_DATABASE", "sqlite") == "postgresql"

of_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="is about SQLite's file")


class Server:
    """A PostgreSQL of its own, on a free port of loopback, that ends with this process."""

    def __init__(self) -> None:
        self._bin = programs.postgresql()
        self.folder = Path(tempfile.mkdtemp(prefix="deployer-postgresql-"))
        # It refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self._run("initdb", "-A", "trust", "-U", "deployer", "--locale=C.UTF-8", "-D", self._data)
        self.start()
        self._made: set[str] = set()
        self._pid = os.getpid()
        atexit.register(self.close)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} "
            # Test databases need not survive a power loss, and end before they want tidying.
            "-c fsync=off -c full_page_writes=off -c autovacuum=off "
            # Each process of a test has a pool of its own.
            "-c max_connections=400 -c shared_buffers=32MB"
        )
        self._run("pg_ctl", "-w", "-D", self._data, "-l", str(self.folder / "log"), "-o", options, "start")

    @property
    def is_running(self) -> bool:
        return Path(self._data, "postmaster.pid").exists()

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-w", "-D", self._data, "-m", how, "stop")

    def restart(self) -> None:
        """As after a crash: nobody is asked to end, and what was not committed is gone."""
        self.stop("immediate")
        self.start()

    def guard(self, role: str, password: str) -> None:
        """Make a role that must say its password."""
        self.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        rules = Path(self._data, "pg_hba.conf")
        # The first rule that fits holds.
        rules.write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        self.execute("SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        return f"postgresql://deployer@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """As its administrator; what it answers, if anything."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def make(self, database: str, template: str = "template0") -> None:
        """An empty database, or a copy of another one."""
        names = sql.Identifier(database), sql.Identifier(template)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        self._made.add(database)

    def has(self, database: str) -> bool:
        """Whether it was made here."""
        return database in self._made

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self._bin / program), *words],
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def close(self) -> None:
        """End it, and remove what it kept. A process that was forked from this one leaves it alone."""
        if os.getpid() != self._pid or not self.folder.exists():
            return
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def server() -> Server:
    return Server()


def _name(data_dir: Path) -> str:
    return f"d{hashlib.sha256(str(data_dir).encode()).hexdigest()[:20]}"


def storage(data_dir: Path) -> StorageSettings:
    """Where an installation keeps everything; on PostgreSQL in a database of its own, which nobody has made yet."""
    return StorageSettings(str(data_dir), url(data_dir))


def url(data_dir: Path) -> str:
    """What ``storage.database_url`` says of an installation."""
    return server().url(_name(data_dir)) if ON_POSTGRESQL else ""


def begin(database_url: str) -> None:
    """Make the empty database that a first start needs, unless there is one, or it is a test's own affair."""
    if not ON_POSTGRESQL:
        return
    name = database_url.rpartition("/")[2]
    if database_url == server().url(name) and not server().has(name):
        server().make(name)


def begin_with(config: Config, template: Path) -> None:
    """Give a new installation a copy of a migrated database: that of the installation in ``template``."""
    config.data_dir.mkdir(mode=0o700)
    if ON_POSTGRESQL:
        server().make(_name(config.data_dir), _name(template))
    else:
        shutil.copyfile(template / "deployer.db", config.database_path)


@contextmanager
def locked(config: Config) -> Iterator[None]:
    """Somebody else writes, and does not come to an end: another program, or another host."""
    if config.has_shared_database:
        with psycopg.connect(config.storage.database_url) as foreign:
            foreign.execute("SELECT pg_advisory_xact_lock(%s)", (WRITE_LOCK,))
            yield
            foreign.rollback()
    else:
        with closing(sqlite3.connect(config.database_path, isolation_level=None)) as foreign:
            foreign.execute("BEGIN EXCLUSIVE")
            yield
            foreign.execute("ROLLBACK")


def everything_stored(config: Config) -> bytes:
    """Every byte that an installation keeps in its database, for looking for what must not be there."""
    if not config.has_shared_database:
        return b"".join(path.read_bytes() for path in config.data_dir.glob("deployer.db*"))
    found: list[bytes] = []
    with psycopg.connect(config.storage.database_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            # As it is stored; text would show a secret's bytes as hexadecimal digits.
            statement = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(table))
            with connection.cursor() as cursor, cursor.copy(statement) as rows:
                found += [bytes(row) for row in rows]
    return b"".join(found)
