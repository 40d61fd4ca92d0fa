"""Health: whether this installation can do its work at this moment, and what to do where it cannot.

Monitors ask every few seconds, and strangers as often as they like. So answers are kept for a while, each question is
asked by one thread at a time and waited for no longer than `LIMIT_S`, and the words hold neither paths nor names:
those go to the log.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from deployer import counters, key_rotation
from deployer.deployments import reading
from deployer.errors import KeyFileError, StorageUnavailable
from deployer.installation import DataDir, Installation
from deployer.patience import Question
from deployer.security import keyfile

log = logging.getLogger("deployer.health")

LIMIT_S = 1.5
"""How long an answer may take. What takes longer is not well."""

GLANCE_S = 0.25
"""How long a page waits for it; what takes longer is told by the next page."""

KEPT_S = 1.0
WRITE_KEPT_S = 5.0
"""How long an answer is good; and how long that the database could be written, since each such question costs a write
to the disk and wakes whoever waits for changes."""

STUCK_AFTER_S = 60.0
"""How long a runner may show no sign of life; or something may wait, though nothing runs where it is to."""

PROBES = "health.probes"
"""The counter that is written to see whether the database can be."""


@dataclass(frozen=True)
class Check:
    """What was found of one part. ``message`` says what is wrong and what to do, in words that anybody may read;
    ``detail`` is for the log alone."""

    name: str
    is_ok: bool
    message: str
    detail: str = ""

    @property
    def kept_s(self) -> float:
        return WRITE_KEPT_S if self.name == "database" and self.is_ok else KEPT_S


class Health:
    """The health of an installation, as one process sees it. Its threads begin with the first question."""

    def __init__(self, installation: Installation) -> None:
        runner = RunnerWatch(installation)
        looks: dict[str, Callable[[], Check]] = {
            "database": lambda: _database(installation),
            "disk": lambda: disk(installation.data_dir, installation.config.storage.min_free_bytes),
            "key": lambda: _key(installation),
            "runner": runner.look,
        }
        self._questions = {name: Question(f"health: {name}", _careful(name, look)) for name, look in looks.items()}
        self._unwell: set[str] = set()
        self._telling = threading.Lock()

    def checks(self, patience_s: float = LIMIT_S) -> list[Check]:
        """What each part is found to be now, or was a moment ago. Returns within ``patience_s``, in seconds."""
        deadline = time.monotonic() + patience_s
        unasked = {name for name, question in self._questions.items() if not _can_begin(question)}
        found = [
            Check(name, False, _UNASKED, "no thread could be had")
            if name in unasked
            else self._found(name, *question.answer(deadline))
            for name, question in self._questions.items()
        ]
        self._tell(found)
        return found

    def troubles(self) -> list[Check]:
        """What a page tells of: a glance at what is not well."""
        return [one for one in self.checks(GLANCE_S) if not one.is_ok]

    @staticmethod
    def _found(name: str, known: Check | None, waited_s: float) -> Check:
        # Whoever has the full patience asks a moment after the clock of the question began.
        if waited_s > LIMIT_S - 0.1:
            return Check(name, False, _SLOW[name], f"no answer for {waited_s:.1f} s")
        return known or Check(name, True, "It is being looked at.")

    def _tell(self, found: list[Check]) -> None:
        """A line in the log when something turns, however often it is asked for."""
        with self._telling:
            for one in found:
                if one.is_ok and one.name in self._unwell:
                    self._unwell.remove(one.name)
                    log.warning("health: the %s is well again", one.name)
                elif not one.is_ok and one.name not in self._unwell:
                    self._unwell.add(one.name)
                    log.error("health: the %s is not well: %s (%s)", one.name, one.message, one.detail)


_SLOW = {
    "database": "The database takes no write in time: another program keeps it locked, or its disk hangs. "
    "End that program, or look at the disk.",
    "disk": "The disk does not answer. Look at what the kernel says of it.",
    "key": "The key file does not answer. Look at its disk.",
    "runner": "Whether the runner works cannot be told in time. Look at the disk and the database.",
}


_UNASKED = (
    "It could not be looked at: the daemon gets no more threads. Raise the limit (TasksMax= of the unit, or "
    "ulimit -u), or end what takes them."
)


def _can_begin(question: Question[Check]) -> bool:
    try:
        question.begin(lambda found: found.kept_s)
    except RuntimeError:
        return False
    return True


def _careful(name: str, look: Callable[[], Check]) -> Callable[[], Check]:
    def carefully() -> Check:
        try:
            return look()
        except Exception as error:
            log.exception("the health of the %s could not be looked at", name)
            return Check(name, False, "It could not be looked at. The daemon's log says why.", type(error).__name__)

    return carefully


# The parts ------------------------------------------------------------------------------------------------------


def _database(installation: Installation) -> Check:
    # Only a commit tells: what is rolled back never reaches a disk, full or not.
    try:
        with installation.database.write() as connection:
            counters.add(connection, PROBES, 1)
    except (StorageUnavailable, DBAPIError) as error:
        return Check("database", False, installation.database.words(error), str(error))
    return Check("database", True, "It can be written.")


def _mib(size: int) -> str:
    return f"{size // (1 << 20):,} MiB"


_DISK_MEND = "look at what the kernel says of it."
_DISK_WORDS = {
    errno.EROFS: "it is read-only. Look at what the kernel says of it, and mount it writable.",
    errno.EACCES: "it is not the daemon user's. Give it back.",
    errno.EPERM: "it is not the daemon user's. Give it back.",
    errno.ENOENT: "it is not there. Mount it.",
}


def disk(folders: DataDir, min_free_bytes: int) -> Check:
    """Whether there is room on the disks of the data folder and of the spool, and may be written there."""
    for folder, name in ((folders.root, "the data folder"), (folders.spool, "the commands' output")):
        try:
            found = os.statvfs(folder)
            # A disk that failed is read-only without saying so.
            os.utime(folder)
        except OSError as error:
            words = f"The disk of {name} cannot be written: {_DISK_WORDS.get(error.errno or 0, _DISK_MEND)}"
            return Check("disk", False, words, str(error))
        free = found.f_bavail * found.f_frsize
        if free < min_free_bytes:
            room = f"{_mib(free)} are free, and {_mib(min_free_bytes)} should be"
            words = f"The disk of {name} is nearly full: {room}. Make room there."
        elif found.f_files and not found.f_favail:
            words = f"The disk of {name} takes no more files, whatever room there is. Remove some."
        else:
            continue
        return Check("disk", False, words, str(folder))
    return Check("disk", True, "There is room.")


def _key(installation: Installation) -> Check:
    path = installation.data_dir.key_file
    mend = "Restore it from a backup before the next start: what is encrypted needs it."
    try:
        keys = keyfile.load_all(path)
    except KeyFileError as error:
        if not path.exists():
            words = f"The key file is missing. {mend}"
        elif os.access(path, os.R_OK) and path.stat().st_mode & 0o077:
            words = (
                "The key file can be read by other users, and the next start would be refused. Run chmod 600 on it."
            )
        else:
            words = f"The key file is damaged, or cannot be read. {mend}"
        return Check("key", False, words, str(error))
    if installation.key in keys:
        return Check("key", True, "It is the one of the start.")
    # A database that cannot be read is told by its own check.
    with contextlib.suppress(DBAPIError), installation.database.read() as connection:
        if not key_rotation.is_rotated_to(connection, keys[0]):
            return Check("key", False, f"The key file holds another key than at the start. {mend}", "another key")
    return Check("key", True, "It is the one of the last rotation.")


class RunnerWatch:
    """Whether the runner is there, and goes on. The latter is seen by watching: between two looks something must have
    moved. No time of day is compared, so that a clock that is set does no harm."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._beat = _Standstill()
        self._queue = _Standstill()

    def look(self) -> Check:
        start = "systemctl start deployer-runner, or python app.py runner"
        if not self._installation.runner_is_up:
            words = f"The runner is not running: deployments wait. Start it: {start}."
            return Check("runner", False, words, "nobody holds its lock")
        silent_s = self._beat.seconds(self._sign())
        waiting_s = self._queue.seconds(self._waiting_in_vain())
        if max(silent_s, waiting_s) > STUCK_AFTER_S:
            words = (
                "The runner is there, but does not go on. Restart it (systemctl restart deployer-runner, or end "
                "python app.py and start it again): commands that run go on meanwhile."
            )
            return Check("runner", False, words, f"silent for {silent_s:.0f} s, queue still for {waiting_s:.0f} s")
        return Check("runner", True, "It is at work.")

    def _sign(self) -> int | None:
        """The runner's last sign of life; None where it cannot give one, because its disk cannot be written."""
        try:
            os.utime(self._installation.data_dir.root)
        except OSError:
            return None
        return self._installation.data_dir.runner_lock.stat().st_mtime_ns

    def _waiting_in_vain(self) -> str | None:
        # A database that cannot be read is told by its own check.
        with contextlib.suppress(DBAPIError), self._installation.database.read() as connection:
            return reading.standstill(connection, self._installation.host_id)
        return None


class _Standstill:
    """For how many seconds, as far as was looked, something has stayed what it is."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since = 0.0

    def seconds(self, present: object) -> float:
        """0 for a change, and for None."""
        if present is None or present != self._seen:
            self._seen, self._since = present, time.monotonic()
        return time.monotonic() - self._since if present is not None else 0.0
