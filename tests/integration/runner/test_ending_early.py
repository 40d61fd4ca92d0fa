"""Cancel and timeout: everything that the command started ends, and nothing holds the runner."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deployer.deployments import claims
from deployer.executors import processes
from deployer.project_input import StepInput
from tests.support.waiting import wait_until


def is_gone(pid: int) -> bool:
    found = processes.stat(pid)
    return found is None or found.state in "ZX"


def pid_in(path: str) -> int:
    file = Path(path)
    return wait_until(lambda: int(file.read_text() or 0) if file.exists() else 0, f"a pid in {path}")


def test_a_queued_deployment_that_is_cancelled_never_begins(operator, make_project, make_runner):
    project = make_project("true")
    deployment_id = operator.deploy(project)

    assert operator.cancel(deployment_id, by="grace")

    runner = make_runner().start()
    following = operator.wait_for_end(operator.deploy(project))
    assert runner.is_running
    assert following.status == "success"
    assert operator.status(deployment_id) == "cancelled"
    assert operator.deployment(deployment_id).cause == "cancelled by grace before it began"
    assert operator.commands(deployment_id) == []


def test_a_cancel_ends_a_running_step_and_says_who_asked(operator, make_project, runner):
    deployment_id = operator.deploy(make_project("echo started; sleep 1000", "echo never"))
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id, by="grace")

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("cancelled", "cancelled by grace")
    first, second = operator.steps(deployment_id)
    assert (first.status, second.status) == ("cancelled", "skipped")
    assert "Cancelled by grace." in operator.remarks(first)


def test_a_cancel_ends_what_ignores_being_asked(operator, make_project, runner):
    project = make_project("trap '' TERM INT HUP; echo $$ > leader; echo started; while :; do sleep 0.1; done")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert is_gone(pid_in(f"{project.path}/leader"))


def test_a_step_may_tidy_up_in_the_grace_period(operator, make_project, runner):
    step = "trap 'echo tidied; exit 0' TERM; echo started; while :; do sleep 0.05 || :; done"
    deployment_id = operator.deploy(make_project(step))
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert b"tidied\n" in operator.step_output(deployment_id)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("sleep 1000 & echo $! > child", id="child"),
        pytest.param("(sleep 1000 & echo $! > child) &", id="double-forked"),
        pytest.param("setsid sh -c 'echo $$ > child; exec sleep 1000' &", id="session of its own"),
        pytest.param("(setsid sh -c 'echo $$ > child; exec sleep 1000' >/dev/null 2>&1 &) &", id="daemonised"),
        pytest.param("sh -c 'trap \"\" TERM; echo $$ > child; while :; do sleep 0.1; done' &", id="deaf"),
        pytest.param("env -i sh -c 'echo $$ > child; exec sleep 1000' &", id="without environment"),
        pytest.param(
            "env -i sh -c 'trap \"\" TERM; echo $$ > child; while :; do /bin/sleep 0.1; done' &",
            id="deaf and without environment",
        ),
    ],
)
def test_a_cancel_ends_grandchildren(operator, make_project, runner, start):
    project = make_project(f"{start}\nwhile [ ! -s child ]; do sleep 0.01; done\necho started; sleep 1000")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    child = pid_in(f"{project.path}/child")
    assert not is_gone(child)

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert is_gone(child)


def test_a_deployment_that_cannot_be_followed_any_more_ends_with_its_processes(
    operator, installation, make_project, runner
):
    deployment_id = operator.deploy(make_project("echo $$ > leader; echo started; sleep 1000", "echo never"))
    operator.wait_for_output(deployment_id, b"started")
    first, _ = operator.steps(deployment_id)
    leader = pid_in(f"{installation.data_dir.checkouts}/app/leader")
    output = installation.data_dir.spool / first.id / "output"
    output.rename(output.with_name("elsewhere"))
    output.mkdir()

    deployment = operator.wait_for_end(deployment_id)

    assert deployment.status == "failed"
    assert deployment.cause.startswith("an internal error: IsADirectoryError")
    wait_until(lambda: is_gone(leader), "the end of the step")
    first, second = operator.steps(deployment_id)
    assert (first.status, first.cause, second.status) == ("failed", deployment.cause, "skipped")
    assert first.finished_at is not None
    assert runner.is_running


def test_a_timeout_fails_the_deployment_and_ends_the_group(operator, make_project, runner):
    project = make_project(StepInput("sleep 1000 & echo $! > child; sleep 1000", name="slow", timeout_s=1))
    deployment_id = operator.deploy(project)

    deployment = operator.wait_for_end(deployment_id)

    assert (deployment.status, deployment.cause) == ("failed", "step 'slow' timed out after 1 s")
    assert is_gone(pid_in(f"{project.path}/child"))
    assert "Timed out after 1 s." in operator.remarks(operator.steps(deployment_id)[0])


def test_a_grandchild_that_holds_the_output_does_not_hold_the_deployment(operator, make_project, runner):
    began = time.monotonic()
    deployment = operator.wait_for_end(operator.deploy(make_project("sleep 1000 & echo $! > child; echo done")))

    assert deployment.status == "success"
    assert operator.step_output(deployment.id) == b"done\n"
    assert time.monotonic() - began < 10


def test_what_still_runs_after_a_success_is_named_and_left_alone(operator, make_project, runner):
    project = make_project("setsid sleep 1234.5 >/dev/null 2>&1 & echo $! > child", "true")
    deployment = operator.wait_for_end(operator.deploy(project))

    child = pid_in(f"{project.path}/child")
    assert deployment.status == "success"
    assert not is_gone(child)
    remarks = operator.remarks(operator.steps(deployment.id)[-1])
    assert f"Still running, and left alone: sleep 1234.5 (process {child})." in remarks


def test_a_cancel_that_was_asked_for_before_the_first_command_is_heeded(
    operator, installation, make_project, make_runner
):
    deployment_id = operator.deploy(make_project("echo never"))
    with installation.database.write() as connection:
        claims.claim(connection, "a runner that was killed", host_id=installation.host_id)
    operator.cancel(deployment_id, by="grace")

    make_runner().start()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("cancelled", "cancelled by grace")
    assert {command.status for command in operator.commands(deployment_id)} == {"skipped"}
