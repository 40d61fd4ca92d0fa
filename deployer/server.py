"""The processes: web (a gunicorn worker) and runner, forked from one parent that has loaded everything once.

gunicorn's own arbiter is left out: the supervisor below keeps both processes running, and a second parent would cost
memory for a second time.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from flask import Flask

from deployer import accounts
from deployer.application import create_app
from deployer.config import Config
from deployer.errors import ConfigError
from deployer.installation import Installation

log = logging.getLogger("deployer")

RECEIVE_PATIENCE_S = 20
"""How long a connection may be silent in the middle of a request."""

LINGER_MS = 20

RESTART_WAIT_S = (0.1, 0.5, 2.0, 5.0)
STEADY_AFTER_S = 30.0


def start_logging(config: Config) -> None:
    """One line an event on stderr; under systemd the journal adds the time."""
    logging.basicConfig(
        level=config.logs.level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)


def listen(config: Config) -> socket.socket:
    """The listening socket. Made before any fork, so that a second start is refused at once, and so that
    connections wait while the web process is replaced."""
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
    # Linux hands both on to each accepted connection. Head and body of an answer are two writes, of which the second
    # must not wait for the first's acknowledgement; and who stops sending in mid-request must not hold a thread.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", RECEIVE_PATIENCE_S, 0))
    sock.listen(1024)
    return sock


def greeting(installation: Installation) -> str:
    """The line that a start prints: where it is, and how to set it up while nobody can log in."""
    url = installation.config.public_url
    with installation.database.write() as connection:
        if accounts.has_users(connection):
            return f"Deployer is ready: {url}"
        return f"Deployer is ready. Set it up: {url}/setup?token={accounts.new_setup_token(connection)}"


def run_web(app: Flask, installation: Installation, sock: socket.socket) -> None:
    """Serve on ``sock`` with gunicorn's threaded worker until SIGTERM; then end streams and finish requests."""
    from gunicorn.app.base import BaseApplication
    from gunicorn.workers.gthread import ThreadWorker

    server = installation.config.server
    bell = installation.database.bell

    class Web(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            settings: dict[str, Any] = {
                # Streams each hold a thread; pages and webhooks have theirs whatever is watched.
                "threads": server.threads + server.max_streams,
                "worker_connections": 4 * (server.threads + server.max_streams),
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
            return app

    class Worker(ThreadWorker):  # type: ignore[misc]
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Streams would hold a stopping worker for as long as their deployments run: they are told."""
            super().handle_exit(sig, frame)
            bell.close()

        def handle(self, conn: Any) -> Any:
            """Requests that follow closely on one connection stay on its thread, as long as no other waits for one:
            each way back through the poller costs three changes of thread."""
            result = super().handle(conn)
            while result is True and self.alive and self.tpool._work_queue.empty():
                poller = select.poll()
                poller.register(conn.sock, select.POLLIN)
                if not poller.poll(LINGER_MS):
                    break
                result = super().handle(conn)
            return result

    web = Web()
    logger = web.cfg.logger_class(web.cfg)
    worker = Worker(0, os.getppid(), [sock], web, web.cfg.timeout, web.cfg, logger)
    worker.pid = os.getpid()
    with contextlib.suppress(SystemExit):
        worker.init_process()


def run_runner(installation: Installation) -> None:
    """Never returns."""
    from deployer.runner.loop import Runner

    Runner(installation).run_forever()


def serve(config: Config, announce: Callable[[str], None]) -> int:
    """Web and runner, supervised: whichever dies is started again. Returns when told to stop."""
    sock = listen(config)
    installation = Installation.open(config)
    app = create_app(installation)
    announce(greeting(installation))
    installation.database.dispose()
    # What is loaded now is shared by the children for as long as nobody writes to it; the collector would.
    gc.collect()
    gc.freeze()
    supervisor = Supervisor()
    supervisor.add("web", lambda: run_web(app, installation, sock))
    supervisor.add("runner", lambda: run_runner(installation))
    supervisor.run()
    return 0


class Supervisor:
    """Keeps child processes running until SIGTERM or SIGINT, which it hands on."""

    def __init__(self) -> None:
        self._roles: dict[str, Callable[[], None]] = {}
        self._running: dict[int, tuple[str, float]] = {}
        self._failures: dict[str, int] = {}
        self._is_stopping = False

    def add(self, name: str, body: Callable[[], None]) -> None:
        self._roles[name] = body

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        for name in self._roles:
            self._start(name)
        while self._running:
            try:
                pid, _ = os.wait()
            except ChildProcessError:
                break
            if pid in self._running:
                name, since = self._running.pop(pid)
                if not self._is_stopping:
                    self._restart(name, since)

    def _start(self, name: str) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                # Ctrl-C is for the supervisor, which hands it on as SIGTERM.
                os.setpgid(0, 0)
                # A child that outlives a killed parent would hold the address and the runner's lock.
                end_with_parent()
                self._roles[name]()
                code = 0
            except BaseException:
                log.exception("the %s process failed", name)
            finally:
                os._exit(code)
        self._running[pid] = (name, time.monotonic())
        if self._is_stopping:
            # Told to stop between the decision to start and the fork.
            os.kill(pid, signal.SIGTERM)

    def _restart(self, name: str, since: float) -> None:
        if time.monotonic() - since > STEADY_AFTER_S:
            self._failures[name] = 0
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        log.error("the %s process ended; starting it again", name)
        time.sleep(RESTART_WAIT_S[min(failures, len(RESTART_WAIT_S) - 1)])
        if not self._is_stopping:
            self._start(name)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_stopping = True
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)
