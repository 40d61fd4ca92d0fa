"""Senders who take their time: none of them holds up anybody else, or a thread for ever (THREATS 7)."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.browser import Browser
from tests.support.daemon import Daemon, altered
from tests.support.forge import Forge, push
from tests.support.operator import Operator
from tests.support.sockets import read_all
from tests.support.waiting import wait_until

ENDS = "GET /login HTTP/1.1\nHost: x\nConnection: close\n\n"
HEAD_S, BODY_S = 3, 6
IMPATIENT = f"""
from deployer import request_reader
request_reader.HEAD_S, request_reader.BODY_S = {HEAD_S}, {BODY_S}
"""
"""The daemon as it is, but for its limits: nobody wants to wait for a minute here."""


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    sockets = []

    def open_one(daemon: Daemon, sent: str = "") -> socket.socket:
        sock = socket.create_connection((daemon.host, daemon.port), timeout=60)
        sockets.append(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(sent.replace("\n", "\r\n").encode())
        return sock

    yield open_one
    for sock in sockets:
        sock.close()


@pytest.fixture
def impatient(make_daemon) -> Daemon:
    return make_daemon("web", server_threads=4).start(altered(IMPATIENT))


def drip(sockets: list[socket.socket], data: bytes) -> None:
    """Send a byte on each of them, again and again, until each is answered or ended."""
    waiting = list(sockets)
    for _ in range(600):
        for sock in list(waiting):
            sock.settimeout(0)
            try:
                sock.recv(1, socket.MSG_PEEK)
                waiting.remove(sock)
            except BlockingIOError:
                sock.send(data)
            except OSError:
                waiting.remove(sock)
        if not waiting:
            break
        time.sleep(0.1)
    assert waiting == [], "they go on for ever"
    for sock in sockets:
        sock.settimeout(30)


def test_who_keeps_an_ended_connection_open_holds_up_nobody(daemon, stranger, connect):
    began = time.monotonic()
    left_open = [connect(daemon, ENDS) for _ in range(30)]
    for sock in left_open:
        assert read_all(sock).startswith(b"HTTP/1.1 200 ")
    assert stranger.get("/login").status == 200

    # They would be waited for one after the other, each for two seconds.
    assert time.monotonic() - began < 20


def test_an_ended_connection_that_is_kept_open_is_closed_after_a_moment(daemon, connect):
    sock = connect(daemon, ENDS)
    assert read_all(sock).startswith(b"HTTP/1.1 200 ")

    def is_closed() -> bool:
        try:
            sock.send(b"x")
        except OSError:
            return True
        return False

    wait_until(is_closed, "the end of the connection")


def test_the_end_of_the_daemon_is_not_held_up_by_them(make_daemon, connect):
    daemon = make_daemon("web").start()
    left_open = [connect(daemon, ENDS) for _ in range(30)]
    assert read_all(left_open[0]).startswith(b"HTTP/1.1 200 ")

    assert daemon.end(within_s=9) == 0


def test_dripped_heads_hold_no_thread_for_ever(impatient, connect):
    slow = [connect(impatient, "GET /login HTTP/1.1\nHost: x\nX-Slow: ") for _ in range(12)]

    drip(slow, b"x")

    assert {read_all(sock).partition(b"\r\n")[0] for sock in slow} == {b"HTTP/1.1 408 Request Timeout"}
    assert Browser(impatient).get("/login").status == 200
    assert "Traceback" not in impatient.log, impatient.log


@pytest.mark.parametrize("how", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", ["webhook", "/login"])
def test_dripped_bodies_hold_no_thread_for_ever(impatient, connect, repository, path, how):
    if path == "webhook":
        path = Forge(impatient, Operator(impatient.installation).make_project(repository.url)).path
    head = f"POST {path} HTTP/1.1\nHost: x\nContent-Type: application/x-www-form-urlencoded\n"
    slow = [connect(impatient, f"{head}Sec-Fetch-Site: same-origin\n{how}\n\n") for _ in range(6)]

    drip(slow, b"1\r\nx\r\n" if "chunked" in how else b"x")

    for sock in slow:
        answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b"\r\nConnection: close\r\n" in answer
        assert b"came too slowly" in answer
    assert Browser(impatient).get("/login").status == 200
    assert "Traceback" not in impatient.log, impatient.log


def test_each_request_on_a_connection_is_given_its_own_time(impatient):
    connection = Browser(impatient).connection()
    connection.connect()
    first = connection.sock
    until = time.monotonic() + 2 * HEAD_S
    while time.monotonic() < until:
        connection.request("GET", "/login")
        answer = connection.getresponse()
        assert (answer.status, connection.sock) == (200, first)
        answer.read()
        time.sleep(0.5)
    connection.close()


def test_a_slow_body_within_the_time_is_taken(impatient, connect, repository):
    forge = Forge(impatient, Operator(impatient.installation).make_project(repository.url))
    body = json.dumps(push()).encode()
    lines = [f"{name}: {value}" for name, value in forge.headers(body).items()]
    head = "\n".join([f"POST {forge.path} HTTP/1.1", "Host: x", "Connection: close", *lines])
    sock = connect(impatient, f"{head}\nContent-Length: {len(body)}\n\n")
    # Longer than a head may take, with pauses.
    until = time.monotonic() + HEAD_S + 0.5
    for byte in body[:-1]:
        sock.sendall(bytes([byte]))
        time.sleep(max(0.0, min(0.2, until - time.monotonic())))
    sock.sendall(body[-1:])

    assert b"Deployment triggered" in read_all(sock)
