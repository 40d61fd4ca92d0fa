"""Lists hear of changes at once."""

from __future__ import annotations

import http.client
import json
import time

import pytest

from tests.support.standing import logged_in, make_user
from tests.support.waiting import wait_until


class Listener:
    """Somebody with a list in front of him."""

    def __init__(self, browser, seen: str = "") -> None:
        self.connection = http.client.HTTPConnection(browser.daemon.host, browser.daemon.port, timeout=10)
        self.connection.request(
            "GET", f"/changes/stream?seen={seen}", headers={"Cookie": f"connect.sid={browser.cookie}"}
        )
        self.response = self.connection.getresponse()

    def next(self) -> str:
        """The word of the next frame."""
        while True:
            line = self.response.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("data: "):
                frame = json.loads(line.removeprefix("data: "))
                assert frame["type"] == "changed"
                return frame["seen"]

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@pytest.fixture
def listen(member):
    opened = []

    def start(seen: str = "", browser=member) -> Listener:
        opened.append(Listener(browser, seen))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def word_of(member, path: str = "/") -> str:
    (main,) = member.get(path).page.find_all("main")
    return main.attributes["data-changes"]


@pytest.mark.parametrize("path", ["/", "/deployments"])
def test_a_list_hears_of_a_push_at_once(member, listen, forge, operator, path):
    listener = listen(word_of(member, path))

    forge.push()
    began = time.monotonic()
    listener.next()

    assert time.monotonic() - began < 2
    operator.wait_for_end(operator.deployments()[-1].id)


def test_what_was_changed_before_one_listens_is_told_first(member, listen, operator, project):
    word = word_of(member)
    operator.wait_for_end(operator.deploy(project))

    assert listen(word).next() == word_of(member)


def test_it_says_nothing_while_nothing_but_a_log_grows(member, listen, operator, make_project, gate):
    deployment_id = operator.deploy(make_project(f"for n in 1 2 3 4 5; do echo $n; sleep 0.05; done; {gate.step}"))
    operator.wait_for_output(deployment_id, b"started")
    listener = listen(word_of(member))
    gate.open()

    told = listener.next()

    assert operator.wait_for_end(deployment_id).status == "success"
    assert told == word_of(member)


def test_with_all_places_taken_it_is_refused_until_somebody_leaves(make_daemon):
    daemon = make_daemon("web", server_max_streams=1).start()
    make_user(daemon)
    member = logged_in(daemon)
    first = Listener(member)
    first.next()

    refused = member.get("/changes/stream")

    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    first.close()

    def is_let_in() -> bool:
        listener = Listener(member)
        listener.close()
        return listener.response.status == 200

    # Who has left is noticed by a write that fails, also while nothing happens.
    wait_until(is_let_in, "a free place", within_s=60)


def test_a_restart_does_not_wait_for_listeners(make_daemon):
    daemon = make_daemon("web").start()
    make_user(daemon)
    listener = Listener(logged_in(daemon))
    listener.next()

    began = time.monotonic()
    daemon.end()

    assert time.monotonic() - began < 8
    listener.close()
