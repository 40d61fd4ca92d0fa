"""The same on a server: a cancel, and a timeout, end there whatever a command started."""

from __future__ import annotations

import pytest

from deployer.projects import StepInput
from tests.support import leftovers


@pytest.fixture
def left(user):
    return user.owns_folder("left")


def test_a_cancel_ends_every_kind_of_child_there(operator, make_project, runner, left):
    deployment_id = operator.deploy(make_project(leftovers.step(left)))
    operator.wait_for_output(deployment_id, b"started")
    assert len(leftovers.alive(left)) == len(leftovers.KINDS)

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert leftovers.alive(left) == set()
    assert {"late", "late-daemon"} <= set(leftovers.pids(left))


def test_a_timeout_ends_every_kind_of_child_there(operator, make_project, runner, left):
    deployment_id = operator.deploy(make_project(StepInput(leftovers.step(left), name="slow", timeout_s=5)))

    deployment = operator.wait_for_end(deployment_id)

    assert (deployment.status, deployment.cause) == ("failed", "step 'slow' timed out after 5 s")
    assert {"child", "a-deaf-daemon"} <= set(leftovers.pids(left))
    assert leftovers.alive(left) == set()


def test_the_next_in_the_servers_queue_begins_right_after_a_cancel(operator, make_project, runner):
    first = operator.deploy(make_project("trap '' TERM; echo started; while :; do sleep 0.05; done", name="first"))
    operator.wait_for_output(first, b"started")
    second = operator.deploy(make_project("true", name="second"))

    operator.cancel(first)

    ended, begun = operator.wait_for_end(first), operator.wait_for_end(second)
    assert (ended.status, begun.status) == ("cancelled", "success")
    assert 0 <= (begun.started_at - ended.finished_at).total_seconds() < 10
