"""A command's log as it is stored: whole, bounded, and honest about what is missing."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.config import LogSettings, RunnerSettings
from deployer.executors import processes
from tests.support.waiting import wait_until

BOUND = 64 * 1024
SPOOL = 1024 * 1024

# A step's beginning: something that outlives it, and that ends by KILL only.
DEAF = """
setsid sh -c 'trap "" TERM; echo $$ > ../deaf; while :; do sleep 0.1; done' > /dev/null 2>&1 &
while [ ! -s ../deaf ]; do sleep 0.01; done
"""


def test_five_megabytes_are_stored_to_the_byte(operator, make_project, runner):
    project = make_project("seq 1 700000 | tee ../all")

    deployment = operator.wait_for_end(operator.deploy(project))

    printed = (Path(project.path).parent / "all").read_bytes()
    assert len(printed) > 4_500_000
    stored = operator.step_output(deployment.id)
    assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(printed).hexdigest()


def test_bytes_that_are_no_text_are_stored_as_they_are(operator, make_project, runner):
    project = make_project("head -c 20000 /dev/urandom > ../all; cat ../all")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == (Path(project.path).parent / "all").read_bytes()


def test_colours_are_kept(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project(r"printf '\033[31mred\033[0m\n'")))

    assert operator.step_output(deployment.id) == b"\x1b[31mred\x1b[0m\n"


class TestBounds:
    @pytest.fixture
    def config(self, config):
        return replace(config, logs=LogSettings(max_bytes_per_command=BOUND, max_spool_bytes=SPOOL))

    def test_of_much_output_head_and_tail_are_kept_and_the_rest_is_counted(self, operator, make_project, runner):
        project = make_project("seq 100000 200000 | tee ../all")

        deployment = operator.wait_for_end(operator.deploy(project))

        printed = (Path(project.path).parent / "all").read_bytes()
        step = operator.steps(deployment.id)[0]
        assert (deployment.status, step.exit_code) == ("success", 0)
        stored = operator.output(step)
        assert step.cut_bytes == len(printed) - len(stored)
        assert len(stored) <= BOUND + BOUND // 8
        chunks = operator.chunks(deployment.id)
        mine = [one for one in chunks if one.command_id == step.id]
        head = b"".join(one.data for one in mine if one.seq <= step.cut_after_seq)
        tail = b"".join(one.data for one in mine if one.seq > step.cut_after_seq)
        assert head
        assert tail
        assert printed.startswith(head)
        assert printed.endswith(tail)

    def test_beyond_the_spools_bound_output_is_discarded_and_the_log_says_so(self, operator, make_project, runner):
        project = make_project("head -c 30000000 /dev/zero | tr '\\0' 'y'; exit 3", "true")

        deployment = operator.wait_for_end(operator.deploy(project))

        step = operator.steps(deployment.id)[0]
        assert (deployment.status, step.exit_code) == ("failed", 3)
        assert f"Output beyond {SPOOL} bytes (logs.max_spool_bytes) was discarded." in operator.remarks(step)
        assert step.cut_bytes + len(operator.output(step)) == SPOOL

    def test_that_output_was_discarded_is_said_once_while_survivors_are_waited_for(
        self, operator, make_project, runner
    ):
        project = make_project(f"{DEAF}\nhead -c 3000000 /dev/zero | tr '\\0' 'y'; echo x > ../printed; sleep 1000")
        deployment_id = operator.deploy(project)
        printed = Path(project.path).parent / "printed"
        wait_until(printed.exists, "the output")

        operator.cancel(deployment_id)

        assert operator.wait_for_end(deployment_id).status == "cancelled"
        assert operator.remarks(operator.steps(deployment_id)[0]).count("was discarded.") == 1


class TestSurvivors:
    @pytest.fixture
    def config(self, config):
        # Longer than the patience with a missing end mark.
        return replace(config, runner=RunnerSettings(cancel_grace=3))

    def test_that_the_end_of_the_output_is_missing_is_said_once_while_survivors_are_waited_for(
        self, operator, installation, make_project, runner
    ):
        deployment_id = operator.deploy(make_project(f"{DEAF}\necho started; sleep 1000"))
        operator.wait_for_output(deployment_id, b"started")
        kill_copiers(installation.data_dir.spool / operator.steps(deployment_id)[0].id)

        operator.cancel(deployment_id)

        assert operator.wait_for_end(deployment_id).status == "cancelled"
        remarks = operator.remarks(operator.steps(deployment_id)[0])
        assert remarks.count("The end of this command's output is missing") == 1
        assert remarks.count("Cancelled by ada.") == 1


def test_an_exit_without_the_end_of_the_output_is_said_to_be_incomplete(operator, installation, make_project, runner):
    project = make_project("echo started; while [ ! -e ../go ]; do sleep 0.01; done", "echo next")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    kill_copiers(installation.data_dir.spool / operator.steps(deployment_id)[0].id)
    (Path(project.path).parent / "go").touch()

    deployment = operator.wait_for_end(deployment_id)

    step = operator.steps(deployment_id)[0]
    assert (deployment.status, step.exit_code) == ("success", 0)
    assert operator.output(step) == b"started\n"
    assert "The end of this command's output is missing: it could not be written." in operator.remarks(step)


def kill_copiers(run: Path) -> None:
    """Kill whatever takes a run's output: all of the launcher's session that has the output file open."""
    launcher = int((run / "pid").read_text().split()[0])
    output = str(run / "output")
    copiers = [pid for pid in processes.in_session(launcher) if output in open_files(pid)]
    assert copiers
    for pid in copiers:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(output in open_files(pid) for pid in copiers), "the copier's end")


def open_files(pid: int) -> set[str]:
    try:
        return {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return set()


def test_after_the_end_only_the_tombstones_are_left(operator, installation, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("echo one", "echo two")))
    commands = operator.commands(deployment.id)

    def left() -> set[str]:
        return {name for one in commands for name in os.listdir(installation.data_dir.spool / one.id)}

    wait_until(lambda: left() == {"pid", "exit"}, "everything but pid and exit is gone")


def test_what_a_killed_runner_did_not_collect_the_next_one_does(operator, installation, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("echo one")))
    run = installation.data_dir.spool / operator.steps(deployment.id)[0].id
    wait_until(lambda: set(os.listdir(run)) == {"pid", "exit"}, "the collection")
    runner.kill()
    (run / "output").write_text("one\n")

    runner.start()

    wait_until(lambda: set(os.listdir(run)) == {"pid", "exit"}, "the collection")
