"""Bare connections, for what no client of a library would send."""

from __future__ import annotations

import contextlib
import socket


def read_all(sock: socket.socket) -> bytes:
    """What comes until the other side closes, also hard."""
    parts = []
    # What was not read of a body that is too large may end the connection hard, after the answer.
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)
