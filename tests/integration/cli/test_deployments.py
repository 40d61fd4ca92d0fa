"""``deploy`` and ``cancel``"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest

from deployer.project_input import StepInput
from tests.support.daemon import APP


@pytest.fixture
def make(there, repository):
    return lambda name, *steps: there.make_project(repository.url, steps, name=name)


def test_following_shows_each_command_its_output_and_the_result_in_order(at_daemon, make, busy):
    make("shown", "echo one; echo two >&2", "printf 'no newline'")

    lines = at_daemon("deploy", "shown", "--follow").stdout.splitlines()

    assert lines[0].startswith("DEP-")
    assert f" {busy.config.public_url}/deployments/" in lines[0]
    reference = lines[0].split()[0]
    at = lines.index("▶ echo one; echo two >&2")
    assert lines[at + 1 : at + 3] == ["one", "two"]
    assert lines[at + 3].startswith("✓ (")
    assert lines[at + 4] == "▶ printf 'no newline'"
    assert lines[at + 5].startswith("no newline")
    assert lines[-1] == f"{reference} success"


def test_a_certain_commit_is_deployed(at_daemon, make, there, repository):
    made = make("certain", "true")

    at_daemon("deploy", "certain", "--commit", repository.tip()[:7], "--follow")
    refused = at_daemon("deploy", "certain", "--commit", "main", code=1)

    assert [one.deployed_sha for one in there.deployments() if one.project_id == made.id] == [repository.tip()]
    assert "Give a commit's id" in refused.stderr


def test_following_a_failure_ends_with_its_cause_and_code_one(at_daemon, make):
    make("broken", "echo before; exit 3", "echo never")

    done = at_daemon("deploy", "broken", "--follow", code=1)

    lines = done.stdout.splitlines()
    assert lines[-1].endswith(" failed: step 'echo before; exit 3' exited with 3")
    assert "before" in lines
    assert "never" not in lines
    assert done.stderr == ""


def test_following_shows_each_try_of_a_step_in_its_place(at_daemon, there, repository):
    steps = [StepInput("echo now; exit 3", retries=1), "echo never"]
    there.make_project(repository.url, steps, name="flaky")

    lines = at_daemon("deploy", "flaky", "--follow", code=1).stdout.splitlines()

    at = lines.index("▶ echo now; exit 3")
    assert lines[at + 1 : at + 3] == ["now", "deployer: Trying again: try 2 of 2."]
    assert lines[at + 3].startswith("✗ step 'echo now; exit 3' exited with 3 (")
    assert lines[at + 4 : at + 6] == ["▶ echo now; exit 3 (try 2 of 2)", "now"]
    assert lines[-1].endswith(" failed: step 'echo now; exit 3' exited with 3, after 2 tries")
    assert "never" not in lines


def test_a_deployment_is_retried_by_its_reference_from_the_failed_step_or_whole(at_daemon, there, make):
    made = make("again", "echo one", "exit 3")
    first = there.wait_for_end(there.deploy(made))
    ref = f"DEP-{first.number:04d}"

    lines = at_daemon("retry", ref, "--from-failed", "--follow", code=1).stdout.splitlines()
    at_daemon("retry", first.id)

    _, second, third = [one for one in there.deployments() if one.project_id == made.id]
    assert (second.retry_of, second.from_step, third.from_step) == (first.id, 1, None)
    assert second.triggered_by.endswith(" (command line)")
    assert lines[0].startswith(f"DEP-{second.number:04d} http://")
    assert f"– echo one: succeeded in {ref}" in lines
    assert there.wait_for_end(third.id).cause == "step 'exit 3' exited with 3"
    refused = at_daemon("retry", ref, "--from-failed", code=1)
    assert refused.stderr.startswith(f"Error: DEP-{third.number:04d} has run since, so the working copy")


def test_on_a_terminal_output_keeps_its_colours_and_nothing_else_that_a_terminal_obeys(at_daemon, make):
    text = r"\033]0;a title\007\033]52;c;aGk=\033\\\033[2J\033[1;1H\033[?1049h\033c\033[31mred\033[0m\302\233H\b"
    make("loud", f"printf '{text}\\n'")

    shown = on_a_terminal(at_daemon, "deploy", "loud", "--follow")

    (line,) = (line for line in shown.splitlines() if b"red" in line and b"printf" not in line)
    assert line == b"c\x1b[31mred\x1b[0mH"
    for obeyed in (b"\x1b]", b"\x1b[2J", b"\x1b[1;1H", b"\x1b[?", b"\x1bc", b"\x07", b"\x08", b"\xc2\x9b"):
        assert obeyed not in shown


def test_a_step_and_a_cause_cannot_steer_a_terminal_either(at_daemon, make):
    make("evil", "exit 3 # \x1b]0;a title\x07\x1b[2J")

    shown = on_a_terminal(at_daemon, "deploy", "evil", "--follow")

    assert b"exited with 3" in shown
    assert b"\x1b]" not in shown
    assert b"\x1b[2J" not in shown


def on_a_terminal(shell, *words: str) -> bytes:
    """What a command writes to a terminal."""
    ours, its = os.openpty()
    with subprocess.Popen(
        [sys.executable, str(APP), *words],
        cwd=shell.folder,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    ):
        os.close(its)
        shown = b""
        # EIO: nobody has the other side open any more (pty(7)).
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
    return shown


def test_a_long_log_is_followed_whole(at_daemon, make):
    make("long", "seq 1 5000")

    lines = at_daemon("deploy", "long", "--follow").stdout.splitlines()

    at = lines.index("▶ seq 1 5000")
    assert lines[at + 1 : at + 5001] == [str(number) for number in range(1, 5001)]


def test_a_running_deployment_is_cancelled_by_its_reference_and_then_it_has_ended(at_daemon, there, make):
    deployment_id = there.deploy(make("endless", "echo started; sleep 1000"))
    there.wait_for_output(deployment_id, b"started")
    ref = f"DEP-{there.deployment(deployment_id).number:04d}"

    answer = json.loads(at_daemon("cancel", ref, "--json").stdout)
    assert answer == {"id": deployment_id, "ref": ref, "cancelled": True, "status": "running"}
    ended = there.wait_for_end(deployment_id)
    assert ended.status == "cancelled"
    assert ended.cancel_requested_by.endswith("(command line)")

    again = json.loads(at_daemon("cancel", deployment_id, "--json", code=1).stdout)
    assert again == {"id": deployment_id, "ref": ref, "cancelled": False, "status": "cancelled"}
    assert at_daemon("cancel", ref, code=1).stdout == f"{ref} has already ended: cancelled.\n"


def test_without_a_runner_a_deployment_waits_and_this_is_said(shell, operator, make_project):
    make_project(name="app")

    done = shell("deploy", "app")

    assert done.stdout.startswith("DEP-0001 http://127.0.0.1:")
    assert done.stderr == "The runner is not running; the deployment waits. Start it: python app.py serve\n"
    assert shell("cancel", "dep-1").stdout == "DEP-0001 is cancelled.\n"
    (deployment,) = operator.deployments()
    assert (deployment.status, deployment.trigger) == ("cancelled", "manual")


def test_a_project_without_steps_is_told(shell, operator, repository):
    operator.make_project(repository.url, ())

    assert shell("deploy", "app", code=1).stderr == "Error: steps: The project has no steps. Add one first.\n"


def test_the_demo_shows_the_whole_job_and_succeeds(shell):
    lines = shell("demo").stdout.splitlines()

    assert any(line.startswith("Deployer is ready") for line in lines)
    assert "200 Deployment triggered" in lines
    assert "building css" in lines
    assert any(line.startswith("Hello, Deployer — DEP-0001 by ") for line in lines)
    assert "DEP-0001 success" in lines
    assert not shell.data_dir.exists()


def test_a_rollback_makes_the_named_release_live(at_daemon, there, repository, busy):
    project = there.make_project(repository.url, name="released", strategy="release")
    for text in ("one", "two"):
        repository.commit(text, page_html=text)
        at_daemon("deploy", "released", "--follow")
    first, second = (f"{one.number}-{one.commit_sha[:7]}" for one in there.releases(project))

    at_daemon("rollback", "released", "--follow")
    assert there.live(project) == first
    at_daemon("rollback", "released", second, "--follow")
    assert there.live(project) == second

    assert "is the current one already" in at_daemon("rollback", "released", "2", code=1).stderr
    assert "'newest' is no release" in at_daemon("rollback", "released", "newest", code=1).stderr
