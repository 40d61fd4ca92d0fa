"""A lane: one thread that looks after connections which it took over from gunicorn's threads, and waits for none of
them alone."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from typing import Any

log = logging.getLogger("deployer.lanes")

POLL_S = 1.0
"""A stopping worker is noticed after so long at the latest."""


class ConnectionLane:
    """Connections come by `add`, and leave by ``worker.lane_is_done(conn, goes_on=…)``, both on any thread.

    A lane of its kind fills in `_turn` and, where it has to, `_begin` and `_last_turn`. Its thread starts at the end
    of this constructor.
    """

    def __init__(self, worker: Any, name: str) -> None:
        self._worker = worker
        self._name = name
        self._poller = select.epoll()
        self._connections: dict[int, Any] = {}
        self._is_refusing = False
        self._coming: deque[Any] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._wake_fd, select.EPOLLIN)
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def add(self, conn: Any) -> None:
        self._coming.append(conn)
        self._wake()

    def _turn(self) -> None:
        """Wait with `_poll` until something happens, and deal with it."""
        raise NotImplementedError

    def _begin(self, conn: Any) -> None:
        """A connection was taken in."""

    def _last_turn(self) -> None:
        """The worker stops; afterwards all connections are closed."""

    def _goes_on(self) -> bool:
        return bool(self._worker.alive)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _work(self) -> None:
        while self._goes_on():
            try:
                self._turn()
            except Exception:
                log.exception("the %s stumbled", self._name)
        with contextlib.suppress(Exception):
            self._take_in()
            self._last_turn()
        for conn in list(self._connections.values()):
            self._leave(conn, goes_on=False)

    def _poll(self, timeout_s: float) -> list[tuple[Any, int]]:
        """The connections at which something happened, with epoll's word for it."""
        happened = self._poller.poll(timeout_s)
        found = [(self._connections[fd], what) for fd, what in happened if fd != self._wake_fd]
        if len(found) < len(happened):
            os.eventfd_read(self._wake_fd)
            self._take_in()
        return found

    def _take_in(self) -> None:
        while self._coming:
            conn = self._coming.popleft()
            fd = conn.sock.fileno()
            self._connections[fd] = conn
            try:
                conn.sock.setblocking(False)
                self._poller.register(fd, select.EPOLLIN | select.EPOLLRDHUP)
                self._begin(conn)
                self._is_refusing = False
            except Exception as error:
                # Its sender comes again, perhaps every second: that is told once.
                if not self._is_refusing:
                    log.exception("the %s cannot take connections in: %s", self._name, error)
                self._is_refusing = True
                self._leave(conn, goes_on=False)

    def _leave(self, conn: Any, *, goes_on: bool) -> None:
        fd = conn.sock.fileno()
        if self._connections.get(fd) is not conn:
            return  # it has left already
        del self._connections[fd]
        with contextlib.suppress(OSError, ValueError):
            self._poller.unregister(fd)
        self._worker.lane_is_done(conn, goes_on=goes_on)
