"""Releases: built beside what is live, switched to, gone back from when they are not well, and rolled back to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from deployer import projects
from deployer.errors import InvalidTransition, NotFound
from deployer.models.project import FileFormat, Phase
from deployer.project_input import StepInput
from tests.support.waiting import wait_until

RESTART = "echo up >> ../../restarted; cat page.html >> ../../restarted"


def activating(command: str, **given) -> StepInput:
    return StepInput(command, phase=Phase.ACTIVATE, **given)


@pytest.fixture
def make_releases(make_project, tmp_path):
    """A project with releases in a directory of the test's own."""

    def make(*steps, **given):
        given.setdefault("path", str(tmp_path / "site"))
        return make_project(*steps, strategy="release", **given)

    return make


@pytest.fixture
def deploy(operator, repository):
    """Commits a page, deploys it, and waits for the end."""

    def run(project, text: str):
        repository.commit(text, page_html=f"{text}\n")
        return operator.wait_for_end(operator.deploy(project))

    return run


def names(project) -> list[str]:
    return sorted(os.listdir(Path(project.path) / "releases"), key=lambda name: int(name.partition("-")[0]))


def served(project) -> str:
    return (Path(project.path) / "current" / "page.html").read_text()


def kinds(operator, deployment) -> list[str]:
    return [str(command.kind) for command in operator.commands(deployment.id)]


def test_a_deployment_makes_a_release_switches_to_it_and_activates_it(operator, make_releases, deploy, runner):
    project = make_releases("pwd; echo built > built", activating("pwd; cat built"), shared_paths="storage/")

    deployment = deploy(project, "one")

    assert (deployment.status, deployment.cause) == ("success", None), operator.log(deployment.id)
    assert kinds(operator, deployment) == ["fetch", "release", "step", "switch", "step", "prune"]
    name = f"1-{deployment.commit_sha[:7]}"
    assert operator.step_output(deployment.id, 0).decode() == f"{project.path}/releases/{name}\n"
    assert operator.step_output(deployment.id, 1).decode() == f"{project.path}/current\nbuilt\n"
    assert os.readlink(f"{project.path}/current") == f"releases/{name}"
    assert os.readlink(f"{project.path}/current/storage") == "../../shared/storage"
    assert (operator.live(project), deployment.deployed_sha) == (name, deployment.commit_sha)
    assert operator.releases(project)[0].size_bytes > 0


def test_a_failed_build_leaves_what_is_live_untouched(operator, make_releases, deploy, runner):
    project = make_releases("test ! -e broken", activating(RESTART))
    first = deploy(project, "one")
    repository = Path(project.repository_url)
    (repository / "broken").write_text("yes")

    second = deploy(project, "two")

    assert second.status == "failed"
    assert second.cause == f"step 'test ! -e broken' exited with 1; 1-{first.commit_sha[:7]} is live"
    assert served(project) == "one\n"
    assert (Path(project.path) / "restarted").read_text() == "up\none\n"
    assert [one.status for one in operator.commands(second.id)][3:] == ["skipped"] * 3


def test_a_failed_activation_goes_back_to_the_former_release_and_activates_it_as_it_was(
    operator, make_releases, deploy, runner
):
    project = make_releases("true", activating(RESTART))
    first = deploy(project, "one")
    # What activated the former release is what is run for it, whatever the steps are by now.
    operator.change(project, steps=["true", activating("echo new >> ../../restarted; exit 3", name="restart")])

    second = deploy(project, "two")

    former = f"1-{first.commit_sha[:7]}"
    assert second.status == "failed"
    assert second.cause == f"step 'restart' exited with 3; gone back to {former}, which is live again"
    assert served(project) == "one\n"
    assert (Path(project.path) / "restarted").read_text() == "up\none\nnew\nup\none\n"
    assert operator.live(project) == former
    assert second.deployed_sha is None
    with pytest.raises(InvalidTransition, match="was never live"):
        operator.roll_back(project, 2)
    assert kinds(operator, second) == ["fetch", "release", "step", "switch", "step", "prune", "back", "step"]
    assert [one.status for one in operator.commands(second.id)][4:] == ["failed", "skipped", "success", "success"]


def test_on_the_way_back_a_step_is_told_of_the_release_that_it_activates(operator, make_releases, deploy, runner):
    tell = "echo $DEPLOY_RELEASE $DEPLOY_SHA $DEPLOY_AUTHOR >> ../../told"
    project = make_releases("true", activating(tell))
    first = deploy(project, "one")
    operator.change(project, steps=["true", activating(f"{tell}; exit 1")])

    second = deploy(project, "two")

    lines = [f"{n}-{one.commit_sha[:7]} {one.commit_sha} Ada Lovelace" for n, one in ((1, first), (2, second))]
    assert (Path(project.path) / "told").read_text().splitlines() == [lines[0], lines[1], lines[0]]


def test_a_failed_health_check_goes_back_too(operator, make_releases, deploy, runner):
    project = make_releases("true", health_command="grep -q one page.html", health_tries=2, health_interval_s=1)
    first = deploy(project, "one")

    second = deploy(project, "two")

    assert first.status == "success", operator.log(first.id)
    assert second.status == "failed"
    assert second.cause == (
        "health check: grep -q one page.html: exited with 1, at the end of 2 tries; "
        f"gone back to 1-{first.commit_sha[:7]}, which is live again"
    )
    assert served(project) == "one\n"


def test_the_first_release_has_none_to_go_back_to(operator, make_releases, deploy, runner):
    project = make_releases("true", activating("exit 1", name="restart"))

    only = deploy(project, "one")

    assert only.status == "failed"
    assert only.cause == (
        f"step 'restart' exited with 1; 1-{only.commit_sha[:7]} is live, since there is none to go back to"
    )
    assert served(project) == "one\n"


def test_a_way_back_that_fails_says_what_is_live(operator, make_releases, deploy, runner):
    project = make_releases("true", activating("test ! -e ../../down", name="restart"))
    first = deploy(project, "one")
    (Path(project.path) / "down").write_text("")

    second = deploy(project, "two")

    former = f"1-{first.commit_sha[:7]}"
    assert second.cause == (
        f"step 'restart' exited with 1; the way back to {former} did not end well either: "
        f"step 'restart' exited with 1; {former} is live"
    )
    assert (operator.live(project), served(project)) == (former, "one\n")


def test_a_step_after_the_switch_that_is_tried_again_goes_back_only_after_its_last_try(
    operator, make_releases, deploy, runner
):
    again = activating("test -e ../../ready || { touch ../../ready; exit 1; }", name="restart", retries=1)
    project = make_releases("true", again)

    first = deploy(project, "one")
    (Path(project.path) / "ready").unlink()
    second = deploy(project, "two")

    assert (first.status, second.status) == ("success", "success"), operator.log(second.id)
    assert served(project) == "two\n"


def test_a_former_release_that_somebody_removed_is_not_gone_back_to(operator, make_releases, deploy, runner):
    project = make_releases("true", activating("test ! -e ../../down", name="restart"))
    first = deploy(project, "one")
    (Path(project.path) / "down").touch()
    operator.change(project, steps=["true", activating("rm -r ../1-*; exit 1", name="restart")])

    second = deploy(project, "two")

    former, now = f"1-{first.commit_sha[:7]}", f"2-{second.commit_sha[:7]}"
    assert second.cause == (
        f"step 'restart' exited with 1; the way back to {former} did not end well either: back: The release {former} "
        f"is not there any more: {project.path}/releases/{former}; {now} is live"
    )
    assert (operator.live(project), served(project)) == (now, "two\n")


def test_a_directory_in_the_place_of_current_is_left_alone_and_said(operator, make_releases, deploy, runner):
    project = make_releases("true")
    deploy(project, "one")
    current = Path(project.path) / "current"
    current.unlink()
    current.mkdir()

    second = deploy(project, "two")

    assert second.cause == (
        f"switch: {current} is not the link that Deployer makes there. Move it away; which release is live could not "
        "be seen"
    )
    current.rmdir()
    assert deploy(project, "three").status == "success"


def test_a_cancel_after_the_switch_stays_and_says_so(operator, make_releases, deploy, repository, runner):
    project = make_releases("true", activating("echo on its way; [ $DEPLOY_RELEASE = 1-* ] || sleep 60", name="up"))
    repository.commit("one", page_html="one\n")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"on its way", 1)

    operator.cancel(deployment_id)
    deployment = operator.wait_for_end(deployment_id)

    assert deployment.status == "cancelled"
    assert deployment.cause.startswith("cancelled by ada; 1-")
    assert " is live" in deployment.cause
    assert operator.live(project) == f"1-{deployment.commit_sha[:7]}"


# Rolling back -----------------------------------------------------------------------------------------------------


def test_a_rollback_only_switches_and_activates(operator, make_releases, deploy, runner):
    project = make_releases("echo build >> ../../built", activating(RESTART))
    first, second = deploy(project, "one"), deploy(project, "two")

    back = operator.wait_for_end(operator.roll_back(project))

    assert back.status == "success", operator.log(back.id)
    assert (back.trigger, back.commit_sha, back.deployed_sha) == ("rollback", first.commit_sha, first.commit_sha)
    assert kinds(operator, back) == ["switch", "step"]
    assert (Path(project.path) / "built").read_text() == "build\nbuild\n"
    assert (Path(project.path) / "restarted").read_text() == "up\none\nup\ntwo\nup\none\n"
    assert served(project) == "one\n"
    # And forward again, by its number.
    forth = operator.wait_for_end(operator.roll_back(project, 2))
    assert (forth.status, served(project)) == ("success", "two\n")
    assert operator.live(project) == f"2-{second.commit_sha[:7]}"


def test_a_rollback_that_fails_goes_back_to_where_it_came_from(operator, make_releases, deploy, runner):
    project = make_releases("true", activating("test ! -e broken", name="restart"))
    deploy(project, "one")
    second = deploy(project, "two")
    (Path(project.path) / "releases" / names(project)[0] / "broken").write_text("")

    back = operator.wait_for_end(operator.roll_back(project))

    now = f"2-{second.commit_sha[:7]}"
    assert (back.status, back.cause) == (
        "failed",
        f"step 'restart' exited with 1; gone back to {now}, which is live again",
    )
    assert (operator.live(project), served(project)) == (now, "two\n")


@pytest.mark.parametrize("is_on_record", [True, False])
def test_a_release_whose_directory_is_gone_is_built_again_and_says_so(
    operator, make_releases, deploy, runner, is_on_record
):
    project = make_releases("echo build >> ../../built", keep_releases=1 if is_on_record else 5)
    first = deploy(project, "one")
    deploy(project, "two")
    if not is_on_record:
        shutil.rmtree(Path(project.path) / "releases" / names(project)[0])
    assert names(project)[0].startswith("2-")

    back = operator.wait_for_end(operator.roll_back(project))

    assert back.status == "success", operator.log(back.id)
    assert kinds(operator, back)[:3] == ["fetch", "release", "step"]
    assert operator.commands(back.id)[1].line == "make the release again, whose directory is gone"
    assert (operator.live(project), served(project)) == (f"1-{first.commit_sha[:7]}", "one\n")
    assert operator.releases(project)[0].removed_at is None


def test_a_rollback_goes_to_the_front_and_supersedes_pushes_that_wait(
    operator, make_releases, deploy, repository, make_runner
):
    project = make_releases()
    runner = make_runner().start()
    deploy(project, "one")
    deploy(project, "two")
    runner.kill()
    other = operator.make_project(repository.url, name="other")
    waiting = operator.deploy(other)
    push = operator.pushed(project, repository.commit("three", page_html="three\n"))
    back = operator.roll_back(project)

    runner.start()
    operator.wait_for_end(back)
    operator.wait_for_end(waiting)

    superseded = operator.deployment(push)
    assert (superseded.status, superseded.cause) == ("superseded", "a rollback took its place")
    assert operator.deployment(back).started_at < operator.deployment(waiting).started_at
    assert served(project) == "one\n"


def test_there_must_be_a_release_to_go_back_to(operator, make_project, make_releases, deploy, runner):
    project = make_releases()
    with pytest.raises(InvalidTransition, match="no release before the current one"):
        operator.roll_back(project)
    deploy(project, "one")
    with pytest.raises(InvalidTransition, match="is the current one already"):
        operator.roll_back(project, 1)
    with pytest.raises(NotFound, match="has no release 7"):
        operator.roll_back(project, 7)
    with pytest.raises(InvalidTransition, match="has no releases"):
        operator.roll_back(make_project(name="other"))


def test_a_build_that_was_never_live_is_not_gone_back_to(operator, make_releases, deploy, runner):
    project = make_releases("test -e ok", path="")
    deploy(project, "one")

    with pytest.raises(InvalidTransition, match="was never live"):
        operator.roll_back(project, 1)


def test_a_push_after_a_rollback_is_deployed_though_the_rollback_was_newer(
    operator, make_releases, deploy, repository, runner
):
    project = make_releases()
    deploy(project, "one")
    deploy(project, "two")
    operator.wait_for_end(operator.roll_back(project))

    sha = repository.commit("three", page_html="three\n")
    third = operator.wait_for_end(operator.pushed(project, sha))

    assert (third.status, served(project)) == ("success", "three\n")


def test_a_retried_rollback_is_a_rollback(operator, make_releases, deploy, runner):
    project = make_releases("true", activating("test ! -e ../../down", name="restart"))
    deploy(project, "one")
    deploy(project, "two")
    down = Path(project.path) / "down"
    down.write_text("")
    back = operator.wait_for_end(operator.roll_back(project))
    down.unlink()

    again = operator.wait_for_end(operator.retry(back.id))

    assert (back.status, again.status, again.trigger) == ("failed", "success", "rollback")
    assert served(project) == "one\n"


def test_what_is_current_but_was_not_activated_is_gone_back_to_by_a_retry(operator, make_releases, deploy, runner):
    project = make_releases(
        "true", activating("echo up; test ! -e ../../down; [ -e ../../ready ] || sleep 60", name="up")
    )
    ready = Path(project.path) / "ready"
    ready.parent.mkdir()
    ready.touch()
    first = deploy(project, "one")
    deploy(project, "two")
    ready.unlink()
    back = operator.roll_back(project)
    operator.wait_for_output(back, b"up")
    operator.cancel(back)
    cancelled = operator.wait_for_end(back)
    ready.touch()
    ready.with_name("down").touch()
    failed = operator.wait_for_end(operator.retry(back))
    ready.with_name("down").unlink()

    again = operator.wait_for_end(operator.retry(back))

    assert cancelled.cause == f"cancelled by ada; 1-{first.commit_sha[:7]} is live"
    assert failed.cause == f"step 'up' exited with 1; 1-{first.commit_sha[:7]} is live"
    assert (again.status, again.trigger) == ("success", "rollback")
    assert operator.step_output(again.id) == b"up\n"
    with pytest.raises(InvalidTransition, match="is the current one already"):
        operator.retry(back)


def test_the_release_before_the_current_is_the_one_that_was_live_before_it(operator, make_releases, deploy, runner):
    project = make_releases()
    deploy(project, "one")
    deploy(project, "two, which is not well")
    operator.wait_for_end(operator.roll_back(project))
    deploy(project, "three")

    back = operator.wait_for_end(operator.roll_back(project))

    assert (back.status, served(project)) == ("success", "one\n")


# What is kept -----------------------------------------------------------------------------------------------------


def test_the_last_ones_are_kept_and_the_current_one_whatever_its_age(operator, make_releases, deploy, runner):
    project = make_releases(keep_releases=2)
    for text in ("one", "two", "three"):
        deploy(project, text)
    assert [name[:2] for name in names(project)] == ["2-", "3-"]
    assert [one.removed_at is None for one in operator.releases(project)] == [False, True, True]

    operator.wait_for_end(operator.roll_back(project))
    four = deploy(project, "four")

    assert four.status == "success"
    assert [name[:2] for name in names(project)] == ["3-", "4-"]


def test_what_a_failed_build_left_is_removed_by_the_next_deployment(operator, make_releases, deploy, runner):
    project = make_releases("test ! -e broken")
    deploy(project, "one")
    broken = Path(project.repository_url) / "broken"
    broken.write_text("")
    deploy(project, "two")
    deploy(project, "three")
    assert [name[:2] for name in names(project)] == ["1-", "3-"]
    broken.unlink()

    assert deploy(project, "four").status == "success"
    assert [name[:2] for name in names(project)] == ["1-", "4-"]


def test_old_releases_that_cannot_be_removed_do_not_fail_a_deployment(operator, make_releases, deploy, runner):
    project = make_releases("mkdir stubborn; touch stubborn/x; chmod 0 stubborn", keep_releases=1)
    deploy(project, "one")
    held = Path(project.path) / "releases" / names(project)[0]
    # Nobody removes a mount point.
    if os.getuid() == 0 and os.system(f"mount -t tmpfs none {held} 2>/dev/null") == 0:
        try:
            second = deploy(project, "two")
        finally:
            os.system(f"umount {held}")
        assert (second.status, second.cause) == ("success", None)
        assert operator.commands(second.id)[-1].status == "failed"
        assert served(project) == "two\n"
    else:
        pytest.skip("needs a user who may mount")


# Whatever happens to the runner -------------------------------------------------------------------------------------


def test_a_runner_that_is_killed_on_the_way_back_goes_on_with_it(operator, make_releases, deploy, make_runner):
    runner = make_runner().start()
    project = make_releases(
        "true", activating("echo $DEPLOY_ID >> ../../restarted; grep -q one page.html", name="up")
    )
    first = deploy(project, "one")
    operator.change(project, steps=["true", activating("sleep 0.3; exit 1", name="up")])
    repository_url = Path(project.repository_url)
    (repository_url / "page.html").write_text("two\n")
    os.system(f"git -C {repository_url} commit -qam two")
    second = operator.deploy(project)

    for kind in ("switch", "back"):
        wait_until(
            lambda kind=kind: any(str(one.kind) == kind for one in operator.commands(second)), f"a command {kind}"
        )
        runner.kill()
        runner.start()
    ended = operator.wait_for_end(second)

    former = f"1-{first.commit_sha[:7]}"
    assert ended.cause == f"step 'up' exited with 1; gone back to {former}, which is live again"
    assert (operator.live(project), served(project)) == (former, "one\n")
    assert (Path(project.path) / "restarted").read_text().split() == [first.id, second]


# Settings -----------------------------------------------------------------------------------------------------------


def test_a_project_may_change_from_a_working_copy_to_releases_and_back(
    operator, make_project, repository, deploy, runner
):
    project = make_project("true")
    assert deploy(project, "one").status == "success"

    project = operator.change(project, strategy="release")
    second = deploy(project, "two")
    assert second.status == "success", operator.log(second.id)
    assert (operator.live(project), served(project)) == (f"1-{second.commit_sha[:7]}", "two\n")

    project = operator.change(project, strategy="checkout")
    assert operator.live(project) is None
    third = deploy(project, "three")
    assert (third.status, third.deployed_sha) == ("success", repository.tip())


def test_a_working_copy_in_the_releases_directory_is_not_built_into(operator, make_project, deploy, runner, tmp_path):
    project = make_project("true", path=str(tmp_path / "site"))
    deploy(project, "one")

    project = operator.change(project, strategy="release", path=str(tmp_path / "site"))
    second = deploy(project, "two")

    assert second.status == "failed"
    assert "holds a working copy" in second.cause
    assert not (tmp_path / "site" / "releases").exists()


def test_what_was_live_before_a_project_was_elsewhere_is_found_again(operator, make_releases, deploy, runner):
    project = make_releases("test ! -e broken", activating("test ! -e ../../down", name="restart"))
    first = deploy(project, "one")
    operator.change(project, path=f"{project.path}-elsewhere")
    project = operator.change(project, path=project.path)
    (Path(project.path) / "down").touch()

    second = deploy(project, "two")

    live = f"1-{first.commit_sha[:7]}"
    assert f"step 'restart' exited with 1; the way back to {live} did not end well either" in second.cause
    assert (operator.live(project), served(project)) == (live, "one\n")


def test_a_rollback_of_a_project_that_has_no_releases_any_more_does_nothing(
    operator, make_releases, deploy, make_runner
):
    runner = make_runner().start()
    project = make_releases("true")
    deploy(project, "one")
    deploy(project, "two")
    runner.kill()
    back = operator.roll_back(project)
    operator.change(project, strategy="checkout", path="", steps=["git pull", "true"])

    runner.start()
    ended = operator.wait_for_end(back)

    assert (ended.status, kinds(operator, ended)) == ("failed", [])
    assert ended.cause == "The project has no releases any more: its strategy was changed meanwhile."


# Health checks without releases ------------------------------------------------------------------------------------


def test_a_health_check_follows_the_steps_of_a_working_copy(operator, make_project, deploy, runner):
    project = make_project("true", health_command="grep -q one page.html", health_tries=1)

    first, second = deploy(project, "one"), deploy(project, "two")

    assert kinds(operator, first) == ["fetch", "checkout", "step", "health"]
    assert first.status == "success"
    assert (second.status, second.cause) == (
        "failed",
        "health check: grep -q one page.html: exited with 1, at the end of 1 try",
    )


def test_the_variables_file_is_written_into_the_release_before_its_build(operator, make_releases, deploy, runner):
    project = make_releases("cat .env", activating("cat .env"))
    operator.set_variable(project, "GREETING", "it's me")
    with operator.database.write_session() as session:
        found = projects.find(session, project.id)
        found.variables_file, found.variables_format = ".env", FileFormat.DOTENV

    deployment = deploy(project, "one")

    assert deployment.status == "success", operator.log(deployment.id)
    assert kinds(operator, deployment)[1:4] == ["release", "variables", "step"]
    assert b"GREETING=" in operator.step_output(deployment.id, 0)
    assert operator.step_output(deployment.id, 1) == operator.step_output(deployment.id, 0)


def test_a_health_check_that_hangs_is_said_to_have_timed_out(operator, make_project, deploy, runner):
    project = make_project("true", health_command="echo asking; sleep 60", health_tries=1, health_deadline_s=1)

    deployment = deploy(project, "one")

    assert deployment.status == "failed"
    assert deployment.cause == "'echo asking; sleep 60' timed out after 16 s"


@pytest.mark.parametrize("before", [485, 3], ids=["what the cause has room for", "what is read of the output"])
def test_a_secret_is_not_shown_by_half_in_a_cause(operator, make_project, deploy, runner, before):
    """The command ends the check itself, so that its own last line is the check's."""
    secret = "Correct-Horse-Battery-Staple"
    behind = 3 if before > 3 else 4000 - len(secret) - 18
    project = make_project(
        "true", health_command=f'printf "%0{before}d%s%0{behind}d\\n" 1 "$TOKEN" 1; kill -9 $PPID', health_tries=1
    )
    operator.set_variable(project, "TOKEN", secret, secret=True)

    deployment = deploy(project, "one")

    assert deployment.status == "failed"
    assert deployment.cause.startswith("health check: 0")
    assert not any(secret[n : n + 4] in deployment.cause for n in range(len(secret) - 3)), deployment.cause
