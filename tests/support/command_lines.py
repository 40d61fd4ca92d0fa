"""What anybody on this host can read of every process: its command line."""

from __future__ import annotations

import contextlib
from pathlib import Path


def command_lines() -> list[bytes]:
    """Those of all processes that run at this moment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # It may have ended since it was listed.
        with contextlib.suppress(OSError):
            found.append((folder / "cmdline").read_bytes())
    return found
