"""A project whose own first step is ``git pull`` keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.deployments import claims
from deployer.errors import ExecutorError, InvalidInput
from deployer.executors.local import LocalExecutor
from deployer.runner.deploy import Deploy
from tests.support.repository import git


def kinds(operator, deployment_id):
    return [command.kind for command in operator.commands(deployment_id)]


def test_the_working_copy_is_made_once_and_then_left_to_the_project(operator, repository, make_project, runner):
    project = make_project("git pull --ff-only", "cat VERSION.txt")
    repository.commit(VERSION_txt="1\n")
    first = operator.wait_for_end(operator.deploy(project))
    assert (first.status, kinds(operator, first.id)) == ("success", ["fetch", "clone", "step", "step"])

    tip = repository.commit(VERSION_txt="2\n")
    second = operator.wait_for_end(operator.deploy(project))

    assert (second.status, kinds(operator, second.id)) == ("success", ["fetch", "step", "step"])
    assert operator.step_output(second.id, 1) == b"2\n"
    assert second.deployed_sha == tip
    assert git("-C", project.path, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_the_commit_on_record_is_the_one_that_is_there_at_the_end(operator, repository, make_project, runner):
    """The step brings what it likes; a push names another commit."""
    older = repository.commit()
    pushed = repository.commit()
    project = make_project(f"git fetch --quiet && git reset --quiet --hard {older}")

    deployment = operator.wait_for_end(operator.pushed(project, pushed))

    assert (deployment.commit_sha, deployment.deployed_sha) == (pushed, older)


def test_a_detached_working_copy_is_put_back_on_its_branch(operator, repository, make_project, runner):
    project = make_project("git pull --ff-only")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    git("-C", project.path, "checkout", "--quiet", "--detach")
    tip = repository.commit()

    deployment = operator.wait_for_end(operator.deploy(project))

    assert kinds(operator, deployment.id) == ["fetch", "clone", "step"]
    assert (deployment.status, deployment.deployed_sha) == ("success", tip)


def test_a_branch_that_was_made_later_is_deployed_after_the_project_was_changed_to_it(
    operator, repository, make_project, runner
):
    project = make_project("git pull --ff-only", "cat VERSION.txt")
    repository.commit(VERSION_txt="main\n")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    repository.git("checkout", "--quiet", "-b", "later")
    repository.commit(VERSION_txt="later\n")
    project = operator.change(project, branch="later")

    first = operator.wait_for_end(operator.deploy(project))

    assert first.status == "success", operator.log(first.id)
    assert operator.step_output(first.id, 1) == b"later\n"
    tip = repository.commit(VERSION_txt="later still\n")
    second = operator.wait_for_end(operator.deploy(project))
    assert (second.status, second.deployed_sha) == ("success", tip)
    back = operator.wait_for_end(operator.deploy(operator.change(project, branch="main")))
    assert (back.status, operator.step_output(back.id, 1)) == ("success", b"main\n")


class SilentCopy(LocalExecutor):
    """A host on which git cannot be asked about one directory."""

    directory = ""

    def probe(self, argv, **given):
        if self.directory in argv:
            raise ExecutorError("git could not be asked: it takes too long.")
        return super().probe(argv, **given)


def test_a_commit_that_cannot_be_read_at_the_end_does_not_lose_a_success(operator, installation, make_project):
    project = make_project("git pull --ff-only", "echo done")
    deployment_id = operator.deploy(project)
    with installation.database.write() as connection:
        claims.claim(connection, "runner", host_id=installation.host_id)
    executor = SilentCopy(installation.data_dir.spool)
    executor.directory = project.path

    try:
        Deploy(installation, executor, None, "runner", deployment_id).run()
    finally:
        executor.close()

    found = operator.deployment(deployment_id)
    assert (found.status, found.cause, found.deployed_sha) == ("success", None, None)
    assert [step.status for step in operator.steps(deployment_id)] == ["success", "success"]


def test_a_copy_that_somebody_made_by_hand_is_taken_as_it_is(operator, repository, make_project, runner, tmp_path):
    copy = tmp_path / "by-hand"
    git("clone", "--quiet", repository.url, str(copy))
    (copy / "untracked").write_text("mine")
    project = make_project("git pull --ff-only", "cat untracked", path=str(copy))

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, kinds(operator, deployment.id)) == ("success", ["fetch", "step", "step"])
    assert operator.step_output(deployment.id, 1) == b"mine"


def test_a_certain_commit_takes_the_place_of_the_projects_own_pull(operator, repository, make_project, runner):
    project = make_project("git pull --ff-only", "cat VERSION.txt")
    older = repository.commit(VERSION_txt="1\n")
    newer = repository.commit(VERSION_txt="2\n")
    first = operator.wait_for_end(operator.deploy(project, commit=older))
    assert (first.status, first.deployed_sha, kinds(operator, first.id)) == (
        "success",
        older,
        ["fetch", "checkout", "step"],
    )
    assert operator.step_output(first.id) == b"1\n"
    assert operator.commands(first.id)[1].line == f"git checkout {older[:12]}  # instead of: git pull --ff-only"

    second = operator.wait_for_end(operator.deploy(project))
    assert (second.status, second.deployed_sha) == ("success", newer)
    assert operator.step_output(second.id, 1) == b"2\n"

    third = operator.wait_for_end(operator.deploy(project, commit=older))
    assert (third.status, third.deployed_sha) == ("success", older)
    assert git("-C", project.path, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_what_was_changed_by_hand_in_such_a_copy_is_kept_when_a_certain_commit_is_deployed(
    operator, repository, make_project, runner
):
    project = make_project("git pull --ff-only")
    older = repository.commit(VERSION_txt="1\n", SETTINGS_txt="given\n")
    repository.commit(VERSION_txt="2\n")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    settings = Path(project.path) / "SETTINGS.txt"
    settings.write_text("mine\n")

    deployment = operator.wait_for_end(operator.deploy(project, commit=older))

    assert (deployment.status, deployment.deployed_sha) == ("success", older)
    assert settings.read_text() == "mine\n"


def test_steps_that_bring_another_commit_than_the_one_asked_for_fail_the_deployment(
    operator, repository, make_project, runner
):
    project = make_project("git fetch", "git reset --quiet --hard origin/main")
    older = repository.commit()
    newer = repository.commit()

    deployment = operator.wait_for_end(operator.deploy(project, commit=older))

    assert (deployment.status, deployment.commit_sha, deployment.deployed_sha) == ("failed", older, newer)
    assert deployment.cause.startswith(f"the steps left the working copy at {newer[:7]}, not at the commit asked for")


def test_a_first_step_that_does_more_than_pull_cannot_give_way_to_a_certain_commit(
    operator, repository, make_project
):
    project = make_project("git pull && npm ci")

    with pytest.raises(InvalidInput) as refused:
        operator.deploy(project, commit=repository.tip())

    assert refused.value.fields["commit"].startswith("The first step does more than git pull")


def test_nor_does_it_when_the_step_was_changed_meanwhile(operator, repository, make_project, make_runner):
    project = make_project("git pull")
    deployment_id = operator.deploy(project, commit=repository.tip())
    operator.change(project, steps=["git pull && touch ran"])
    make_runner().start()

    deployment = operator.wait_for_end(deployment_id)

    assert deployment.status == "failed"
    assert deployment.cause.startswith("The first step does more than git pull")
    assert operator.commands(deployment_id) == []
