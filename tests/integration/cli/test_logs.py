"""``logs``"""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from tests.support.daemon import APP
from tests.support.waiting import wait_until


@pytest.fixture
def begin(there, repository, request):
    """A deployment of these steps; its id and its reference."""

    def start(*steps: str) -> tuple[str, str]:
        made = there.make_project(repository.url, steps, name=request.node.name.replace("_", "-")[5:60].strip("-"))
        deployment_id = there.deploy(made)
        return deployment_id, f"DEP-{there.deployment(deployment_id).number:04d}"

    return start


@pytest.fixture
def follower(at_daemon):
    """``logs … --follow`` as it runs; its output is read line by line."""
    started = []

    def start(ref: str) -> subprocess.Popen[str]:
        argv = [sys.executable, str(APP), "logs", ref, "--follow"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        started.append(subprocess.Popen(argv, cwd=at_daemon.folder, env=at_daemon.environment, text=True, **pipes))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def test_an_ended_one_is_shown_with_its_commands_how_long_they_took_and_its_result(at_daemon, there, begin):
    deployment_id, ref = begin("echo one", "printf 'no newline'; exit 3", "echo never")
    there.wait_for_end(deployment_id)

    lines = at_daemon("logs", ref, "--follow", code=1).stdout.splitlines()

    at = lines.index("▶ echo one")
    assert lines[at + 1] == "one"
    assert re.fullmatch(r"✓ \(\d.*s\)", lines[at + 2])
    assert lines[at + 3 : at + 5] == ["▶ printf 'no newline'; exit 3", "no newline"]
    assert re.fullmatch(r"✗ .*exited with 3 \(.*\)", lines[at + 5])
    assert lines[-1].startswith(f"{ref} failed: ")
    assert "▶ echo never" not in lines
    # Without --follow the exit code says that it could be shown.
    assert at_daemon("logs", deployment_id).stdout.splitlines() == lines


def test_a_running_one_is_shown_as_far_as_it_is(at_daemon, there, begin, tmp_path):
    deployment_id, ref = begin(f"echo started; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done")
    there.wait_for_output(deployment_id, b"started")

    lines = at_daemon("logs", ref).stdout.splitlines()

    assert lines[-2:] == ["started", f"{ref} running"]
    (tmp_path / "go").touch()
    there.wait_for_end(deployment_id)


def test_a_queued_one_is_followed_from_its_beginning_to_its_end(there, begin, follower, tmp_path):
    first, before = begin(f"echo started; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done")
    there.wait_for_output(first, b"started")
    project_id = there.deployment(first).project_id
    with there.database.write() as connection:
        from deployer.deployments import queue

        second = queue.deploy_by_hand(connection, project_id, "ada", 100, None)
    ref = f"DEP-{there.deployment(second).number:04d}"

    following = follower(ref)
    assert following.stdout.readline() == f"{ref} is queued: {before} is running\n"
    (tmp_path / "go").touch()
    said, errors = following.communicate(timeout=60)

    assert following.returncode == 0
    assert said.splitlines()[-1] == f"{ref} success"
    assert "started" in said.splitlines()
    assert (errors, "\x1b" in said) == ("", False)


def test_a_line_is_shown_while_the_step_runs_and_leaving_cancels_nothing(there, begin, follower, tmp_path):
    deployment_id, ref = begin(f"echo started; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo ended")
    following = follower(ref)
    while following.stdout.readline() != "started\n":
        assert following.poll() is None
    before = there.deployment(deployment_id)

    following.send_signal(signal.SIGINT)
    said, errors = following.communicate(timeout=60)

    assert following.returncode == 130
    assert f"{ref} goes on" in errors
    assert "Traceback" not in errors
    assert there.deployment(deployment_id) == before
    (tmp_path / "go").touch()
    assert there.wait_for_end(deployment_id).status == "success"
    assert said == ""


def test_what_deployer_says_is_told_from_what_the_command_says(at_daemon, there, begin):
    deployment_id, ref = begin("sleep 300 & echo output")
    there.wait_for_end(deployment_id)
    remarks = there.remarks(there.steps(deployment_id)[0])
    assert remarks

    lines = at_daemon("logs", ref).stdout.splitlines()

    assert "output" in lines
    assert [line for line in lines if line.startswith("deployer: ")] == [
        f"deployer: {remark}" for remark in remarks.splitlines()
    ]


def test_a_cancelled_one_ends_with_code_one(there, begin, follower):
    deployment_id, ref = begin("echo started; sleep 1000")
    following = follower(ref)
    while following.stdout.readline() != "started\n":
        assert following.poll() is None
    there.cancel(deployment_id)

    said, _ = following.communicate(timeout=60)

    assert following.returncode == 1
    assert said.splitlines()[-1].startswith(f"{ref} cancelled")


def test_a_reader_who_leaves_ends_it_quietly(there, begin, follower):
    deployment_id, ref = begin("seq 1 200000")
    there.wait_for_end(deployment_id)
    following = follower(ref)
    following.stdout.readline()
    following.stdout.close()

    wait_until(lambda: following.poll() is not None, "its end", within_s=60)
    assert "Traceback" not in following.stderr.read()


def test_one_that_is_not_there_is_told(at_daemon):
    assert at_daemon("logs", "DEP-999999", code=1).stderr == "Error: Deployment not found\n"
