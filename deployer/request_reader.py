"""Reading a request from a connection: how long its sender may take, in whatever portions it comes.

Each wait for the next bytes ends after a while, but that alone bounds nothing: who sends a byte every few seconds
would hold a thread for ever. So a head, and a body, have a time in all.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from werkzeug.exceptions import RequestTimeout

from deployer.hooks import BODY_PATIENCE_S

HEAD_S = 25.0
BODY_S = BODY_PATIENCE_S

WORDS = "The request came too slowly"


class RequestReader(RequestParser):  # type: ignore[misc]
    """gunicorn's parser of one connection. ``silence_s``: how long nothing may come in the midst of a request.

    What comes too slowly raises `RequestTimeout`: of a head from ``next``, of a body from reading it.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, silence_s: float) -> None:
        super().__init__(cfg, sock, client)
        self.unreader = _TimedUnreader(sock, silence_s)

    def __next__(self) -> Any:
        self.unreader.until = time.monotonic() + HEAD_S
        request = super().__next__()
        self.unreader.until = time.monotonic() + BODY_S
        return request


class _TimedUnreader(SocketUnreader):  # type: ignore[misc]
    """``until``: when what is read now must be there, as time.monotonic() says it."""

    def __init__(self, sock: socket.socket, silence_s: float) -> None:
        super().__init__(sock)
        self._silence_s = silence_s
        self.until = 0.0

    def chunk(self, size_hint: int | None = None) -> bytes:
        if self.sock.gettimeout() is not None:
            # A lane, which never waits, or gunicorn where it reads away the rest of a body, with a limit of its own.
            return bytes(super().chunk(size_hint))
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise RequestTimeout(WORDS)
        size = max(self.mxchunk, min(size_hint or 0, self.max_body_chunk))
        try:
            return bytes(self.sock.recv(size, socket.MSG_DONTWAIT))
        except BlockingIOError:
            poller = select.poll()
            poller.register(self.sock, select.POLLIN)
            if not poller.poll(min(left_s, self._silence_s) * 1000):
                raise RequestTimeout(WORDS) from None
            return bytes(super().chunk(size_hint))
