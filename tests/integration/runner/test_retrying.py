"""The commit of an ended deployment again: from the first step, or from the one that failed."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer.deployments import retry
from deployer.errors import InvalidInput, InvalidTransition, NotFound, QueueFull
from deployer.models import Deployment
from deployer.models.deployment import reference
from deployer.project_input import StepInput
from tests.support.repository import git
from tests.support.waiting import wait_until

ONCE = "echo one; echo x >> ../built"
MENDED = "[ -e ../mended ]"


def mend(project) -> None:
    (Path(project.path).parent / "mended").touch()


def built(project) -> int:
    return len((Path(project.path).parent / "built").read_text().split())


def facts(operator, deployment_id: str) -> list[tuple]:
    return [(one.kind, one.name, one.status, one.cause) for one in operator.commands(deployment_id)]


def names_of(*deployments) -> list[str]:
    return [reference(one.number) for one in deployments]


@pytest.fixture
def project(make_project):
    """Three steps, of which the second fails until it is mended."""
    return make_project(ONCE, StepInput(MENDED, name="restart"), "echo last; cat VERSION.txt")


@pytest.fixture
def failed(operator, repository, project, runner):
    """A deployment that failed at its second step, of a commit behind which the branch went on."""
    repository.commit("Older", VERSION_txt="older\n")
    deployment = operator.wait_for_end(operator.pushed(project, repository.tip()))
    assert deployment.status == "failed"
    repository.commit("Newer", VERSION_txt="newer\n")
    return deployment


def test_a_retry_runs_all_steps_of_the_same_commit_again(operator, repository, project, failed):
    mend(project)

    again = operator.wait_for_end(operator.retry(failed.id, by="grace"))

    assert (again.status, again.trigger, again.triggered_by) == ("success", "retry", "grace")
    assert (again.retry_of, again.from_step) == (failed.id, None)
    assert again.commit_sha == again.deployed_sha == failed.commit_sha != repository.tip()
    assert (again.commit_message, again.author_name) == ("Older", "Ada Lovelace")
    assert operator.step_output(again.id, 2) == b"last\nolder\n"
    assert built(project) == 2


def test_a_retry_from_the_failed_step_leaves_out_what_succeeded_and_says_where(operator, project, failed):
    mend(project)

    again = operator.wait_for_end(operator.retry(failed.id, from_failed=True))

    assert (again.status, again.from_step, again.deployed_sha) == ("success", 1, failed.commit_sha)
    (ref,) = names_of(failed)
    assert facts(operator, again.id) == [
        ("fetch", "fetch", "success", None),
        ("checkout", "checkout", "success", None),
        ("step", ONCE, "skipped", f"succeeded in {ref}"),
        ("step", "restart", "success", None),
        ("step", "echo last; cat VERSION.txt", "success", None),
    ]
    assert built(project) == 1


def test_a_chain_of_such_retries_names_the_deployment_in_which_a_step_really_ran(operator, project, failed):
    second = operator.wait_for_end(operator.retry(failed.id, from_failed=True))
    assert second.status == "failed"
    mend(project)

    third = operator.wait_for_end(operator.retry(second.id, from_failed=True))

    assert third.status == "success"
    (ref,) = names_of(failed)
    assert operator.steps(third.id)[0].cause == f"succeeded in {ref}"
    assert built(project) == 1


def test_a_step_that_failed_after_several_tries_is_gone_on_with_as_one(operator, make_project, runner):
    project = make_project(StepInput(ONCE, name="build"), StepInput(MENDED, name="restart", retries=2))
    first = operator.wait_for_end(operator.deploy(project))
    assert first.cause == "step 'restart' exited with 1, after 3 tries"
    mend(project)

    again = operator.wait_for_end(operator.retry(first.id, from_failed=True))

    assert [(one.name, one.status) for one in operator.steps(again.id)] == [
        ("build", "skipped"),
        ("restart", "success"),
    ]


def test_a_step_that_succeeded_at_a_later_try_is_not_the_failed_one(operator, make_project, runner):
    flaky = StepInput("echo x >> ../begun; [ $(wc -l < ../begun) = 2 ]", name="flaky", retries=1)
    project = make_project(flaky, StepInput(MENDED, name="restart"))
    first = operator.wait_for_end(operator.deploy(project))
    mend(project)

    again = operator.wait_for_end(operator.retry(first.id, from_failed=True))

    assert (again.status, again.from_step) == ("success", 1)
    assert [one.status for one in operator.steps(again.id)] == ["skipped", "success"]


def test_where_the_first_step_failed_that_is_the_first_step(operator, make_project, runner):
    first = operator.wait_for_end(operator.deploy(make_project("false", "true")))

    again = operator.wait_for_end(operator.retry(first.id, from_failed=True))

    assert again.from_step is None
    assert [one.status for one in operator.steps(again.id)] == ["failed", "skipped"]


def test_retries_and_pushes_do_not_take_each_others_place(operator, repository, project, failed, gate_step):
    gate, gated = gate_step
    busy = operator.deploy(operator.make_project(repository.url, [gated], name="busy"))
    operator.wait_for_output(busy, b"started")
    first_push = operator.pushed(project, repository.tip())
    again = operator.retry(failed.id)
    second_push = operator.pushed(project, repository.tip())

    assert [operator.status(one) for one in (first_push, again, second_push)] == ["superseded", "queued", "queued"]
    gate.touch()
    for one in (again, second_push):
        operator.wait_for_end(one)


@pytest.fixture
def gate_step(tmp_path):
    gate = tmp_path / "gate"
    yield gate, f"echo started; while [ ! -e {gate} ]; do sleep 0.01; done"
    gate.touch()


# Projects that pull by themselves


def test_a_project_that_pulls_by_itself_is_retried_at_the_commit_and_not_at_the_newest(
    operator, repository, make_project, runner
):
    project = make_project("git pull --ff-only", ONCE, MENDED, "cat VERSION.txt")
    repository.commit(VERSION_txt="older\n")
    first = operator.wait_for_end(operator.deploy(project))
    assert (first.status, first.deployed_sha) == ("failed", repository.tip())
    repository.commit(VERSION_txt="newer\n")
    mend(project)

    again = operator.wait_for_end(operator.retry(first.id, from_failed=True))

    assert (again.status, again.from_step, again.deployed_sha) == ("success", 2, first.deployed_sha)
    assert [(one.kind, one.status) for one in operator.commands(again.id)] == [
        ("fetch", "success"),
        ("checkout", "success"),
        ("step", "skipped"),
        ("step", "success"),
        ("step", "success"),
    ]
    # And once more, of one in which the pull had given way.
    third = operator.wait_for_end(operator.retry(again.id))
    assert (third.status, third.deployed_sha, built(project)) == ("success", first.deployed_sha, 2)


def test_of_a_retry_whose_pull_gave_way_the_failed_step_is_found_again(operator, make_project, runner):
    project = make_project("git pull --ff-only", ONCE, MENDED)
    first = operator.wait_for_end(operator.deploy(project))
    second = operator.wait_for_end(operator.retry(first.id))
    assert second.status == "failed"
    mend(project)

    third = operator.wait_for_end(operator.retry(second.id, from_failed=True))

    assert (third.status, third.from_step, built(project)) == ("success", 2, 2)
    (ref,) = names_of(second)
    assert operator.steps(third.id)[0].cause == f"succeeded in {ref}"


def test_a_first_step_that_does_more_than_pull_is_refused_unless_it_need_not_run(operator, make_project, runner):
    project = make_project("git pull --ff-only && echo x >> ../built", MENDED)
    first = operator.wait_for_end(operator.deploy(project))
    with pytest.raises(InvalidInput) as refused:
        operator.retry(first.id)
    assert refused.value.fields["commit"].startswith("The first step does more than git pull")
    mend(project)

    again = operator.wait_for_end(operator.retry(first.id, from_failed=True))

    assert (again.status, again.deployed_sha, built(project)) == ("success", first.deployed_sha, 1)
    assert [(one.kind, one.status) for one in operator.commands(again.id)] == [
        ("fetch", "success"),
        ("step", "skipped"),
        ("step", "success"),
    ]
    assert git("-C", project.path, "symbolic-ref", "HEAD") == "refs/heads/main"


# What is refused


def refusal(operator, deployment_id: str, **wanted) -> str:
    with pytest.raises(InvalidTransition) as refused:
        operator.retry(deployment_id, **wanted)
    return str(refused.value)


def test_steps_that_have_changed_up_to_the_failed_one_are_not_gone_on_with(operator, project, failed):
    (ref,) = names_of(failed)
    operator.change(project, steps=["make build", MENDED, "true"])
    assert refusal(operator, failed.id, from_failed=True) == (
        f"The steps of the project have changed since {ref}, which ended at 'restart'. Retry it from the first step."
    )

    operator.change(project, steps=[ONCE, "true", MENDED])
    assert "have changed" in refusal(operator, failed.id, from_failed=True)
    operator.change(project, steps=[ONCE])
    assert "have changed" in refusal(operator, failed.id, from_failed=True)

    # What comes after it, and names, may be others by now.
    operator.change(project, steps=[StepInput(ONCE, name="build"), MENDED, "echo another"])
    mend(project)
    assert operator.wait_for_end(operator.retry(failed.id, from_failed=True)).status == "success"


def test_a_working_copy_in_which_another_deployment_ran_is_not_gone_on_with(operator, project, failed):
    later = operator.wait_for_end(operator.deploy(project))

    ref, other = names_of(failed, later)
    assert refusal(operator, failed.id, from_failed=True) == (
        f"{other} has run since, so the working copy is not as {ref} left it. Retry it from the first step."
    )
    mend(project)
    assert operator.wait_for_end(operator.retry(failed.id)).status == "success"


def test_what_changes_while_such_a_retry_waits_ends_it_with_what_to_do(
    operator, repository, project, failed, gate_step
):
    gate, gated = gate_step
    busy = operator.deploy(operator.make_project(repository.url, [gated], name="busy"))
    operator.wait_for_output(busy, b"started")
    waiting = operator.retry(failed.id, from_failed=True)
    operator.change(project, steps=["make build", MENDED])
    gate.touch()

    deployment = operator.wait_for_end(waiting)

    assert deployment.status == "failed"
    assert "have changed" in deployment.cause
    assert deployment.cause.endswith("Retry it from the first step.")
    assert operator.commands(waiting) == []


def test_a_deployment_before_it_in_the_queue_counts_too(operator, repository, project, failed, gate_step):
    gate, gated = gate_step
    busy = operator.deploy(operator.make_project(repository.url, [gated], name="busy"))
    operator.wait_for_output(busy, b"started")
    before = operator.deploy(project)
    waiting = operator.retry(failed.id, from_failed=True)
    gate.touch()

    deployment = operator.wait_for_end(waiting)

    (ref,) = names_of(operator.deployment(before))
    assert deployment.status == "failed"
    assert deployment.cause.startswith(f"{ref} has run since")


def test_what_has_not_ended_is_not_retried(operator, make_project):
    deployment_id = operator.deploy(make_project())

    assert refusal(operator, deployment_id) == "DEP-0001 has not ended yet. Cancel it or wait for its end."


def test_what_came_to_no_commit_is_not_retried(operator, make_project, runner):
    lost = operator.wait_for_end(operator.deploy(make_project(branch="nowhere")))

    assert refusal(operator, lost.id) == (
        "DEP-0001 came to no commit that could be run again. Deploy the newest instead."
    )


def test_what_was_of_another_branch_is_not_retried(operator, project, failed):
    operator.change(project, branch="next")

    assert "was of the branch main, but the project deploys next by now." in refusal(operator, failed.id)


def test_where_no_step_failed_there_is_none_to_go_on_with(operator, make_project, runner):
    well = operator.wait_for_end(operator.deploy(make_project()))
    cancelled = operator.deploy(make_project("echo started; sleep 1000", name="other"))
    operator.wait_for_output(cancelled, b"started")
    operator.cancel(cancelled)
    operator.wait_for_end(cancelled)

    for one in (well.id, cancelled):
        assert "No step of" in refusal(operator, one, from_failed=True)


def test_a_project_without_steps_and_a_full_queue_and_nothing_at_all_are_refused(operator, project, failed):
    with operator.database.write() as connection, pytest.raises(QueueFull):
        retry.retry(connection, failed.id, "ada", 0)
    with pytest.raises(NotFound):
        operator.retry("no-such-deployment")
    operator.change(project, steps=[])
    with pytest.raises(InvalidInput) as refused:
        operator.retry(failed.id)
    assert "steps" in refused.value.fields


def test_a_retry_survives_a_kill_between_its_skipped_steps_and_its_first(
    operator, repository, make_project, make_runner
):
    project = make_project(ONCE, "echo started; while [ ! -e ../mended ]; do sleep 0.01; done")
    runner = make_runner().start()
    first = operator.deploy(project)
    operator.wait_for_output(first, b"started", 1)
    operator.cancel(first)
    operator.wait_for_end(first)
    operator.change(project, steps=[ONCE, "exit 3", "true"])
    failed = operator.wait_for_end(operator.deploy(project))
    runner.kill()
    again = operator.retry(failed.id, from_failed=True)

    runner.start()
    wait_until(lambda: operator.commands(again), "the plan")
    runner.kill()
    runner.start()

    deployment = operator.wait_for_end(again)
    assert deployment.cause == "step 'exit 3' exited with 3"
    assert [one.status for one in operator.steps(again)] == ["skipped", "failed", "skipped"]
    assert built(project) == 2


@pytest.mark.parametrize("own_pull", [False, True], ids=["checked out", "pulled by a step"])
def test_a_retry_of_what_could_not_be_brought_brings_it(operator, repository, make_project, runner, own_pull):
    """What lies in the working copy then is the commit before, and nobody asked for that one again."""
    project = make_project(*(["git pull --ff-only"] if own_pull else []), "git rev-parse HEAD")
    before = repository.tip()
    assert operator.wait_for_end(operator.pushed(project, before)).status == "success"
    wanted = repository.commit("wanted", page_txt="new")
    in_the_way = Path(project.path) / "page.txt"
    in_the_way.mkdir()
    (in_the_way / "kept").touch()
    (in_the_way / "kept").chmod(0o400)
    git("-C", project.path, "config", "core.worktree", "/nowhere")
    failed = operator.wait_for_end(operator.pushed(project, wanted))
    git("-C", str(Path(project.path) / ".git"), "config", "--file", "config", "--unset", "core.worktree")
    shutil.rmtree(in_the_way)

    again = operator.wait_for_end(operator.retry(failed.id))

    assert (failed.status, failed.deployed_sha) == ("failed", None)
    assert (again.status, again.deployed_sha) == ("success", wanted)


def test_what_ran_since_is_known_also_after_the_clock_was_put_back(operator, repository, project, failed):
    assert operator.wait_for_end(operator.deploy(project)).status == "failed"
    with operator.database.write() as connection:
        connection.execute(
            sa.update(Deployment)
            .where(Deployment.id != failed.id)
            .values(started_at=failed.started_at - timedelta(hours=1))
        )
    mend(project)

    with pytest.raises(InvalidTransition, match="has run since"):
        operator.retry(failed.id, from_failed=True)
