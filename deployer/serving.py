"""The processes: web (`deployer.web_worker`), and the runner as its supervised child."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from deployer import accounts, systemd
from deployer.application import create_app
from deployer.config import Config
from deployer.errors import ConfigError
from deployer.installation import Installation

log = logging.getLogger("deployer")

_APP = Path(__file__).resolve().parent.parent / "app.py"

SILENCE_S = 20
"""How long a connection may send nothing in the middle of a request, or take nothing of an answer."""

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
    # Imported here: the runner does not carry gunicorn in memory.
    from deployer import web_worker

    web_worker.run(app, installation, sock, SILENCE_S, on_stop)


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
    runner = RunnerChild(installation)
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
    """The runner as a child process: forked while this process has one thread, started anew whenever it dies."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._is_stopping = False
        self._program: subprocess.Popen[bytes] | None = None
        # Before the web process raises its own.
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
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
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            # Ctrl-C is for the parent, which hands it on.
            os.setpgid(0, 0)
            end_with_parent()
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
            [sys.executable, str(_APP), *options, "runner", "--with-parent"],
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        # Commands get the limit that this process was started with, whichever runner starts them.
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(self._program.pid, resource.RLIMIT_NOFILE, self._open_files)
        return self._program.pid


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGTERM, 0, 0, 0)
