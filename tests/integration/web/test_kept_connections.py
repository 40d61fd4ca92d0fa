"""Webhooks that follow one another on a kept connection, as a proxy in front sends them."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import threading
import uuid
from pathlib import Path

import sqlalchemy as sa

from deployer.executors import processes
from deployer.models import Delivery
from tests.support import database
from tests.support.forge import Forge, push
from tests.support.operator import Operator
from tests.support.waiting import wait_until


def connect(forge) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(forge.daemon.host, forge.daemon.port, timeout=30)


def post(connection, forge, body: bytes, **headers: str) -> tuple[int, str]:
    connection.request("POST", forge.path, body, {**forge.headers(body), **headers})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def wire(forge, body: bytes, guid: str) -> bytes:
    """A request as it goes over the wire."""
    headers = {"Host": "deployer", **forge.headers(body, guid=guid), "Content-Length": str(len(body))}
    head = "\r\n".join([f"POST {forge.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())])
    return head.encode() + b"\r\n\r\n" + body


def answers(sock: socket.socket, count: int) -> bytes:
    """What comes until ``count`` answers are there."""
    seen = b""
    while seen.count(b"HTTP/1.1 ") < count or not seen.endswith((b"ignored", b"main")):
        part = sock.recv(65536)
        assert part, seen
        seen += part
    return seen


BODY = json.dumps(push(ref="refs/heads/other")).encode()
IGNORED = "Branch other ignored: this project deploys the branch main"


def test_each_request_gets_its_own_answer(forge):
    connection = connect(forge)
    for _ in range(3):
        assert post(connection, forge, BODY) == (200, IGNORED)
        assert post(connection, forge, BODY, **{"X-Hub-Signature-256": "sha256=" + "0" * 64}) == (401, "Unauthorized")
        assert post(connection, forge, b"[]") == (400, "No body")
    connection.close()


def test_the_connection_is_kept(forge):
    connection = connect(forge)
    post(connection, forge, BODY)
    first = connection.sock
    for _ in range(5):
        post(connection, forge, BODY)
        assert connection.sock is first
    connection.close()


def test_many_connections_at_once_are_each_answered_and_recorded(forge, operator):
    failures: list[tuple[int, str]] = []

    def send() -> None:
        connection = connect(forge)
        for _ in range(20):
            answer = post(connection, forge, BODY)
            if answer != (200, IGNORED):
                failures.append(answer)
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    is_ours = Delivery.project_id == forge.path.rpartition("/")[2]
    assert len(operator.rows(sa.select(Delivery.id).where(is_ours))) == 240


def test_requests_that_are_sent_without_waiting_are_answered_in_their_order(forge):
    guids = [str(uuid.uuid4()) for _ in range(6)]
    connection = connect(forge)
    post(connection, forge, BODY)

    connection.sock.sendall(b"".join(wire(forge, BODY, guid) for guid in guids))

    assert answers(connection.sock, 6).count(IGNORED.encode()) == 6
    connection.close()


def test_half_a_request_holds_nobody_else(forge):
    slow = connect(forge)
    post(slow, forge, BODY)
    request = wire(forge, BODY, str(uuid.uuid4()))
    slow.sock.sendall(request[:-100])

    other = connect(forge)
    for _ in range(5):
        assert post(other, forge, BODY) == (200, IGNORED)
    slow.sock.sendall(request[-100:])

    assert IGNORED.encode() in answers(slow.sock, 1)
    slow.close()
    other.close()


def test_pages_are_answered_on_it_too(forge):
    connection = connect(forge)
    for _ in range(3):
        post(connection, forge, BODY)
        connection.request("GET", "/login")
        answer = connection.getresponse()
        assert (answer.status, b"<form" in answer.read()) == (200, True)
    connection.close()


def test_a_chunked_body_is_read_on_it_too(forge):
    connection = connect(forge)
    post(connection, forge, BODY)

    connection.request("POST", forge.path, iter([BODY[:50], BODY[50:]]), forge.headers(BODY), encode_chunked=True)

    answer = connection.getresponse()
    assert (answer.status, answer.read().decode()) == (200, IGNORED)
    connection.close()


def test_a_body_that_is_too_large_is_refused_on_it_too(forge):
    connection = connect(forge)
    post(connection, forge, BODY)

    connection.putrequest("POST", forge.path)
    connection.putheader("Content-Length", str(26 * 1024 * 1024))
    connection.endheaders()

    assert connection.getresponse().status == 413
    connection.close()


def test_a_malformed_head_ends_the_connection_and_nothing_else(forge):
    connection = connect(forge)
    post(connection, forge, BODY)
    request = wire(forge, BODY, "x").replace(b"Host: deployer", b"Host deployer")
    connection.sock.sendall(request)

    seen = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.sock.recv(65536):
            seen += part

    connection.close()
    assert b" 400 " in seen.partition(b"\r\n")[0]
    other = connect(forge)
    assert post(other, forge, BODY) == (200, IGNORED)
    other.close()


def waiting_bytes(forge, connection: http.client.HTTPConnection) -> int:
    """How much of what was sent on a connection the daemon has not read yet (proc(5), /proc/net/tcp)."""
    ends = [f":{forge.daemon.port:04X}", f":{connection.sock.getsockname()[1]:04X}"]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (queues,) = (row[4] for row in rows if [row[1][-5:], row[2][-5:]] == ends)
    return int(queues.partition(":")[2], 16)


def test_what_has_arrived_by_the_end_is_recorded_and_answered(make_daemon, repository):
    daemon = make_daemon().start()
    runner = wait_until(lambda: daemon.runner_pid, "the runner")
    operator = Operator(daemon.installation)
    forge = Forge(daemon, operator.make_project(repository.url))
    first, second = connect(forge), connect(forge)
    for connection in (first, second):
        assert post(connection, forge, BODY) == (200, IGNORED)
    with database.locked(daemon.config):
        # The first one waits for the database; the second one comes meanwhile, and then the word to end.
        first.sock.sendall(wire(forge, BODY, "first"))
        wait_until(lambda: waiting_bytes(forge, first) == 0, "the daemon at the first one")
        second.sock.sendall(wire(forge, BODY, "second"))
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: (one := processes.stat(runner)) is None or one.state in "ZX", "the runner's end")

    for connection in (first, second):
        assert IGNORED.encode() in answers(connection.sock, 1)
        connection.close()
    assert daemon.wait() == 0
    assert {"first", "second"} <= {row.guid for row in operator.rows(sa.select(Delivery.guid))}


def test_idle_ones_do_not_hold_up_the_end(make_daemon):
    daemon = make_daemon("web").start()
    sockets = []
    for _ in range(5):
        connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=30)
        connection.request("POST", "/webhook/00000000-0000-7000-8000-000000000000", b"{}")
        assert connection.getresponse().read() == b"Project not found"
        sockets.append(connection)

    assert daemon.end(within_s=8) == 0

    for connection in sockets:
        wait_until(lambda connection=connection: connection.sock.recv(1) == b"", "the end of the connection")
        connection.close()
