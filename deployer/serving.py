"""The processes: web (gunicorn's threaded worker), and the runner as its supervised child.

gunicorn's arbiter is left out. Whoever starts ``serve`` or ``web`` (systemd, a container, a person) starts it again,
and a second parent with everything loaded would cost as much memory as the runner.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask

from deployer import accounts, open_files, systemd
from deployer.application import create_app
from deployer.config import Config
from deployer.errors import ConfigError
from deployer.installation import Installation

log = logging.getLogger("deployer")

_APP = Path(__file__).resolve().parent.parent / "app.py"

SILENCE_S = 20
"""How long a connection may send nothing in the middle of a request, or take nothing of an answer."""

OTHER_CONNECTIONS = 1000
"""Beside the viewers': requests, and kept connections."""

OTHER_FILES = 200
"""Beside connections: the database's files, above all."""

STOP_PATIENCE_S = 5.0
RESTART_WAIT_S = (0.1, 0.5, 2.0, 5.0)
STEADY_AFTER_S = 30.0


def listen(config: Config) -> socket.socket:
    """The listening socket: the one that systemd holds, where it does, so that connections wait while the web process
    is replaced. Made before any fork, so that a second start is refused at once."""
    sock = systemd.passed_socket()
    if sock is None:
        sock = _bind(config)
    elif _name(sock) != config.server.bind:
        log.warning(
            "server.bind says %s, but deployer-web.socket listens on %s: change the one or the other",
            config.server.bind,
            _name(sock),
        )
    # Linux hands these on to each accepted connection. Head and body of an answer are two writes, of which the second
    # must not wait for the first's acknowledgement; and who stops sending or reading must not hold a thread.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE_S, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SILENCE_S, 0))
    sock.listen(1024)
    return sock


def _name(sock: socket.socket) -> str:
    """As ``server.bind`` writes it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(config: Config) -> socket.socket:
    host, _, port = config.server.bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"server.bind: {config.server.bind} cannot be used: {error.strerror}.",
            hint="Stop what listens there, or choose another address.",
        ) from error
    return sock


def greeting(installation: Installation) -> str:
    """The line that a start prints: where it is, and how to set it up while nobody can log in."""
    url = installation.config.public_url
    with installation.database.write() as connection:
        if accounts.has_users(connection):
            return f"Deployer is ready: {url}"
        return f"Deployer is ready. Set it up: {url}/setup?token={accounts.new_setup_token(connection)}"


def run_web(app: Flask, installation: Installation, sock: socket.socket, on_stop: Callable[[], None]) -> None:
    """Serve on ``sock`` until SIGTERM or SIGINT; then end streams and finish requests.

    ``on_stop`` is called first, from the signal's handler.
    """
    from gunicorn.app.base import BaseApplication
    from gunicorn.workers.gthread import ThreadWorker

    from deployer.api.streams import Stream
    from deployer.hook_lane import HookLane
    from deployer.hooks import PREFIX
    from deployer.stream_lane import StreamLane

    server = installation.config.server
    bell = installation.database.bell
    connections = _room_for(server.max_streams + OTHER_CONNECTIONS)

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
            self.stream_lane = StreamLane(self, installation.database, SILENCE_S)
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

        def handle_request(self, req: Any, conn: Any) -> Any:
            conn.is_of_hooks = req.path.startswith(PREFIX)
            conn.stream = None
            req.conn = conn
            return super().handle_request(req, conn)

        def finish_request(self, conn: Any, fs: Any) -> None:
            """A stream goes to its lane, and a connection that is kept after a webhook to the lane of webhooks."""
            if stream := getattr(conn, "stream", None):
                if self.alive:
                    self.stream_lane.add(conn)
                else:
                    stream.close()
                    self._close(conn)
                return
            is_kept = not fs.cancelled() and fs.exception() is None and fs.result() is True
            if is_kept and self.alive and conn.is_of_hooks and not conn.parser.unreader.buf.getvalue():
                self.hook_lane.add(conn)
            else:
                super().finish_request(conn, fs)

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


def _room_for(connections: int) -> int:
    """How many connections there may be at once: as many, or what the limit of open files leaves."""
    limit = open_files.make_room(connections + OTHER_FILES)
    if limit >= connections + OTHER_FILES:
        return connections
    log.warning(
        "only %d files may be open at once, which leaves room for %d connections. "
        "Raise the limit (ulimit -n, or LimitNOFILE= of the unit), or lower server.max_streams",
        limit,
        max(1, limit - OTHER_FILES),
    )
    return max(1, limit - OTHER_FILES)


def run_runner(installation: Installation) -> None:
    """Never returns."""
    from deployer.runner.loop import Runner

    Runner(installation).run_forever()


def serve(config: Config, announce: Callable[[str], None]) -> None:
    """Web and runner. Returns when told to stop."""
    sock = listen(config)
    installation = Installation.open(config)
    app = create_app(installation)
    line = greeting(installation)
    installation.database.dispose()
    # What is loaded now is shared with the runner for as long as nobody writes to it; the collector would.
    gc.collect()
    gc.freeze()
    runner = RunnerChild(installation, sock)
    announce(line)
    run_web(app, installation, sock, runner.stop)
    runner.wait()
    leave()


def leave() -> None:
    """End now: Python would wait for threads, and a thread may wait for a viewer that stopped reading."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


class RunnerChild:
    """The runner as a child process: forked while this process has one thread, started anew whenever it dies.

    ``sock`` is closed in the child: an address is free again once its web process has ended.
    """

    def __init__(self, installation: Installation, sock: socket.socket) -> None:
        self._installation = installation
        self._sock = sock
        self._is_stopping = False
        self._program: subprocess.Popen[bytes] | None = None
        self._pid = self._fork()
        self._watcher = threading.Thread(target=self._watch, name="runner", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        self._is_stopping = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def wait(self) -> None:
        self._watcher.join(STOP_PATIENCE_S)

    def _fork(self) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._sock.close()
            # Ctrl-C is for the parent, which hands it on.
            os.setpgid(0, 0)
            end_with_parent(parent)
            run_runner(self._installation)
        except BaseException:
            log.exception("the runner failed")
        finally:
            os._exit(code)

    def _watch(self) -> None:
        failures = 0
        while True:
            since = time.monotonic()
            self._wait()
            if self._is_stopping:
                return
            log.error("the runner ended; starting it again")
            failures = 0 if time.monotonic() - since > STEADY_AFTER_S else failures + 1
            time.sleep(RESTART_WAIT_S[min(failures, len(RESTART_WAIT_S) - 1)])
            if self._is_stopping:
                return
            self._pid = self._spawn()

    def _wait(self) -> None:
        if self._program:
            self._program.wait()
        else:
            os.waitpid(self._pid, 0)

    def _spawn(self) -> int:
        """A new program instead of a fork: this process has threads by now, and their locks with them."""
        source = self._installation.config.source
        options = ["--config", source] if source else []
        self._program = subprocess.Popen(
            [sys.executable, str(_APP), *options, "runner", "--with-parent", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        return self._program.pid


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent dies (prctl(2), PR_SET_PDEATHSIG).

    ``parent`` is the parent's pid. One that died before this was asked for is not told of any more.
    """
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
