"""Disks to go wrong: small ones, to be full on, and one that turns read-only."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def use_up_what_is_reserved(path: Path) -> None:
    """SQLite writes into what its log has already; until that is full it notices nothing."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        with contextlib.suppress(sqlite3.OperationalError):
            while True:
                database.execute(
                    "INSERT INTO settings (name, value) VALUES (hex(randomblob(16)), hex(zeroblob(4000)))"
                )


@contextmanager
def small(place: Path, size: str) -> Iterator[Path]:
    """A disk of ``size`` (``1m``) in memory, mounted at ``place``. Skips the test where none can be mounted."""
    with _mounted(place, ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]):
        yield place


class FailingDisk:
    """An ext4 file system in a file. ``fail`` makes it do what it does on a failing disk: turn read-only."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def fail(self) -> None:
        device = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.place)], capture_output=True, text=True, check=True
        ).stdout.strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")


@contextmanager
def failing(place: Path, image: Path, size_mib: int = 32) -> Iterator[FailingDisk]:
    with image.open("wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with _mounted(place, ["-o", "loop,errors=remount-ro", str(image)]):
        yield FailingDisk(place)


@contextmanager
def _mounted(place: Path, what: list[str]) -> Iterator[None]:
    if os.getuid() != 0:
        pytest.skip("needs root to mount a disk")
    place.mkdir()
    done = subprocess.run(["mount", *what, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
