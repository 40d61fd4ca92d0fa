"""The lane of webhooks: one thread that answers kept connections whose requests are already there.

A thread for each request costs several changes of thread, each of which takes longer than recording a delivery. A
proxy in front of the daemon keeps its connections, so after a connection's first webhook its next ones are taken
here: all that have wholly arrived are verified, recorded with one COMMIT, and answered. Whatever is not a whole
webhook request goes back to gunicorn's threads, so nobody here waits for a slow sender.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Any, cast
from urllib.parse import unquote

from werkzeug.middleware.proxy_fix import ProxyFix

from deployer.connection_lane import POLL_S, ConnectionLane
from deployer.hooks import PREFIX, Receiver

PEEK_BYTES = 64 * 1024

_START = b"POST " + PREFIX.encode()
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,8})[ \t]*\r\n", re.IGNORECASE)
_NOT_HERE = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade):", re.IGNORECASE)


class HookLane(ConnectionLane):
    def __init__(self, worker: Any, receiver: Receiver, trusted_proxies: int) -> None:
        self._receiver = receiver
        # What stands before the application elsewhere (application.create_app): the address that proxies vouch for.
        self._believe = ProxyFix(_no_app, x_for=trusted_proxies) if trusted_proxies else None
        super().__init__(worker, "lane of webhooks")

    def _begin(self, conn: Any) -> None:
        conn.set_timeout()

    def _turn(self, timeout_s: float = POLL_S) -> None:
        self._answer([conn for conn, _ in self._poll(timeout_s)])
        self._close_idle()

    def _last_turn(self) -> None:
        # What has arrived by now is still answered: a forge does not send again what found a closed door.
        self._turn(timeout_s=0)

    def _answer(self, ready: list[Any]) -> None:
        """Answer what has wholly arrived; the rest goes back."""
        whole = []
        for conn in ready:
            if not _is_whole_webhook(conn):
                self._leave(conn, goes_on=True)
                continue
            try:
                request = next(conn.parser)
                environ = _environ(request, conn)
            except Exception as error:
                # A malformed head: gunicorn's own answer to it, and the end of the connection.
                conn.sock.setblocking(True)
                self._worker.handle_error(None, conn.sock, conn.client, error)
                self._leave(conn, goes_on=False)
                continue
            if self._believe:
                self._believe(environ, cast(Any, None))
            whole.append((conn, request, environ))
        if not whole:
            return
        try:
            answers = self._receiver.receive([environ for _, _, environ in whole])
        except Exception:
            # Read, but never to be answered: a closed connection tells the sender so at once.
            for conn, _, _ in whole:
                self._leave(conn, goes_on=False)
            raise
        for (conn, request, _), answer in zip(whole, answers, strict=True):
            is_kept = self._worker.alive and not request.should_close()
            try:
                conn.sock.sendall(answer.wire(is_kept=is_kept))
                is_kept = is_kept and conn.parser.finish_body(deadline=time.monotonic() + 1)
            except (OSError, ValueError):
                is_kept = False  # it left, or does not read what it is answered
            if not is_kept:
                self._leave(conn, goes_on=False)
            elif conn.parser.unreader.buf.getvalue():
                self._leave(conn, goes_on=True)  # its next request is in the parser, where polling cannot see it
            else:
                conn.set_timeout()

    def _close_idle(self) -> None:
        now = time.monotonic()
        for conn in [conn for conn in self._connections.values() if conn.timeout < now]:
            self._leave(conn, goes_on=False)


def _environ(request: Any, conn: Any) -> dict[str, Any]:
    """What `Receiver` reads of a request, as WSGI names it (PEP 3333)."""
    environ = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote(request.path),
        "REMOTE_ADDR": conn.client[0],
        "wsgi.input": request.body,
    }
    for name, value in request.headers:
        key = name.replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        # A header that comes twice is one list (RFC 9110, 5.3).
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def _no_app(_environ: dict[str, Any], _start_response: Any) -> list[bytes]:
    return []


def _is_whole_webhook(conn: Any) -> bool:
    """Whether a POST to a webhook has arrived, body and all, and can be read without waiting."""
    try:
        seen = conn.sock.recv(PEEK_BYTES, socket.MSG_PEEK)
    except OSError:
        return False
    head, end, body = seen.partition(b"\r\n\r\n")
    if not end or not head.startswith(_START):
        return False
    length = _LENGTH.search(head + b"\r\n")
    return length is not None and len(body) >= int(length[1]) and not _NOT_HERE.search(head)
