"""The closing lane: one thread that ends connections whose last answer was sent.

A connection that is closed while something it sent is unread is reset, and the reset may take the answer's end with
it. So our side is closed first, and what still comes is read for a while (RFC 9112, 9.6). Nobody else waits for that.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from deployer.connection_lane import POLL_S, ConnectionLane

LINGER_S = 2.0
"""How long a sender may take to close its side."""

MOST = 100
"""Of more connections at once the oldest are not waited for."""

UNREAD_BYTES = 1024 * 1024
"""Of what is sent after the answer no more is read."""


class ClosingLane(ConnectionLane):
    def __init__(self, worker: Any, most: int = MOST) -> None:
        self._most = most
        super().__init__(worker, "closing lane")

    def _goes_on(self) -> bool:
        # What is answered while the worker stops is closed here too, and ends with the process at the latest.
        return True

    def _begin(self, conn: Any) -> None:
        conn.timeout = time.monotonic() + LINGER_S
        conn.unread_bytes = UNREAD_BYTES
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._leave(conn, goes_on=False)  # it was reset
            return
        while len(self._connections) > self._most:
            self._leave(next(iter(self._connections.values())), goes_on=False)

    def _turn(self) -> None:
        oldest = next(iter(self._connections.values()), None)
        patience_s = POLL_S if oldest is None else oldest.timeout - time.monotonic()
        for conn, _ in self._poll(max(0.0, patience_s)):
            if not self._goes_on_sending(conn):
                self._leave(conn, goes_on=False)
        now = time.monotonic()
        for conn in [conn for conn in self._connections.values() if conn.timeout <= now]:
            self._leave(conn, goes_on=False)

    def _goes_on_sending(self, conn: Any) -> bool:
        try:
            size = len(conn.sock.recv(65536))
        except BlockingIOError:
            return True
        except OSError:
            return False
        conn.unread_bytes -= size
        return size > 0 and conn.unread_bytes > 0
