"""The working copy: made, brought to the commit, and never anybody else's files."""

from __future__ import annotations

import shutil

import pytest

from tests.support.repository import git


def test_a_directory_with_other_files_is_left_as_it_is(operator, make_project, runner, tmp_path):
    copy = tmp_path / "site"
    copy.mkdir()
    (copy / "index.html").write_text("precious")

    deployment = operator.wait_for_end(operator.deploy(make_project("true", path=str(copy))))

    assert deployment.status == "failed"
    assert f"{copy} holds files but is not a git working copy." in operator.log(deployment.id)
    assert [path.name for path in copy.iterdir()] == ["index.html"]
    assert (copy / "index.html").read_text() == "precious"


def test_an_empty_directory_becomes_the_working_copy(operator, make_project, runner, tmp_path):
    copy = tmp_path / "empty folder"
    copy.mkdir()

    deployment = operator.wait_for_end(operator.deploy(make_project("cat README.md", path=str(copy))))

    assert deployment.status == "success"
    assert (copy / "README.md").read_text() == "hello\n"


def test_a_directory_that_cannot_be_made_fails_with_gits_or_the_systems_words(
    operator, make_project, runner, tmp_path
):
    (tmp_path / "file").write_text("")

    deployment = operator.wait_for_end(operator.deploy(make_project("true", path=str(tmp_path / "file" / "copy"))))

    assert deployment.status == "failed"
    assert "Not a directory" in operator.log(deployment.id)


def test_changes_in_a_working_copy_give_way_and_untracked_files_stay(operator, repository, make_project, runner):
    project = make_project("cat README.md")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    with open(f"{project.path}/README.md", "w") as file:
        file.write("changed by hand\n")
    with open(f"{project.path}/node_modules", "w") as file:
        file.write("cache")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == b"hello\n"
    with open(f"{project.path}/node_modules") as file:
        assert file.read() == "cache"


@pytest.mark.parametrize("name", ["index.lock", "config.lock", "HEAD.lock"])
def test_a_stale_lock_in_our_own_copy_does_not_stop_a_deployment(operator, make_project, runner, name):
    """A git that was killed: in the making of the copy, for the origin is not there yet, or in a checkout."""
    project = make_project("true")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    git("-C", project.path, "remote", "remove", "origin")
    with open(f"{project.path}/.git/{name}", "w"):
        pass

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "success", operator.log(deployment.id)


def test_a_lock_in_a_copy_of_somebody_elses_is_left_alone(operator, repository, make_project, runner, tmp_path):
    """Whoever works there may hold it."""
    copy = tmp_path / "by-hand"
    git("clone", "--quiet", repository.url, str(copy))
    (copy / ".git" / "index.lock").touch()

    deployment = operator.wait_for_end(operator.deploy(make_project("true", path=str(copy))))

    assert deployment.status == "failed"
    assert "index.lock" in operator.log(deployment.id)
    assert (copy / ".git" / "index.lock").exists()


def test_a_file_that_looks_like_an_option_is_only_a_file(operator, repository, make_project, runner):
    (repository.path / "--upload-pack=touch pwned").write_text("x")
    repository.commit()

    deployment = operator.wait_for_end(operator.deploy(make_project("ls")))

    assert deployment.status == "success"
    assert operator.step_output(deployment.id) == b"--upload-pack=touch pwned\nREADME.md\n"


@pytest.mark.parametrize("where", ["mirror", "copy"])
def test_hooks_and_monitors_of_a_tampered_repository_never_run(
    operator, installation, repository, make_project, runner, tmp_path, where
):
    project = make_project("true")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    mark = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    evil.chmod(0o755)
    directory = str(installation.data_dir.mirror(project.id)) if where == "mirror" else f"{project.path}/.git"
    for key in ("core.fsmonitor", "core.pager", "core.editor", "credential.helper"):
        git(f"--git-dir={directory}", "config", key, str(evil))
    git(f"--git-dir={directory}", "config", "core.hooksPath", str(tmp_path))
    for hook in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc", "post-index-change"):
        for folder in (tmp_path, f"{directory}/hooks"):
            shutil.copy(evil, f"{folder}/{hook}")
    tip = repository.commit()

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.deployed_sha) == ("success", tip)
    assert not mark.exists()


def test_an_unreachable_repository_fails_with_gits_own_words(operator, make_project, runner, tmp_path):
    deployment = operator.wait_for_end(operator.deploy(make_project("true", url=str(tmp_path / "nowhere"))))

    assert deployment.status == "failed"
    assert deployment.cause.startswith(f"'git fetch {tmp_path}/nowhere' exited with 128. Check the address")
    assert "does not appear to be a git repository" in operator.log(deployment.id)
    assert [command.status for command in operator.commands(deployment.id)] == ["failed", "skipped", "skipped"]


def test_the_mirror_recovers_from_locks_of_a_fetch_that_was_killed(
    operator, installation, repository, make_project, runner
):
    project = make_project("true")
    assert operator.wait_for_end(operator.deploy(project)).status == "success"
    mirror = installation.data_dir.mirror(project.id)
    for name in ("packed-refs.lock", "refs/heads/main.lock", "HEAD.lock"):
        (mirror / name).write_text("")
    tip = repository.commit()

    assert operator.wait_for_end(operator.deploy(project)).deployed_sha == tip
