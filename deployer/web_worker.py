"""The web process: gunicorn's threaded worker, with lanes beside its threads.

gunicorn's arbiter is left out. Whoever starts ``serve`` or ``web`` (systemd, a container, a person) starts it again,
and a second parent with everything loaded would cost as much memory as the runner.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.util import write_error
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.exceptions import RequestTimeout

from deployer import open_files, systemd
from deployer.api.streams import Stream, limit_streams
from deployer.closing_lane import MOST, ClosingLane
from deployer.hook_lane import HookLane
from deployer.hooks import PREFIX
from deployer.installation import Installation
from deployer.request_reader import WORDS, RequestReader
from deployer.stream_lane import StreamLane

log = logging.getLogger("deployer")

OTHER_CONNECTIONS = 1000
"""Beside the viewers': requests, and kept connections."""

RESERVED_CONNECTIONS = 200
"""Which viewers never take, because webhooks must find a place. Of fewer than twice so many it is half."""

OTHER_FILES = 200
"""Beside connections: the database's files, above all."""


def run(
    app: Flask, installation: Installation, sock: socket.socket, silence_s: float, on_stop: Callable[[], None]
) -> None:
    """See `serving.run_web`. ``silence_s``: how long a viewer may take nothing of its stream."""
    server = installation.config.server
    bell = installation.database.bell
    connections = _room_for(server.max_streams + OTHER_CONNECTIONS)
    limit_streams(app, min(server.max_streams, viewers_among(connections)))

    class Web(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            settings: dict[str, Any] = {
                "threads": server.threads,
                "worker_connections": connections,
                "keepalive": 15,
                "graceful_timeout": 10,
                "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,  # noqa: S108
                "loglevel": "warning",
                # Proxies are the application's business: server.trusted_proxies.
                "forwarded_allow_ips": "",
                "limit_request_line": 8190,
            }
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            def answer(environ: dict[str, Any], start_response: Any) -> Any:
                answered = app(environ, start_response)
                if isinstance(answered, Stream):
                    begin_stream(start_response.__self__, answered)
                    return ()
                if getattr(environ["wsgi.input"], "failed", False):
                    # Where the next request would begin is unknown.
                    start_response.__self__.force_close()
                return answered

            return answer

    def begin_stream(response: Any, stream: Stream) -> None:
        """Send the head of a stream, which ends with its connection; the lane sends the rest."""
        response.chunked = False
        response.force_close()
        try:
            response.send_headers()
        except BaseException:
            stream.close()
            raise
        response.req.conn.stream = stream

    class Worker(ThreadWorker):  # type: ignore[misc]
        def init_process(self) -> None:
            # Threads do not survive a fork, so the lanes begin here.
            self.hook_lane = HookLane(self, app.extensions["deployer.hooks"], server.trusted_proxies)
            self.stream_lane = StreamLane(self, installation.database, silence_s)
            self.closing_lane = ClosingLane(self, max(1, min(MOST, connections // 8)))
            super().init_process()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """The bell wakes the lane of streams, which ends them."""
            super().handle_exit(sig, frame)
            systemd.notify("STOPPING=1")
            on_stop()
            bell.close()

        # Ctrl-C: as politely as SIGTERM.
        handle_quit = handle_exit

        def is_parent_alive(self) -> bool:
            """There is no arbiter to end with; the shell that started this process may go."""
            return True

        def handle(self, conn: Any) -> Any:
            if conn.parser is None:
                conn.parser = RequestReader(self.cfg, conn.sock, conn.client, silence_s)
            return super().handle(conn)

        def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
            """What is answered where no request could be read."""
            if isinstance(exc, RequestTimeout):
                with contextlib.suppress(OSError):
                    write_error(client, 408, "Request Timeout", WORDS)
            else:
                super().handle_error(req, client, addr, exc)

        def handle_request(self, req: Any, conn: Any) -> Any:
            conn.is_of_hooks = req.path.startswith(PREFIX)
            conn.stream = None
            req.conn = conn
            return super().handle_request(req, conn)

        def finish_request(self, conn: Any, fs: Any) -> None:
            """A stream goes to its lane, a connection that is kept after a webhook to the lane of webhooks, and one
            that is not kept to the closing lane: gunicorn would wait for its sender on this thread, which accepts."""
            if stream := getattr(conn, "stream", None):
                if self.alive:
                    self.stream_lane.add(conn)
                else:
                    stream.close()
                    self._close(conn)
                return
            # True: it is kept; something else that is true: it is to wait, because nothing came yet.
            outcome = not fs.cancelled() and fs.exception() is None and fs.result()
            if outcome is True and self.alive and conn.is_of_hooks and not conn.parser.unreader.buf.getvalue():
                self.hook_lane.add(conn)
            elif outcome:
                super().finish_request(conn, fs)
            elif conn.sock.fileno() < 0:
                self._close(conn)
            else:
                self.closing_lane.add(conn)

        def lane_is_done(self, conn: Any, *, goes_on: bool) -> None:
            """A lane gives a connection back: to be handled by a thread, or to be closed."""
            self.method_queue.defer(self.enqueue_req if goes_on else self._close, conn)

        def _close(self, conn: Any) -> None:
            self.nr_conns -= 1
            conn.close()

    web = Web()
    logger = web.cfg.logger_class(web.cfg)
    worker = Worker(0, os.getppid(), [sock], web, web.cfg.timeout, web.cfg, logger)
    worker.pid = os.getpid()
    systemd.notify("READY=1")
    with contextlib.suppress(SystemExit):
        worker.init_process()


def viewers_among(connections: int) -> int:
    """How many of so many connections viewers may take."""
    return max(1, connections - min(RESERVED_CONNECTIONS, connections // 2))


def _room_for(connections: int) -> int:
    """How many connections there may be at once: as many, or what the limit of open files leaves."""
    limit = open_files.make_room(connections + OTHER_FILES)
    if limit >= connections + OTHER_FILES:
        return connections
    left = max(2, limit - OTHER_FILES)
    log.warning(
        "only %d files may be open at once, which leaves room for %d connections, of them %d live pages. "
        "Raise the limit (ulimit -n, or LimitNOFILE= of the unit), or lower server.max_streams",
        limit,
        left,
        viewers_among(left),
    )
    return left
