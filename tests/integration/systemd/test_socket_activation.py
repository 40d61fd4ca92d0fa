"""The web process on a socket that somebody else holds, as systemd does (sd_listen_fds(3))."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.browser import Browser
from tests.support.daemon import APP, Daemon
from tests.support.programs import program
from tests.support.waiting import wait_until


@pytest.fixture
def holder() -> Iterator[socket.socket]:
    """A listening socket that outlives who serves on it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(64)
        yield sock


@pytest.fixture
def daemon(make_daemon, holder) -> Daemon:
    """Not started; its address is the holder's."""
    return make_daemon("web", server_bind=f"127.0.0.1:{holder.getsockname()[1]}")


@contextmanager
def passed(daemon: Daemon, fd: int, command: str = "web", **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is handed a file descriptor as its third, in the way of systemd."""
    given = " ".join(
        f"{name}={value}" for name, value in {"LISTEN_FDS": "1", "LISTEN_PID": "$$", **variables}.items()
    )
    script = f"exec 3<&{fd}; {given} exec '{sys.executable}' '{APP}' {command}"
    with daemon.log_path.open("ab") as log:
        process = subprocess.Popen(
            ["bash", "-c", script], env=daemon.environment, cwd=daemon.folder, pass_fds=[fd], stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def status(daemon: Daemon) -> int:
    return Browser(daemon).get("/login").status


def test_it_serves_on_the_socket_that_it_is_handed(daemon, holder):
    with passed(daemon, holder.fileno()):
        assert status(daemon) == 200
    assert "server.bind" not in daemon.log


def test_a_request_that_comes_while_nobody_serves_is_answered_by_the_next_process(daemon, holder):
    with passed(daemon, holder.fileno()):
        assert status(daemon) == 200
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as waiting:
        waiting.sendall(b"GET /login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        with passed(daemon, holder.fileno()):
            assert waiting.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


def test_the_socket_gets_the_same_options_as_one_of_its_own(daemon, holder):
    with passed(daemon, holder.fileno()):
        assert status(daemon) == 200
        assert holder.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            assert struct.unpack("ll", holder.getsockopt(socket.SOL_SOCKET, option, 16)) == (20, 0)


def test_an_address_that_differs_from_the_configured_one_is_told(make_daemon, holder):
    daemon = make_daemon("web", server_bind="127.0.0.1:9")
    with passed(daemon, holder.fileno()):
        said = f"server.bind says 127.0.0.1:9, but deployer-web.socket listens on 127.0.0.1:{holder.getsockname()[1]}"
        wait_until(lambda: said in daemon.log, "a warning")


def test_what_is_meant_for_another_process_is_left_alone(make_daemon, holder):
    """The variables came by inheritance: it listens where it is configured to."""
    daemon = make_daemon("web")
    with passed(daemon, holder.fileno(), LISTEN_PID="1"):
        wait_until(daemon._answers, "an answer at its own address")


def test_no_child_takes_the_socket_for_its_own(daemon, holder):
    with passed(daemon, holder.fileno(), "serve"):
        assert status(daemon) == 200
        first = wait_until(lambda: daemon.runner_pid, "the runner")
        os.kill(first, signal.SIGKILL)
        second = wait_until(lambda: (pid := daemon.runner_pid) != first and pid, "another runner")
        with open(f"/proc/{second}/environ", "rb") as environment:
            assert b"LISTEN_" not in environment.read()
        held = f"socket:[{os.fstat(holder.fileno()).st_ino}]"
        open_files = [os.path.realpath(f"/proc/{second}/fd/{fd}") for fd in os.listdir(f"/proc/{second}/fd")]
        assert not [one for one in open_files if one.endswith(held)]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("datagram", "what was passed is no TCP socket"),
        ("unix", "what was passed is no TCP socket"),
        ("deaf", "the socket that was passed does not listen"),
        ("file", "what was passed is no socket"),
        ("two", "2 sockets were passed"),
    ],
)
def test_what_is_no_listening_socket_is_refused(daemon, holder, what, said):
    made = {
        "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "deaf": socket.socket,
        "file": lambda: open(os.devnull, "rb"),  # noqa: SIM115
        "two": lambda: holder.dup(),
    }[what]()
    with made, passed(daemon, made.fileno(), LISTEN_FDS="2" if what == "two" else "1") as process:
        assert process.wait(20) == 1

    assert f"Error: Socket activation: {said}. Pass one listening TCP socket" in daemon.log


def test_systemds_own_tool_can_start_it(make_daemon):
    daemon = make_daemon("web")
    setenv = [f"--setenv={name}" for name in daemon.environment]

    daemon.start(
        [
            program("systemd-socket-activate"),
            f"--listen={daemon.config.server.bind}",
            *setenv,
            sys.executable,
            str(APP),
            "web",
        ]
    )

    assert status(daemon) == 200


def test_systemd_is_told_when_it_answers_and_when_it_stops(daemon, holder, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(30)
        with passed(daemon, holder.fileno(), NOTIFY_SOCKET=str(tmp_path / "notify")):
            assert told.recv(100) == b"READY=1"
            assert status(daemon) == 200
        assert told.recv(100) == b"STOPPING=1"


def test_systemd_is_told_when_the_runner_works(make_daemon):
    daemon = make_daemon("runner")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(f"\0{daemon.folder}")
        told.settimeout(30)
        with passed(daemon, 0, "runner", LISTEN_FDS="0", NOTIFY_SOCKET=f"@{daemon.folder}"):
            assert told.recv(100) == b"READY=1"
            wait_until(lambda: daemon.runner_pid, "the runner")
