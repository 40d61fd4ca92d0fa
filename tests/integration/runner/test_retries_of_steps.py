"""A step that fails is tried again as often as it says, each try an entry of its own."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.models import Command
from deployer.project_input import StepInput
from deployer.runner import plan
from tests.support import killing
from tests.support.waiting import wait_until


def succeeds_at(number: int, *, retries: int, wait_s: int = 0) -> StepInput:
    """A step that leaves a mark each time it runs, and fails until it has run that often."""
    line = f'echo x >> ../begun; n=$(wc -l < ../begun); echo "this is $n"; [ "$n" -ge {number} ]'
    return StepInput(line, name="flaky", retries=retries, retry_wait_s=wait_s)


def begun(project) -> int:
    return len((Path(project.path).parent / "begun").read_text().split())


def facts(operator, deployment_id: str) -> list[tuple]:
    return [(one.name, one.attempt, one.status) for one in operator.steps(deployment_id)]


def wait_for_the_wait(operator, deployment_id: str):
    """Until the first try has failed and the second waits: that one."""

    def second():
        return next((one for one in operator.steps(deployment_id) if one.attempt == 2), None)

    return wait_until(second, "the second try's entry")


def test_a_step_that_succeeds_at_its_third_try_is_a_success_and_its_failed_tries_stay(operator, make_project, runner):
    project = make_project(succeeds_at(3, retries=4), StepInput("echo next", name="next"))

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.cause) == ("success", None)
    assert facts(operator, deployment.id) == [
        ("flaky", 1, "failed"),
        ("flaky", 2, "failed"),
        ("flaky", 3, "success"),
        ("next", 1, "success"),
    ]
    tries = operator.steps(deployment.id)[:3]
    assert [operator.output(one) for one in tries] == [b"this is 1\n", b"this is 2\n", b"this is 3\n"]
    assert [(one.exit_code, one.cause) for one in tries] == [
        (1, "step 'flaky' exited with 1"),
        (1, "step 'flaky' exited with 1"),
        (0, None),
    ]
    assert [operator.remarks(one) for one in tries] == [
        "Trying again: try 2 of 5.\n",
        "Trying again: try 3 of 5.\n",
        "",
    ]
    assert len({one.position for one in tries}) == 1
    numbers = [chunk.seq for chunk in operator.chunks(deployment.id)]
    assert numbers == sorted(set(numbers))


def test_a_deployment_that_fails_after_all_tries_says_how_many_there_were(operator, make_project, runner):
    project = make_project(StepInput("exit 7", name="npm ci", retries=2), "echo never")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.cause) == ("failed", "step 'npm ci' exited with 7, after 3 tries")
    assert [one.status for one in operator.steps(deployment.id)] == ["failed", "failed", "failed", "skipped"]
    assert operator.steps(deployment.id)[2].cause == "step 'npm ci' exited with 7"


def test_without_retries_nothing_is_said_of_tries(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("exit 7")))

    assert deployment.cause == "step 'exit 7' exited with 7"
    (step,) = operator.steps(deployment.id)
    assert operator.remarks(step) == ""


def test_a_step_that_takes_too_long_is_tried_again_with_its_whole_time(operator, make_project, runner):
    project = make_project(
        StepInput("echo x >> ../begun; [ $(wc -l < ../begun) = 2 ] || sleep 1000", timeout_s=1, retries=1)
    )

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "success"
    first, second = operator.steps(deployment.id)
    assert (first.status, second.status) == ("failed", "success")
    assert first.cause.endswith("timed out after 1 s")
    assert begun(project) == 2


def test_the_next_try_waits_as_long_as_the_step_says_and_the_log_tells(operator, make_project, runner):
    project = make_project(succeeds_at(2, retries=1, wait_s=1))

    deployment = operator.wait_for_end(operator.deploy(project))

    first, second = operator.steps(deployment.id)
    assert second.not_before >= first.started_at + timedelta(seconds=1)
    assert second.started_at >= second.not_before
    assert operator.remarks(first) == "Trying again in 1 s: try 2 of 2.\n"


def test_during_the_wait_the_deployment_runs_and_its_host_is_not_given_to_another(
    operator, make_project, runner, make_repository
):
    waiting = operator.deploy(make_project(StepInput("false", retries=1, retry_wait_s=3600)))
    wait_for_the_wait(operator, waiting)
    other = operator.deploy(make_project(name="other"))

    assert (operator.status(waiting), operator.status(other)) == ("running", "queued")
    operator.cancel(waiting)
    assert operator.wait_for_end(other).status == "success"


def test_a_cancel_during_the_wait_ends_it_at_once(operator, make_project, runner):
    project = make_project(StepInput("false", retries=5, retry_wait_s=3600), "echo never")
    deployment_id = operator.deploy(project)
    wait_for_the_wait(operator, deployment_id)

    operator.cancel(deployment_id)

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("cancelled", "cancelled by ada")
    assert [one.status for one in operator.steps(deployment_id)] == ["failed", "skipped", "skipped"]


def test_a_runner_that_is_killed_during_the_wait_leaves_the_rest_of_it_to_the_next(
    operator, make_project, make_runner
):
    project = make_project(succeeds_at(2, retries=1, wait_s=3))
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    before = wait_for_the_wait(operator, deployment_id)

    runner.kill()
    runner.start()

    assert operator.wait_for_end(deployment_id).status == "success"
    first, second = operator.steps(deployment_id)
    assert (second.id, second.not_before) == (before.id, before.not_before)
    assert second.started_at >= second.not_before
    assert begun(project) == 2
    assert operator.remarks(first) == "Trying again in 3 s: try 2 of 2.\n"


def test_a_wait_that_passed_while_no_runner_was_there_is_over(operator, make_project, make_runner):
    project = make_project(succeeds_at(2, retries=1, wait_s=1))
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    second = wait_for_the_wait(operator, deployment_id)
    runner.kill()
    wait_until(lambda: clock.now() > second.not_before, "the wait is over")

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "success"
    assert begun(project) == 2


def test_a_clock_that_was_set_back_does_not_make_the_wait_longer(operator, installation, make_project, make_runner):
    project = make_project(succeeds_at(2, retries=1, wait_s=1))
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    second = wait_for_the_wait(operator, deployment_id)
    runner.kill()
    with installation.database.write() as connection:
        later = second.not_before + timedelta(hours=1)
        connection.execute(sa.update(Command).where(Command.id == second.id).values(not_before=later))

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "success"


def test_a_cancel_is_heeded_by_the_runner_that_finds_the_wait(operator, make_project, make_runner):
    runner = make_runner().start()
    deployment_id = operator.deploy(make_project(StepInput("false", retries=1, retry_wait_s=3600)))
    wait_for_the_wait(operator, deployment_id)
    runner.kill()
    operator.cancel(deployment_id)

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "cancelled"


def test_a_step_that_was_cancelled_is_not_tried_again(operator, make_project, runner):
    deployment_id = operator.deploy(make_project(StepInput("echo started; sleep 1000", retries=3)))
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert [one.status for one in operator.steps(deployment_id)] == ["cancelled"]


def test_a_step_that_was_interrupted_is_not_tried_again(operator, make_project, make_runner):
    runner = make_runner().start()
    deployment_id = operator.deploy(make_project(StepInput("echo started; sleep 1000", retries=3)))
    operator.wait_for_output(deployment_id, b"started")
    runner.kill()
    killing.launcher_and_step(operator, deployment_id)

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "interrupted"
    assert [one.status for one in operator.steps(deployment_id)] == ["interrupted"]


def test_later_edits_of_the_step_do_not_change_how_often_a_running_deployment_tries_it(
    operator, make_project, make_runner
):
    runner = make_runner().start()
    project = make_project(succeeds_at(3, retries=2, wait_s=1))
    deployment_id = operator.deploy(project)
    wait_for_the_wait(operator, deployment_id)

    operator.change(project, steps=["echo changed"])

    assert operator.wait_for_end(deployment_id).status == "success"
    assert begun(project) == 3
    assert runner.is_running


def test_the_first_try_has_the_id_that_it_had_before_there_were_others():
    """A deployment that runs while Deployer is upgraded keeps its run directories."""
    deployment_id = "0194a1b2-0000-7000-8000-000000000000"

    ids = [
        plan.command_id(deployment_id, 2),
        plan.command_id(deployment_id, 2, 2),
        plan.command_id(deployment_id, 2, 3),
    ]

    assert ids[0] == "205ee7ce-a3d8-555d-bf4f-f9d56071ccaf"
    assert len(set(ids)) == 3


@pytest.mark.chaos
def test_a_runner_that_is_killed_at_random_points_makes_each_try_once(operator, make_project, make_runner, tmp_path):
    """Also as one try ends and the next begins, with and without a wait between them."""
    chance = random.Random(20250117)
    # Each counts in a folder of its own.
    projects = [
        make_project(step, "echo next", name=name, path=str(tmp_path / name / "copy"))
        for name, step in (
            ("at-once", succeeds_at(4, retries=3)),
            ("after-a-wait", succeeds_at(2, retries=1, wait_s=1)),
        )
    ]
    runner = make_runner()
    deployment_ids = [operator.deploy(project) for project in projects]

    kills = killing.until_all_ended(runner, operator, deployment_ids, chance)

    assert kills >= 5
    for deployment_id, tries in zip(deployment_ids, (4, 2), strict=True):
        deployment = operator.deployment(deployment_id)
        assert (deployment.status, deployment.cause) == ("success", None)
        *flaky, following = operator.steps(deployment_id)
        assert [one.attempt for one in flaky] == list(range(1, tries + 1))
        outputs = [operator.output(one) for one in flaky]
        assert outputs == [f"this is {number}\n".encode() for number in range(1, tries + 1)]
        assert operator.output(following) == b"next\n"
        said = b"".join(operator.remarks(one).encode() for one in flaky).count(b"Trying again")
        assert said == tries - 1
        numbers = [chunk.seq for chunk in operator.chunks(deployment_id)]
        assert numbers == sorted(set(numbers))
