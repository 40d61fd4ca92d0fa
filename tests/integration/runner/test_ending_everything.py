"""A cancel, and a timeout, end everything that a command started, within the grace period; and the queue goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deployer.executors import processes
from deployer.project_input import StepInput
from tests.support import leftovers
from tests.support.waiting import wait_until


@pytest.fixture
def left(tmp_path) -> Path:
    folder = tmp_path / "left"
    folder.mkdir()
    return folder


def started(operator, deployment_id: str, left: Path) -> None:
    operator.wait_for_output(deployment_id, b"started")
    assert len(leftovers.alive(left)) == len(leftovers.KINDS)


def test_a_cancel_ends_every_kind_of_child(operator, make_project, runner, left):
    deployment_id = operator.deploy(make_project(leftovers.step(left)))
    started(operator, deployment_id, left)

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert leftovers.alive(left) == set()
    # They were asked first, and what some of them then started was ended with them.
    assert {"late", "late-daemon"} <= set(leftovers.pids(left))


def test_a_timeout_ends_every_kind_of_child(operator, make_project, runner, left):
    deployment_id = operator.deploy(make_project(StepInput(leftovers.step(left), name="slow", timeout_s=5)))

    deployment = operator.wait_for_end(deployment_id)

    assert (deployment.status, deployment.cause) == ("failed", "step 'slow' timed out after 5 s")
    assert {"child", "a-deaf-daemon"} <= set(leftovers.pids(left))
    assert leftovers.alive(left) == set()


def test_what_was_left_by_a_step_that_has_ended_is_ended_with_a_later_one(operator, make_project, runner, left):
    """The leader of its session is gone by then; each of them carries the deployment's id."""
    kinds = {name: line for name, line in leftovers.KINDS.items() if "without environment" not in name}
    first = leftovers.step(left, then="true")
    deployment_id = operator.deploy(make_project(first, "echo second; sleep 1000"))
    operator.wait_for_output(deployment_id, b"second", 1)
    assert len(leftovers.alive(left)) >= len(kinds)

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert {name for name in leftovers.alive(left) if "without-environment" not in name} == set()


def test_what_stays_in_the_session_is_ended_though_its_leader_was_killed(operator, make_project, runner, left):
    deaf = leftovers.KINDS["deaf without environment"]
    asked = left.parent / "asked"
    waiting = "while [ ! -s $left/deaf-without-environment ]; do sleep 0.02; done; echo started"
    step = f"trap 'echo >{asked}' TERM\nleft={left}; {deaf}\n{waiting}; while :; do wait || :; done"
    deployment_id = operator.deploy(make_project(step))
    operator.wait_for_output(deployment_id, b"started")
    run = operator.installation.data_dir.spool / operator.steps(deployment_id)[0].id
    leader = int((run / "group").read_text())
    operator.cancel(deployment_id)
    wait_until(asked.exists, "the word that it is to end")
    os.kill(leader, signal.SIGKILL)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert leftovers.alive(left) == set()


def test_after_a_success_what_still_runs_is_named_and_left_alone(operator, make_project, runner, left):
    deployment = operator.wait_for_end(operator.deploy(make_project(leftovers.step(left, then="true"))))

    assert deployment.status == "success"
    assert len(leftovers.alive(left)) == len(leftovers.KINDS)
    remarks = operator.remarks(operator.steps(deployment.id)[-1])
    for name, pid in leftovers.pids(left).items():
        assert f"(process {pid})." in remarks, name
        os.kill(pid, signal.SIGKILL)


def test_the_next_in_the_queue_begins_right_after_a_cancel(operator, make_project, runner):
    deaf = "trap '' TERM; echo started; while :; do sleep 0.05; done"
    first = operator.deploy(make_project(deaf, "echo never", name="first"))
    operator.wait_for_output(first, b"started")
    second = operator.deploy(make_project("true", name="second"))

    operator.cancel(first)

    ended, begun = operator.wait_for_end(first), operator.wait_for_end(second)
    assert (ended.status, begun.status) == ("cancelled", "success")
    # None of the runner's own waits lies in between.
    assert 0 <= (begun.started_at - ended.finished_at).total_seconds() < 10


def test_what_left_the_session_and_its_environment_too_is_out_of_reach_and_holds_nothing_up(
    operator, make_project, runner, left
):
    """docs/security.md says so."""
    stray = f"env -i setsid sh -c 'echo $$ > {left}/stray; exec sleep 1000' </dev/null >/dev/null 2>&1 &"
    step = f"{stray}\nwhile [ ! -s {left}/stray ]; do sleep 0.02; done; echo started; sleep 1000"
    deployment_id = operator.deploy(make_project(step))
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    (pid,) = leftovers.pids(left).values()
    assert processes.stat(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: leftovers.alive(left) == set(), "the end of the stray")


def test_a_cancel_between_two_tries_ends_what_the_first_left(operator, make_project, runner, left):
    first = StepInput(leftovers.step(left, then="exit 1"), retries=1, retry_wait_s=600)
    deployment_id = operator.deploy(make_project(first))
    wait_until(lambda: "Trying again in 10 min" in operator.log(deployment_id), "the wait for another try")
    kinds = {name for name in leftovers.alive(left) if "without-environment" not in name}
    assert len(kinds) >= len(leftovers.KINDS) - 2

    operator.cancel(deployment_id)

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("cancelled", "cancelled by ada")
    # Whose session and environment are both gone cannot be known any more.
    assert {name for name in leftovers.alive(left) if "without-environment" not in name} == set()
    assert [step.status for step in operator.steps(deployment_id)] == ["failed", "skipped"]
