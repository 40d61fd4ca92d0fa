"""The database that tests run on: SQLite, or a real PostgreSQL where DEPLOYER_TEST_DATABASE=postgresql."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from deployer.config import Config, StorageSettings

ON_POSTGRESQL = os.environ.get("DEPLOYER_TEST_DATABASE", "sqlite") == "postgresql"

of_sqlite = pytest.mark.skipif(ON_POSTGRESQL, reason="is about SQLite's file")


class Server:
    """A PostgreSQL of its own, on a free port of loopback, that ends with this process."""

    def __init__(self) -> None:
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        self._folder = Path(tempfile.mkdtemp(prefix="deployer-postgresql-"))
        # It refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user, self._user)
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self._run("initdb", "-A", "trust", "-U", "deployer", "--locale=C.UTF-8", "-D", self._data)
        self.start()
        atexit.register(self._remove, os.getpid())

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} "
            # Test databases need not survive a power loss, and each process of a test has a pool of its own.
            "-c fsync=off -c max_connections=400 -c shared_buffers=32MB"
        )
        self._run("pg_ctl", "-w", "-D", self._data, "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        self._run("pg_ctl", "-w", "-D", self._data, "-m", how, "stop")

    def url(self, database: str) -> str:
        return f"postgresql://deployer@127.0.0.1:{self.port}/{database}"

    def make(self, database: str, template: str = "template0") -> None:
        """An empty database, or a copy of another one, in the place of one of the same name."""
        names = sql.Identifier(database), sql.Identifier(template)
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(names[0]))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))

    def has(self, database: str) -> bool:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        return found is not None

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self._bin / program), *words],
            user=self._user,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def _remove(self, pid: int) -> None:
        if os.getpid() != pid:
            return
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def server() -> Server:
    return Server()


def _name(data_dir: Path) -> str:
    return f"d{hashlib.sha256(str(data_dir).encode()).hexdigest()[:20]}"


def storage(data_dir: Path) -> StorageSettings:
    """Where an installation keeps everything; on PostgreSQL in a database of its own, which is there."""
    return StorageSettings(str(data_dir), url(data_dir))


def url(data_dir: Path) -> str:
    """What ``storage.database_url`` says of an installation."""
    if not ON_POSTGRESQL:
        return ""
    if not server().has(_name(data_dir)):
        server().make(_name(data_dir))
    return server().url(_name(data_dir))


def begin_with(config: Config, template: Path) -> None:
    """Give a new installation a copy of a migrated database: that of the installation in ``template``."""
    config.data_dir.mkdir(mode=0o700)
    if ON_POSTGRESQL:
        server().make(_name(config.data_dir), _name(template))
    else:
        shutil.copyfile(template / "deployer.db", config.database_path)
