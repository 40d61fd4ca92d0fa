"""The bell: how a process learns at once that another has committed something.

`FileBell`: after each commit the writer touches a file; whoever waits watches it with inotify. That is a broadcast,
takes microseconds, and costs nothing at rest. The touch can be missed (another file system, a crash between commit
and touch), so the watcher also asks a probe every 500 ms: the net. Several hosts share no file, only a database; then
the bell is the database's own, `postgresql.NotifyBell`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inotify_simple import INotify

log = logging.getLogger("deployer.bell")

NET_INTERVAL_S = 0.5


class Bell(ABC):
    """Rings for, and waits for, changes of one database. Its watcher is a thread of the process that waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._generation = 0
        self._watcher_pid = 0
        self._listeners: list[Callable[[], None]] = []
        self._listening = threading.RLock()
        self.is_closed = False

    @abstractmethod
    def ring(self) -> None:
        """After a commit: tell every process that watches. Failing to is no error."""

    def ring_within(self, connection: Any) -> None:  # noqa: B027 (there is nothing to do for most)
        """Before the commit, where the database itself tells the others of it."""

    @abstractmethod
    def _open(self) -> Callable[[], None]:
        """Begin to watch: what is committed after this returns is noticed. Returns what the watcher's thread runs,
        which calls `announce` at each change."""

    @property
    def generation(self) -> int:
        """A number that grows with each change seen. Read it, look at the data, then wait for a later one."""
        self._ensure_watcher()
        return self._generation

    def wait(self, seen: int, timeout_s: float) -> int:
        """Block until the generation is past ``seen`` or the time is over; return the present one."""
        self._ensure_watcher()
        with self._condition:
            self._condition.wait_for(lambda: self._generation != seen or self.is_closed, timeout_s)
            return self._generation

    def listen(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called from the watcher's thread at each change. It must not block."""
        with self._listening:
            self._listeners.append(callback)
        self._ensure_watcher()

    def forget(self, callback: Callable[[], None]) -> None:
        """Call it no more: once this returns, no call of it is under way, and what it uses can be closed."""
        with self._listening:
            self._listeners = [one for one in self._listeners if one != callback]

    def close(self) -> None:
        """Wake this process's waiters for good: it is about to end."""
        self.is_closed = True
        self.announce()

    def announce(self) -> None:
        """Wake this process's waiters, as a change does."""
        with self._condition:
            self._generation += 1
            self._condition.notify_all()
        with self._listening:
            for listener in tuple(self._listeners):
                try:
                    listener()
                except Exception:
                    # One listener's error must not leave everybody else of this process without a bell.
                    log.exception("a listener of the bell failed")

    def _ensure_watcher(self) -> None:
        # Threads do not survive a fork, so the process that waits starts its own.
        if self._watcher_pid == os.getpid():
            return
        with self._condition:
            if self._watcher_pid != os.getpid():
                # Opened before the caller goes on to look at the data.
                threading.Thread(target=self._open(), name="bell", daemon=True).start()
                self._watcher_pid = os.getpid()


class FileBell(Bell):
    """The bell of one data folder: a file that is touched.

    ``probe`` returns a number that differs after somebody else's commit; it is called from the watcher's thread only.
    """

    def __init__(self, path: Path, probe: Callable[[], int]) -> None:
        super().__init__()
        self._path = path
        self._probe = probe

    def ring(self) -> None:
        # What fails here is caught by the net.
        with contextlib.suppress(OSError):
            os.utime(self._path)

    def _open(self) -> Callable[[], None]:
        from inotify_simple import INotify, flags

        self._path.touch(mode=0o600, exist_ok=True)
        inotify = INotify()
        inotify.add_watch(str(self._path), flags.ATTRIB | flags.MODIFY)
        known = self._safe_probe(-1)
        return lambda: self._watch(inotify, known)

    def _watch(self, inotify: INotify, known: int) -> None:
        poller = select.poll()
        poller.register(inotify.fileno(), select.POLLIN)
        while True:
            if poller.poll(NET_INTERVAL_S * 1000):
                inotify.read(timeout=0)
                # Our own commits ring too. The probe's number is taken as well, so that the net does not ring again.
                known = self._safe_probe(known)
                self.announce()
            else:
                seen = self._safe_probe(known)
                if seen != known:
                    known = seen
                    self.announce()

    def _safe_probe(self, fallback: int) -> int:
        try:
            return self._probe()
        except Exception:
            # A database that cannot be read now is noticed by whoever needs it; the watcher goes on.
            return fallback
