"""Which commit is deployed, and what is on record of it."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from deployer.executors.local import LocalExecutor
from deployer.runner.commit import Repository
from tests.support.repository import git


def test_a_manual_deployment_takes_the_tip_and_learns_its_author_and_message(
    operator, repository, make_project, runner
):
    project = make_project("cat VERSION.txt")
    tip = repository.commit("Second: more words", VERSION_txt="2\n")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.commit_sha, deployment.deployed_sha) == (tip, tip)
    assert (deployment.author_name, deployment.author_email) == ("Ada Lovelace", "ada@example.com")
    assert deployment.commit_message == "Second: more words"
    assert operator.step_output(deployment.id) == b"2\n"


def test_a_pushed_commit_is_deployed_even_when_the_branch_has_gone_on(operator, repository, make_project, runner):
    project = make_project("cat VERSION.txt")
    pushed = repository.commit(VERSION_txt="pushed\n")
    repository.commit(VERSION_txt="later\n")

    deployment = operator.wait_for_end(operator.pushed(project, pushed))

    assert (deployment.status, deployment.deployed_sha) == ("success", pushed)
    assert operator.step_output(deployment.id) == b"pushed\n"


def test_a_push_that_arrives_after_a_newer_one_was_deployed_ends_superseded(
    operator, repository, make_project, runner
):
    project = make_project("true")
    older = repository.commit()
    newer = repository.commit()
    assert operator.wait_for_end(operator.pushed(project, newer)).deployed_sha == newer

    late = operator.wait_for_end(operator.pushed(project, older))

    assert late.status == "superseded"
    assert late.cause == f"what is live ({newer[:7]}) already contains {older[:7]}"
    assert git("-C", project.path, "rev-parse", "HEAD") == newer


def test_the_present_tip_can_be_pushed_again(operator, repository, make_project, runner):
    project = make_project("true")
    for _ in range(2):
        deployment = operator.wait_for_end(operator.pushed(project, repository.tip()))
        assert deployment.status == "success"


def test_a_commit_that_is_not_on_the_branch_fails_with_what_to_do(operator, repository, make_project, runner):
    project = make_project("true")
    repository.git("checkout", "--quiet", "-b", "other")
    elsewhere = repository.commit()

    deployment = operator.wait_for_end(operator.pushed(project, elsewhere))

    assert deployment.status == "failed"
    assert f"commit {elsewhere[:7]} is not on the branch main" in deployment.cause
    assert "deploy its newest" in deployment.cause


def test_a_commit_that_a_force_push_has_removed_fails(operator, repository, make_project, runner):
    project = make_project("true")
    gone = repository.commit()
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "--quiet", "--prune=now")

    deployment = operator.wait_for_end(operator.pushed(project, gone))

    assert deployment.status == "failed"
    assert "is not on the branch main" in deployment.cause


def test_a_rewritten_branch_is_followed(operator, repository, make_project, runner):
    project = make_project("cat VERSION.txt")
    repository.commit(VERSION_txt="first\n")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    repository.git("reset", "--quiet", "--hard", "HEAD~1")
    rewritten = repository.commit(VERSION_txt="rewritten\n")

    deployment = operator.wait_for_end(operator.pushed(project, rewritten))

    assert (deployment.status, deployment.deployed_sha) == ("success", rewritten)
    assert operator.step_output(deployment.id) == b"rewritten\n"


def test_a_branch_that_does_not_exist_fails_with_its_name(operator, make_project, runner):
    project = make_project("true", branch="release")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert "The repository has no branch 'release'." in operator.log(deployment.id)


def test_tags_of_the_branchs_name_do_not_confuse_it(operator, repository, make_project, runner):
    project = make_project("cat VERSION.txt")
    repository.git("tag", "main")
    tip = repository.commit(VERSION_txt="branch\n")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.deployed_sha) == ("success", tip)
    assert operator.step_output(deployment.id) == b"branch\n"


@pytest.mark.parametrize("digits", [40, 12, 7])
def test_a_certain_commit_is_deployed_also_behind_what_is_live(operator, repository, make_project, runner, digits):
    project = make_project("cat VERSION.txt")
    older = repository.commit("Older", VERSION_txt="older\n")
    repository.commit("Newer", VERSION_txt="newer\n")
    assert operator.wait_for_end(operator.deploy(project)).commit_message == "Newer"

    deployment = operator.wait_for_end(operator.deploy(project, commit=older[:digits].upper()))

    assert (deployment.status, deployment.commit_sha, deployment.deployed_sha) == ("success", older, older)
    assert deployment.commit_message == "Older"
    assert operator.step_output(deployment.id) == b"older\n"


def test_a_commit_that_nobody_knows_fails_with_what_to_do(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("true"), commit="0123abc"))

    assert deployment.status == "failed"
    assert deployment.cause == (
        "commit 0123abc is not on the branch main; give a commit of that branch or, if it was rewritten, "
        "deploy its newest"
    )


def test_a_certain_commit_of_another_branch_is_not_deployed(operator, repository, make_project, runner):
    repository.git("checkout", "--quiet", "-b", "other")
    elsewhere = repository.commit()

    deployment = operator.wait_for_end(operator.deploy(make_project("true"), commit=elsewhere[:7]))

    assert deployment.status == "failed"
    assert f"commit {elsewhere[:7]} is not on the branch main" in deployment.cause


def test_a_branch_or_tag_that_is_named_like_a_commit_is_not_mistaken_for_it(
    operator, repository, make_project, runner
):
    project = make_project("cat VERSION.txt")
    wanted = repository.commit(VERSION_txt="wanted\n")
    repository.commit(VERSION_txt="newer\n")
    repository.git("branch", wanted[:8])
    repository.git("tag", "--annotate", "--message", "x", wanted[:9])

    deployments = [operator.wait_for_end(operator.deploy(project, commit=wanted[:n])) for n in (8, 9)]

    assert [one.deployed_sha for one in deployments] == [wanted, wanted]


def test_the_beginning_of_several_commits_is_asked_to_be_longer(repository, installation):
    """With the same names and times the ids are the same in each run, and of so many some begin alike."""
    lines = []
    for number in range(1500):
        words = f"number {number}"
        lines += ["commit refs/heads/main", "committer A <a@b> 1700000000 +0000", f"data {len(words)}", words]
    subprocess.run(
        ["git", "-C", str(repository.path), "fast-import", "--quiet", "--force"],
        input="\n".join([*lines, ""]).encode(),
        check=True,
    )
    beginnings = [sha[:4] for sha in repository.git("rev-list", "main").split()]
    shared = next(one for one in beginnings if beginnings.count(one) > 1)
    alone = next(sha for sha in repository.git("rev-list", "main").split() if beginnings.count(sha[:4]) == 1)
    with contextlib.closing(LocalExecutor(installation.data_dir.spool)) as executor:
        questions = Repository(executor, repository.path / ".git")
        ambiguous, clear = questions.settle("main", shared, None), questions.settle("main", alone[:4], None)

    assert ambiguous.cause == f"{shared} is the beginning of several commits; give more digits of its id"
    assert clear.sha == alone
