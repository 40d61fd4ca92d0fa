"""The promise: the runner can be killed at any instant; nothing is run twice, nothing is lost, nothing is doubled."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.executors import processes
from deployer.models import Command
from deployer.project_input import StepInput
from tests.chaos import points
from tests.chaos.points import Point
from tests.support import killing
from tests.support.repository import git
from tests.support.waiting import wait_until

# Numbered lines, a mark in a file for each time that the step is begun, and a digest of what was printed.
LONG_STEP = """
echo x >> ../begun
i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "line $i of the output"; [ $((i % 10)) -ne 0 ] || sleep 0.005; done
"""
LONG_OUTPUT = "".join(f"line {number} of the output\n" for number in range(1, 401)).encode()

EARLIER_BOOT = "00000000-0000-0000-0000-000000000000"


def begun(project) -> list[str]:
    path = Path(project.path).parent / "begun"
    return path.read_text().split() if path.exists() else []


def test_a_command_that_was_started_is_never_started_again(operator, make_project, make_runner):
    project = make_project(LONG_STEP, "echo next >> ../begun; echo the next step")
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"line 20 of")

    runner.kill()
    assert operator.status(deployment_id) == "running"
    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("success", None)
    assert begun(project) == ["x", "next"]
    found = operator.step_output(deployment_id, 0)
    assert hashlib.sha256(found).hexdigest() == hashlib.sha256(LONG_OUTPUT).hexdigest()
    assert operator.step_output(deployment_id, 1) == b"the next step\n"


def test_a_command_that_ended_while_no_runner_was_there_is_collected_whole(operator, make_project, make_runner):
    project = make_project(LONG_STEP, "true")
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"line 1 of")
    runner.kill()
    (command,) = (one for one in operator.steps(deployment_id) if one.status == "running")
    recorded = operator.installation.data_dir.spool / command.id / "exit"
    wait_until(lambda: recorded.exists() and recorded.read_text().endswith("\n"), "the step's exit code")

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "success"
    assert begun(project) == ["x"]
    assert operator.step_output(deployment_id) == LONG_OUTPUT


@pytest.mark.chaos
def test_a_runner_that_is_killed_at_random_points_loses_and_doubles_nothing(operator, make_project, make_runner):
    """Each kill comes at another point of a deployment: claim, plan, launch, output, exit, collection."""
    chance = random.Random(20250115)
    project = make_project(LONG_STEP, "echo two >> ../begun; echo two", "echo three >> ../begun; echo three")
    runner = make_runner()
    deployment_ids = [operator.deploy(project) for _ in range(3)]

    kills = killing.until_all_ended(runner, operator, deployment_ids, chance)

    assert kills >= 10
    assert begun(project) == ["x", "two", "three"] * 3
    for deployment_id in deployment_ids:
        deployment = operator.deployment(deployment_id)
        assert (deployment.status, deployment.cause) == ("success", None)
        outputs = [operator.step_output(deployment_id, number) for number in range(3)]
        assert outputs == [LONG_OUTPUT, b"two\n", b"three\n"]
        numbers = [chunk.seq for chunk in operator.chunks(deployment_id)]
        assert numbers == sorted(set(numbers))
        assert operator.events(deployment_id) == ["queued", "running", "success"]


def test_sigterm_ends_the_runner_at_once_and_leaves_the_command_running(operator, make_project, make_runner):
    project = make_project("echo $$ > ../leader; echo started; while [ ! -e ../go ]; do sleep 0.01; done; echo ended")
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    leader = int((Path(project.path).parent / "leader").read_text())

    assert runner.end(signal.SIGTERM) == 0

    assert processes.stat(leader).state not in "ZX"
    assert operator.status(deployment_id) == "running"
    (Path(project.path).parent / "go").touch()
    runner.start()
    assert operator.wait_for_end(deployment_id).status == "success"
    assert operator.step_output(deployment_id) == b"started\nended\n"


@pytest.mark.parametrize("signal_name", ["TERM", "KILL"])
def test_a_step_that_restarts_its_own_runner_goes_on_and_so_do_the_following(
    operator, make_project, make_runner, signal_name
):
    """As ``systemctl restart`` does: it ends the runner, starts another one, and returns when that is ready."""
    restart = f'kill -{signal_name} "$RUNNER"; while [ ! -e ../is_up ]; do sleep 0.01; done'
    project = make_project("echo before", f"echo x >> ../begun; {restart}; echo restarted", "echo after")
    runner = make_runner().start()
    operator.set_variable(project, "RUNNER", str(runner.pid))
    deployment_id = operator.deploy(project)
    wait_until(lambda: not runner.is_running, "the runner's end")
    assert operator.status(deployment_id) == "running"

    runner.end(signal.SIGKILL)
    runner.start().wait_until_ready()
    (Path(project.path).parent / "is_up").touch()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("success", None)
    outputs = [operator.step_output(deployment_id, number) for number in range(3)]
    assert outputs == [b"before\n", b"restarted\n", b"after\n"]
    assert begun(project) == ["x"]


def test_a_cancel_is_heeded_by_the_next_runner(operator, make_project, make_runner):
    runner = make_runner().start()
    deployment_id = operator.deploy(make_project("echo started; sleep 1000"))
    operator.wait_for_output(deployment_id, b"started")
    runner.kill()
    operator.cancel(deployment_id)

    runner.start()

    assert operator.wait_for_end(deployment_id).status == "cancelled"


POLITE_STEP = """
trap 'echo tidied; exit 0' TERM
setsid sh -c 'trap "" TERM; while :; do sleep 0.1; done' >/dev/null 2>&1 &
echo started; while :; do sleep 0.02 || :; done 2>/dev/null
"""
"""When it is asked to end it does so, well; what it leaves does not."""


@pytest.mark.parametrize("why", ["cancel", "timeout"])
def test_a_stop_is_carried_on_by_the_next_runner(operator, installation, make_project, make_runner, why):
    """What was told to end has ended by then, and how it did says nothing of why."""
    dying = partial(points.arm, Point("deployer.runner.follow:Follower._begin_stop", "after", "it is told to end"))
    runner = make_runner(prepare=dying).start()
    timeout_s = 1 if why == "timeout" else None
    deployment_id = operator.deploy(make_project(StepInput(POLITE_STEP, name="polite", timeout_s=timeout_s), "true"))
    operator.wait_for_output(deployment_id, b"started")
    if why == "cancel":
        operator.cancel(deployment_id)
    wait_until(lambda: not runner.is_running, "the runner's death")
    step = operator.steps(deployment_id)[0]
    wait_until((installation.data_dir.spool / step.id / "exit").exists, "the step's end")
    assert processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())

    make_runner().start()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == {
        "cancel": ("cancelled", "cancelled by ada"),
        "timeout": ("failed", "step 'polite' timed out after 1 s"),
    }[why]
    step, following = operator.steps(deployment_id)
    assert (step.status, step.exit_code, following.status) == (deployment.status, 0, "skipped")
    assert operator.output(step) == b"started\ntidied\n"
    assert not processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())


def test_a_command_that_was_killed_with_its_launcher_ends_interrupted(operator, make_project, make_runner):
    runner = make_runner().start()
    deployment_id = operator.deploy(make_project("echo started; sleep 1000", name="web"))
    operator.wait_for_output(deployment_id, b"started")
    runner.kill()
    killing.launcher_and_step(operator, deployment_id)

    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert deployment.status == "interrupted"
    assert "and its launcher were killed from outside" in deployment.cause
    assert operator.step_output(deployment_id) == b"started\n"


@pytest.mark.parametrize("how", ["power lost", "shut down"])
def test_a_reboot_under_a_step_is_named_as_the_cause_and_what_waits_goes_on(
    operator, make_project, make_runner, repository, how
):
    """A shutdown ends the step first, so that its launcher still records how: by SIGTERM, which nobody here sent."""
    runner = make_runner().start()
    project = make_project("true", "echo x >> ../begun; echo started; sleep 1000", "echo never")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started", 1)
    waiting = [
        operator.deploy(project),
        operator.deploy(operator.make_project(repository.url, ["echo other"], name="b")),
    ]
    runner.kill()
    operator.change(project, steps=["echo now it goes"])
    command = operator.steps(deployment_id)[1]
    run = operator.installation.data_dir.spool / command.id
    pid, started, _boot = (run / "pid").read_text().split()
    step = processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())
    if how == "shut down":
        _kill(step, signal.SIGTERM)
        wait_until(lambda: (run / "exit").exists() and (run / "exit").read_text() == "143\n", "the launcher's word")
    else:
        _kill([int(pid), *processes.in_session(int(pid)), *step], signal.SIGKILL)
    (run / "pid").write_text(f"{pid} {started} {EARLIER_BOOT}\n")

    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert deployment.status == "interrupted"
    line = "echo x >> ../begun; echo started; sleep 1000"
    assert deployment.cause == f"the host was rebooted while step '{line}' ran"
    assert [step.status for step in operator.steps(deployment_id)] == ["success", "interrupted", "skipped"]
    # Of a shutdown the step's shell may have a word to say.
    assert operator.step_output(deployment_id, 1).startswith(b"started\n")
    assert begun(project) == ["x"]
    assert [operator.wait_for_end(one).status for one in waiting] == ["success", "success"]


def _kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_command_whose_run_was_forgotten_by_a_reboot_is_interrupted_and_not_run(
    operator, installation, make_project, make_runner
):
    project = make_project("echo x >> ../begun; echo started; sleep 1000", "echo y >> ../begun")
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    runner.kill()
    command = operator.steps(deployment_id)[0]
    assert command.boot_id == processes.boot_id()
    for pid in processes.with_variable(f"DEPLOY_ID={deployment_id}".encode()):
        os.kill(pid, signal.SIGKILL)
    run = installation.data_dir.spool / command.id
    wait_until((run / "exit").exists, "the launcher's last word")
    shutil.rmtree(run)
    with installation.database.write() as connection:
        connection.execute(sa.update(Command).where(Command.id == command.id).values(boot_id=EARLIER_BOOT))

    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert deployment.status == "interrupted"
    assert deployment.cause == ("the host was rebooted as step 'echo x >> ../begun; echo started; sleep 1000' began")
    assert [step.status for step in operator.steps(deployment_id)] == ["interrupted", "skipped"]
    assert begun(project) == ["x"]


def test_a_command_that_goes_on_is_not_settled_on_its_commit_again(
    operator, installation, repository, make_project, make_runner, tmp_path
):
    """The branch may have gone on, or be gone, and what runs has been begun for the commit on record."""
    copy = tmp_path / "by-hand"
    git("clone", "--quiet", repository.url, str(copy))
    project = make_project(
        "git pull --quiet; echo started; while [ ! -e ../go ]; do sleep 0.01; done; echo ended", path=str(copy)
    )
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    assert [one.kind for one in operator.commands(deployment_id)] == ["fetch", "step"]
    runner.kill()
    git(f"--git-dir={installation.data_dir.mirror(project.id)}", "update-ref", "-d", "refs/heads/main")

    (tmp_path / "go").touch()
    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.commit_sha) == ("success", repository.tip())
    assert operator.step_output(deployment_id) == b"started\nended\n"


def test_a_second_runner_waits_for_the_first_ones_end(operator, make_project, make_runner):
    first = make_runner().start().wait_until_ready()
    second = make_runner().start()
    wait_until(lambda: "another runner works on this data folder" in second.log, "the second runner's word")
    deployment_id = operator.deploy(make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done"))
    operator.wait_for_output(deployment_id, b"started")
    assert operator.installation.runner_is_up
    assert not second.is_ready

    first.kill()

    second.wait_until_ready()
    (operator.installation.data_dir.checkouts / "go").touch()
    assert operator.wait_for_end(deployment_id).status == "success"
    assert second.end(signal.SIGTERM) == 0
    assert not operator.installation.runner_is_up


def test_a_step_that_ended_in_time_is_a_success_however_late_that_is_seen(
    operator, installation, make_project, make_runner
):
    """More output than is read at once waits for the new runner, and the time that the step had is long over."""
    project = make_project(StepInput("echo started; sleep 0.2; head -c 3000000 /dev/zero; echo ended", timeout_s=2))
    runner = make_runner().start()
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    (step,) = operator.steps(deployment_id)
    runner.kill()
    wait_until((installation.data_dir.spool / step.id / "exit").exists, "the step ended")
    wait_until(lambda: clock.now() > step.started_at + timedelta(seconds=2), "its time is over")

    runner.start()

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("success", None)
    assert operator.step_output(deployment_id).endswith(b"ended\n")
