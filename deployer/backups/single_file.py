"""A database as a single file, without the two that SQLite keeps beside one in use: so it can be packed or moved."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path


def make(path: Path) -> None:
    """Of a database that nobody uses, and bring it to disk."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    sync(path)


def problem(path: Path) -> str | None:
    """What is wrong with a database, in SQLite's words; None where it is sound
    (https://www.sqlite.org/pragma.html#pragma_integrity_check)."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            (verdict,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else str(verdict)


def schema(path: Path) -> str | None:
    """The revision that a sound database's tables are of; None where they are none of ours."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        try:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """What was renamed in it survives a loss of power."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
