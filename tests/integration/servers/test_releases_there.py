"""Releases of another server: made there, switched to there, and gone back to there."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer.config import Config, SshSettings
from deployer.models import Server
from deployer.models.project import Phase
from deployer.project_input import StepInput
from tests.support.waiting import wait_until


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, ssh=SshSettings(reconnect_for=2))


@pytest.fixture
def project(make_project):
    return make_project("cat page.html", StepInput("cat page.html", phase=Phase.ACTIVATE), strategy="release")


@pytest.fixture
def deploy(operator, project, repository):
    def run(text: str):
        sha = repository.commit(text, page_html=f"{text}\n")
        return operator.wait_for_end(operator.pushed(project, sha))

    return run


@pytest.fixture
def root(user) -> Path:
    return Path(user.home) / ".deployer" / "checkouts" / "app.releases"


def test_a_release_is_made_there_and_gone_back_to_without_a_build(operator, project, deploy, root, runner):
    first, second = deploy("one"), deploy("two")

    back = operator.wait_for_end(operator.roll_back(project))

    assert (first.status, second.status) == ("success", "success"), operator.log(second.id)
    assert [str(one.kind) for one in operator.commands(second.id)] == [
        *("fetch", "send", "release", "step", "switch", "step", "prune")
    ]
    assert back.status == "success", operator.log(back.id)
    assert [str(one.kind) for one in operator.commands(back.id)] == ["switch", "step"]
    assert operator.step_output(back.id) == b"one\n"
    assert os.readlink(root / "current") == f"releases/1-{first.commit_sha[:7]}"
    assert operator.live(project) == f"1-{first.commit_sha[:7]}"
    assert operator.releases(project)[0].size_bytes > 0


def test_a_health_check_asks_where_the_steps_run(operator, project, deploy, root, runner):
    operator.change(project, health_command='test "$HOME" = ~ && grep -q one page.html', health_tries=1)
    first = deploy("one")

    second = deploy("two")

    assert first.status == "success", operator.log(first.id)
    assert second.status == "failed"
    assert "gone back to 1-" in second.cause
    assert (root / "current" / "page.html").read_text() == "one\n"


def test_a_rollback_to_a_server_that_lets_nobody_in_ends_and_says_so(operator, project, deploy, ssh, runner):
    first, second = deploy("one"), deploy("two")
    ssh.revoke_all()
    ssh.cut()

    back = operator.wait_for_end(operator.roll_back(project), within_s=60)

    assert back.status == "failed"
    assert "web1" in back.cause
    assert f"2-{second.commit_sha[:7]} is live" in back.cause
    assert first.status == "success"


def test_a_server_that_is_lost_while_it_switches_says_what_is_live_when_it_is_back(
    operator, project, deploy, repository, root, user, ssh, runner
):
    first = deploy("one")
    # A server so slow that it can be lost right after its rename.
    programs = user.owns_folder("programs")
    (programs / "mv").write_text('#!/bin/sh\n/bin/mv "$@" || exit\ncase $* in *current) sleep 60;; esac\n')
    (programs / "mv").chmod(0o755)
    with operator.database.write() as connection:
        connection.execute(sa.update(Server).values(extra_path=str(programs)))
    lost = operator.pushed(project, repository.commit("two", page_html="two\n"))
    wait_until(lambda: (root / "current" / "page.html").read_text() == "two\n", "the switch", within_s=40)
    keys = ssh.authorized
    ssh.revoke_all()
    ssh.cut()

    second = operator.wait_for_end(lost, within_s=60)

    assert second.status == "interrupted"
    assert second.cause.endswith("; which release is live could not be seen"), second.cause
    ssh.authorize(keys)
    (programs / "mv").unlink()
    # On record that one is the current, and may be gone back to all the same.
    back = operator.wait_for_end(operator.roll_back(project, 1))
    assert (back.status, (root / "current" / "page.html").read_text()) == ("success", "one\n")
    assert operator.deployment(back.id).former_release_id == second.release_id
    assert operator.live(project) == f"1-{first.commit_sha[:7]}"
