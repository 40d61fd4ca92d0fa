"""A small disk, to be full on."""

from __future__ import annotations

import contextlib
from pathlib import Path


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
