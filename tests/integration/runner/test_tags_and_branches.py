"""Tags and further branches that a project's patterns take are deployed as what they are."""

from __future__ import annotations

import pytest

from deployer.errors import InvalidTransition
from deployer.models.project import Phase
from deployer.projects import StepInput
from tests.support.repository import git

SAY = 'echo "branch=$DEPLOY_BRANCH tag=${DEPLOY_TAG-} sha=$DEPLOY_SHA"; cat VERSION.txt'


@pytest.fixture
def project(operator, make_project):
    """A project that deploys main, release/* and the tags v*."""

    def made(*steps, **given):
        project = make_project(*steps, **given)
        operator.change_pushes(project, branch_patterns="main\nrelease/*", tag_patterns="v*")
        return project

    return made


def branch_off(repository, name: str, **files: str) -> str:
    """A commit on a branch of its own; main is checked out again."""
    repository.git("checkout", "--quiet", "-B", name)
    sha = repository.commit(f"on {name}", **files)
    repository.git("checkout", "--quiet", "main")
    return sha


def test_an_annotated_tag_is_deployed_at_its_commit_though_no_branch_has_it(operator, repository, project, runner):
    app = project(SAY)
    repository.commit(VERSION_txt="main\n")
    sha = branch_off(repository, "side", VERSION_txt="tagged\n")
    repository.git("tag", "--annotate", "--message", "autumn", "v1.0", sha)
    tag_object = repository.tip("v1.0")
    repository.git("branch", "--quiet", "-D", "side")
    assert tag_object != sha

    deployment = operator.wait_for_end(operator.pushed(app, tag_object, ref="refs/tags/v1.0"))

    assert deployment.status == "success", operator.log(deployment.id)
    assert (deployment.branch, deployment.commit_sha, deployment.deployed_sha) == ("refs/tags/v1.0", sha, sha)
    assert deployment.commit_message == "on side"
    assert operator.step_output(deployment.id) == f"branch= tag=v1.0 sha={sha}\ntagged\n".encode()
    assert git("-C", app.path, "describe", "--exact-match") == "v1.0"

    tip = repository.commit(VERSION_txt="newer\n")
    back = operator.wait_for_end(operator.pushed(app, tip))
    assert operator.step_output(back.id) == f"branch=main tag= sha={tip}\nnewer\n".encode()
    assert git("-C", app.path, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_branch_that_a_pattern_takes_is_checked_out_as_itself(operator, repository, project, runner):
    app = project(SAY)
    repository.commit(VERSION_txt="main\n")
    sha = branch_off(repository, "release/2", VERSION_txt="two\n")

    deployment = operator.wait_for_end(operator.pushed(app, sha, ref="refs/heads/release/2"))

    assert operator.step_output(deployment.id) == f"branch=release/2 tag= sha={sha}\ntwo\n".encode()
    assert git("-C", app.path, "symbolic-ref", "HEAD") == "refs/heads/release/2"


def test_the_projects_own_pull_gives_way_to_a_tag_and_to_another_branch(operator, repository, project, runner):
    app = project("git pull --quiet origin main", SAY)
    repository.commit(VERSION_txt="main\n")
    assert operator.wait_for_end(operator.deploy(app)).status == "success"
    sha = branch_off(repository, "release/2", VERSION_txt="two\n")
    repository.git("tag", "v2.0", sha)

    for ref in ("refs/heads/release/2", "refs/tags/v2.0"):
        deployment = operator.wait_for_end(operator.pushed(app, sha, ref=ref))
        assert (deployment.status, deployment.deployed_sha) == ("success", sha), operator.log(deployment.id)
        assert operator.step_output(deployment.id).endswith(b"two\n")


def test_a_tag_of_what_is_live_already_and_older_than_it_is_deployed_nevertheless(
    operator, repository, project, runner
):
    app = project(SAY)
    older = repository.commit(VERSION_txt="1\n")
    assert operator.wait_for_end(operator.pushed(app, repository.commit(VERSION_txt="2\n"))).status == "success"
    repository.git("tag", "v1.0", older)

    deployment = operator.wait_for_end(operator.pushed(app, older, ref="refs/tags/v1.0"))

    assert (deployment.status, deployment.deployed_sha) == ("success", older)


def test_a_late_push_is_measured_by_its_own_branch_and_not_by_a_tag(operator, repository, project, runner):
    app = project("true")
    late = repository.commit("late")
    newest = repository.commit("newest")
    assert operator.wait_for_end(operator.pushed(app, newest)).status == "success"
    tagged = branch_off(repository, "release/2")
    repository.git("tag", "v3.0", tagged)
    assert operator.wait_for_end(operator.pushed(app, tagged, ref="refs/tags/v3.0")).status == "success"

    deployment = operator.wait_for_end(operator.pushed(app, late))

    assert (deployment.status, deployment.cause) == (
        "superseded",
        f"what is live ({newest[:7]}) already contains {late[:7]}",
    )


def test_a_tag_that_was_moved_or_deleted_meanwhile_is_not_taken_for_the_one_asked_for(
    operator, repository, project, make_runner
):
    app = project("true")
    first, second = repository.commit(), repository.commit()
    repository.git("tag", "v1.0", first)
    moved = operator.pushed(app, first, ref="refs/tags/v1.0")
    gone = operator.pushed(app, first, ref="refs/tags/v0.9")
    repository.git("tag", "--force", "v1.0", second)
    make_runner().start()

    assert operator.wait_for_end(moved).cause == (
        f"the tag v1.0 is at {second[:7]} by now, not at {first[:7]}, which was asked for; "
        "push the tag again, or deploy a commit"
    )
    assert operator.wait_for_end(gone).status == "failed"
    assert b"The repository has no tag 'v0.9' any more." in operator.output(operator.commands(gone)[0])


def test_branches_and_tags_wait_side_by_side_and_only_the_same_one_is_superseded(operator, repository, project):
    app = project("true")
    shas = [repository.commit() for _ in range(3)]
    refs = ("refs/heads/main", "refs/heads/release/2", "refs/tags/v1", "refs/tags/v2")
    waiting = [operator.pushed(app, shas[0], ref=ref) for ref in refs]
    assert {operator.status(one) for one in waiting} == {"queued"}

    newer = operator.pushed(app, shas[1], ref="refs/tags/v1")

    assert [operator.status(one) for one in waiting] == ["queued", "queued", "superseded", "queued"]
    assert operator.status(newer) == "queued"


def test_a_deployment_of_a_tag_is_retried_as_long_as_the_project_takes_it(operator, repository, project, runner):
    app = project("[ -e ../well ]")
    sha = branch_off(repository, "side")
    repository.git("tag", "v1.0", sha)
    failed = operator.wait_for_end(operator.pushed(app, sha, ref="refs/tags/v1.0"))
    assert failed.status == "failed"
    with open(f"{app.path}/../well", "w"):
        pass

    again = operator.wait_for_end(operator.retry(failed.id))

    assert (again.status, again.branch, again.deployed_sha) == ("success", "refs/tags/v1.0", sha)
    operator.change_pushes(app, tag_patterns="")
    with pytest.raises(InvalidTransition, match=r"was of the tag v1\.0, but the project deploys"):
        operator.retry(failed.id)


def test_a_release_is_made_of_a_tag(operator, repository, project, runner, tmp_path):
    app = project(
        "true", StepInput("cat VERSION.txt", phase=Phase.ACTIVATE), strategy="release", path=str(tmp_path / "a")
    )
    repository.commit(VERSION_txt="main\n")
    sha = branch_off(repository, "side", VERSION_txt="tagged\n")
    repository.git("tag", "v1.0", sha)

    deployment = operator.wait_for_end(operator.pushed(app, sha, ref="refs/tags/v1.0"))

    assert deployment.status == "success", operator.log(deployment.id)
    assert operator.step_output(deployment.id, 1) == b"tagged\n"


def test_a_step_that_activates_an_earlier_release_is_told_of_its_tag(operator, repository, project, runner, tmp_path):
    tell = 'echo "$DEPLOY_RELEASE branch=$DEPLOY_BRANCH tag=${DEPLOY_TAG-}" >> ../../told'
    activates = [StepInput(tell, phase=Phase.ACTIVATE), StepInput("[ ! -e bad ]", phase=Phase.ACTIVATE)]
    app = project(*activates, strategy="release", path=str(tmp_path / "a"))
    first = repository.commit()
    assert operator.wait_for_end(operator.pushed(app, first)).status == "success"
    repository.git("tag", "v1.0", first)
    assert operator.wait_for_end(operator.pushed(app, first, ref="refs/tags/v1.0")).status == "success"

    assert operator.wait_for_end(operator.pushed(app, repository.commit(bad="yes\n"))).status == "failed"
    assert operator.wait_for_end(operator.roll_back(app, 1)).status == "success"
    assert operator.wait_for_end(operator.roll_back(app, 2)).status == "success"

    lines = (tmp_path / "a" / "told").read_text().splitlines()
    told = [line.partition("-")[0] + line[line.index(" ") :] for line in lines]
    main, tag = "branch=main tag=", "branch= tag=v1.0"
    assert told == [f"1 {main}", f"2 {tag}", f"3 {main}", f"2 {tag}", f"1 {main}", f"2 {tag}"]


def test_a_way_back_takes_the_place_of_what_waits_whatever_its_branch(
    operator, repository, project, make_runner, tmp_path
):
    app = project("true", strategy="release", path=str(tmp_path / "a"))
    runner = make_runner()
    runner.start()
    for _ in range(2):
        assert operator.wait_for_end(operator.pushed(app, repository.commit())).status == "success"
    runner.kill()
    sha = repository.commit()
    waiting = [operator.pushed(app, sha, ref=ref) for ref in ("refs/heads/release/2", "refs/tags/v1")]

    operator.roll_back(app)

    assert [operator.deployment(one).cause for one in waiting] == ["a rollback took its place"] * 2
