"""How a webhook's body is read: the raw bytes count, in whatever way they come, up to 25 MiB."""

from __future__ import annotations

import contextlib
import json
import socket
import threading

import pytest

from tests.support.forge import SHA, push, sign
from tests.support.sockets import read_all

MAX = 25 * 1024 * 1024


def triggered(answer) -> bool:
    return (answer.status, answer.text) == (200, "Deployment triggered")


@pytest.mark.parametrize(
    "extra",
    [rb'"n": 1.0', rb'"n": 1e3', rb'"author": "Ren\u00e9"', '"author": "René"'.encode(), rb'"u": "https:\/\/x"'],
    ids=["float", "exponent", "escape", "utf8", "slash"],
)
def test_the_signature_counts_over_the_bytes_as_they_came(forge, extra):
    """Parsed and written anew they would be others."""
    body = b'{ "ref":"refs/heads/main",\n"after":"%s",  %s}' % (SHA.encode(), extra)

    assert triggered(forge.send(body))


def test_another_white_space_in_the_body_breaks_the_signature(forge):
    body = json.dumps(push()).encode()

    answer = forge.send(body + b"\n", X_Hub_Signature_256=sign(body, forge.secret))

    assert (answer.status, answer.text) == (401, "Unauthorized")


def test_the_mac_of_a_form_counts_over_the_form_and_not_over_its_payload(forge):
    payload = json.dumps(push()).encode()
    body = b"payload=%7B%7D"

    answer = forge.send(
        body, Content_Type="application/x-www-form-urlencoded", X_Hub_Signature_256=sign(payload, forge.secret)
    )

    assert answer.status == 401


def test_hexadecimal_digits_of_a_signature_may_be_capital(forge):
    body = json.dumps(push()).encode()
    signature = "sha256=" + sign(body, forge.secret)[7:].upper()

    assert triggered(forge.send(body, X_Hub_Signature_256=signature))


def chunks(body: bytes, size: int) -> list[bytes]:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return [b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""]]


def head(forge, body: bytes, *more: str) -> str:
    lines = [f"POST {forge.path} HTTP/1.1", "Host: x", "Connection: close", *more]
    return "\n".join(lines + [f"{name}: {value}" for name, value in forge.headers(body).items()])


def test_a_body_in_chunks_is_read_whole(forge):
    body = json.dumps(push(note="x" * 100_000)).encode()
    with forge.raw(head(forge, body, "Transfer-Encoding: chunked")) as sock:
        for chunk in chunks(body, 7001):
            sock.sendall(chunk)
        answer = read_all(sock)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nDeployment triggered")


def test_a_body_that_comes_byte_by_byte_is_read_whole(forge):
    body = json.dumps({"ref": "refs/heads/next"}).encode()
    with forge.raw(head(forge, body, f"Content-Length: {len(body)}")) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in body:
            sock.sendall(bytes([byte]))
        answer = read_all(sock)

    assert b"Branch next ignored" in answer


def test_a_body_of_exactly_25_mib_is_taken(forge):
    body = json.dumps(push()).encode()
    body += b" " * (MAX - len(body))

    assert triggered(forge.send(body))


def test_a_body_over_25_mib_is_refused_by_its_length_before_it_is_sent(forge):
    with forge.raw(head(forge, b"", f"Content-Length: {MAX + 1}")) as sock:
        answer = b""
        while not answer.endswith(b"The body is larger than 25 MiB"):
            part = sock.recv(65536)
            assert part, answer
            answer += part

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_in_chunks_over_25_mib_is_refused_while_it_is_read(forge):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    with forge.raw(head(forge, b"", "Transfer-Encoding: chunked")) as sock:
        # It is never ended: the answer comes because it is too large.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(26):
                sock.sendall(chunk)
        answer = read_all(sock)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_bodies_that_do_not_come_hold_up_nobody(forge):
    slow = [forge.raw(head(forge, b"{}", "Content-Length: 2")) for _ in range(40)]
    try:
        assert triggered(forge.push())
    finally:
        for sock in slow:
            sock.close()


def test_a_body_that_breaks_off_changes_nothing(forge, operator):
    body = json.dumps(push()).encode()
    with forge.raw(head(forge, body, f"Content-Length: {len(body)}")) as sock:
        sock.sendall(body[:-1])
        sock.shutdown(socket.SHUT_WR)
        answer = read_all(sock)

    assert b" 200 " not in answer
    assert [one for one in operator.deployments() if forge.path.endswith(one.project_id)] == []
    assert triggered(forge.push())


def test_requests_on_one_connection_are_answered_one_after_the_other(forge):
    body = json.dumps({"ref": "refs/heads/next"}).encode()
    request = head(forge, body, f"Content-Length: {len(body)}").replace("Connection: close", "Connection: keep-alive")
    whole = request.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body
    with socket.create_connection((forge.daemon.host, forge.daemon.port), timeout=10) as sock:
        sender = threading.Thread(target=sock.sendall, args=(whole * 20,))
        sender.start()
        received = b""
        while received.count(b"Branch next ignored") < 20:
            received += sock.recv(65536)
        sender.join()

    assert received.count(b"HTTP/1.1 200 OK") == 20
