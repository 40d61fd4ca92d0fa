"""Streams under another WSGI server than our own: the same frames, from the thread that asked."""

from __future__ import annotations

import json
import threading

import pytest

from deployer.application import create_app
from tests.support.events import Viewer


@pytest.fixture
def visit(installation, member):
    """Begin a stream as any WSGI server would: an iterator over its parts."""
    app = create_app(installation)
    begun = []

    def start(path: str):
        client = app.test_client()
        client.set_cookie("connect.sid", member.cookie, domain="localhost")
        response = client.get(path, buffered=False)
        begun.append(response)
        assert (response.status_code, response.mimetype) == (200, "text/event-stream")
        return response

    yield start
    for one in begun:
        one.close()


def frames_in(parts) -> list[dict]:
    text = b"".join(parts).decode()
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


def test_it_tells_the_same_as_our_own(visit, member, operator, make_project):
    deployment_id = operator.deploy(make_project("seq 1 50000", "echo 'Grüße 🚀'"))
    operator.wait_for_end(deployment_id)

    there = frames_in(visit(f"/deployments/{deployment_id}/stream?after=7").response)

    with Viewer(member, deployment_id, query="?after=7") as viewer:
        here = list(viewer.frames())
    for frame in here:
        frame.pop("id", None)
    assert there == here


def test_lines_come_while_the_step_runs(visit, running, gate):
    parts = iter(visit(f"/deployments/{running}/stream").response)
    seen = next(parts)
    while b"started" not in seen:
        seen += next(parts)
    gate.open()
    rest = []
    thread = threading.Thread(target=lambda: rest.extend(parts))
    thread.start()
    thread.join(20)

    assert b"ended" in b"".join(rest)
    assert frames_in(rest)[-1]["type"] == "done"


def test_it_ends_with_the_login(visit, running, daemon, gate):
    from tests.support.standing import MEMBER, logged_in

    person = logged_in(daemon, MEMBER)
    app = create_app(daemon.installation)
    client = app.test_client()
    client.set_cookie("connect.sid", person.cookie, domain="localhost")
    response = client.get(f"/deployments/{running}/stream", buffered=False)
    parts = iter(response.response)
    seen = next(parts)
    while b"started" not in seen:
        seen += next(parts)
    person.post("/logout")

    thread = threading.Thread(target=lambda: list(parts), daemon=True)
    thread.start()
    thread.join(20)

    assert not thread.is_alive()
    response.close()


def test_word_of_changes_comes_too(visit, operator, project):
    parts = iter(visit("/changes/stream?seen=none").response)
    seen = next(parts)
    while b"data:" not in seen:
        seen += next(parts)

    assert frames_in([seen])[0]["type"] == "changed"
