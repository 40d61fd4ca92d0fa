"""A project whose own first step is ``git pull`` keeps it."""

from __future__ import annotations

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


def test_a_copy_that_somebody_made_by_hand_is_taken_as_it_is(operator, repository, make_project, runner, tmp_path):
    copy = tmp_path / "by-hand"
    git("clone", "--quiet", repository.url, str(copy))
    (copy / "untracked").write_text("mine")
    project = make_project("git pull --ff-only", "cat untracked", path=str(copy))

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, kinds(operator, deployment.id)) == ("success", ["fetch", "step", "step"])
    assert operator.step_output(deployment.id, 1) == b"mine"
