"""What Deployer says about itself: one line an event, on stderr.

The journal adds time and process itself, and takes each line's priority from its front (sd-daemon(3)); elsewhere the
line says when, how serious and who.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TextIO

from deployer.config import Config

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def start(config: Config) -> None:
    """Have everything from ``logs.level`` on said."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_ForJournal() if reads(sys.stderr) else _ForFile())
    logging.basicConfig(level=config.logs.level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


def reads(stream: TextIO) -> bool:
    """Whether the journal reads this stream: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        place = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{place.st_dev}:{place.st_ino}"


class _ForJournal(logging.Formatter):
    """``<6>DEP-0042 app: success``. Each line of a traceback is an entry, so each needs its priority."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if record.name.partition(".")[0] != "deployer":
            text = f"{record.name}: {text}"
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(f"{priority}{line}" for line in text.splitlines())


class _ForFile(logging.Formatter):
    """``2026-01-02T03:04:05.678Z INFO deployer.runner: DEP-0042 app: success``."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime


def one_line(text: str) -> str:
    """Text from elsewhere as part of a line: nothing in it ends the line or moves a terminal."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
