"""The runner speaks to channels beside its work: one that hangs holds up no deployment, and no other channel."""

from __future__ import annotations

import pytest

from tests.support.listener import Listener
from tests.support.waiting import wait_until


@pytest.fixture
def dead():
    """Takes every request, and never answers."""
    with Listener() as made:
        made.hang()
        yield made


def test_a_channel_that_hangs_delays_neither_deployments_nor_other_channels(
    operator, make_project, runner, make_channel, listener, dead, outbox
):
    make_channel(name="dead", url=dead.url)
    make_channel(name="alive", url=listener.url)
    project = make_project("true")

    for _ in range(2):
        assert operator.wait_for_end(operator.deploy(project)).status == "success"
    wait_until(lambda: len(listener.requests) == 4, "everything arrives at the other channel")

    assert [one.json["event"] for one in listener.requests] == ["started", "success"] * 2
    # All of that while the one attempt at the dead channel was still being made.
    assert len(dead.requests) == 1
    assert [row.attempts for row in outbox.rows()].count(0) == 3


def test_a_runner_that_is_killed_while_it_sends_sends_it_later_under_the_same_number(
    operator, make_project, make_runner, make_channel, listener, outbox
):
    make_channel(url=listener.url)
    listener.hang()
    runner = make_runner().start()
    operator.wait_for_end(operator.deploy(make_project("true")))
    wait_until(lambda: listener.requests, "it is being sent")
    runner.kill()
    listener.goes_on.set()
    outbox.is_due()

    make_runner().start()

    wait_until(lambda: [row.status for row in outbox.rows()] == ["sent", "sent"], "both are sent")
    first, again, *_ = listener.requests
    assert first.json["delivery"] == again.json["delivery"]
