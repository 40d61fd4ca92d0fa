"""How a command ends, and that the end is recorded whatever happens."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from deployer.executors import processes
from tests.support.disk import fill
from tests.support.waiting import wait_until


@pytest.mark.parametrize("code", [0, 1, 2, 126, 127, 255])
def test_the_exit_code_is_recorded(launching, code):
    launching.prepare(f"exit {code}").start().wait()

    assert launching.exit_code == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143)])
def test_a_signal_to_the_commands_group_leaves_the_launcher_to_record_it(launching, number, code):
    launching.prepare("echo started; sleep 1000; echo never").start()
    wait_until(lambda: launching.raw == b"started\n", "the start")

    os.killpg(launching.group, number)

    launching.wait()
    assert (launching.exit_code, launching.output) == (code, b"started\n")


def test_interrupts_are_not_ignored_in_the_command(launching):
    launching.prepare("kill -INT $$; echo survived").start().wait()

    assert (launching.exit_code, launching.output) == (130, b"")


def test_a_quit_is_not_ignored_in_the_command(launching):
    launching.prepare("ulimit -c 0; kill -QUIT $$; echo survived").start().wait()

    assert launching.exit_code == 131
    assert b"survived" not in launching.output


def test_the_end_is_recorded_though_the_launcher_itself_was_killed(launching, tmp_path):
    """What waits for the command is a child of the launcher; both sides of its pipe outlive it."""
    launching.prepare("echo started; while [ ! -e go ]; do sleep 0.01; done; echo ended; exit 3").start()
    wait_until(lambda: launching.raw == b"started\n", "the start")

    os.kill(launching.launchers[0].pid, signal.SIGKILL)
    (tmp_path / "go").touch()

    launching.wait()
    assert (launching.exit_code, launching.output) == (3, b"started\nended\n")


def test_without_its_launchers_session_a_command_ends_without_an_exit_code(launching, tmp_path):
    launching.prepare("echo started; while [ ! -e go ]; do sleep 0.01; done; touch ended").start()
    wait_until(lambda: launching.raw == b"started\n", "the start")

    for pid in processes.in_session(launching.launchers[0].pid):
        os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()

    wait_until((tmp_path / "ended").exists, "the command's end")
    wait_until(lambda: not processes.in_session(launching.group), "the end of the command's session")
    assert launching.exit_code is None
    assert launching.raw == b"started\n"


def test_a_directory_that_does_not_exist_ends_with_126(launching, tmp_path):
    launching.prepare("echo never", directory=str(tmp_path / "nowhere")).start().wait()

    assert launching.exit_code == 126
    assert b"never" not in launching.output


def test_a_syntax_error_is_the_commands_own_failure(launching):
    launching.prepare("if then").start().wait()

    assert launching.exit_code == 2
    assert b"yntax error" in launching.output


def test_a_command_ends_at_its_first_failure(launching):
    launching.prepare("echo one; false; echo two").start().wait()

    assert (launching.exit_code, launching.output) == (1, b"one\n")


def test_under_bash_a_failure_in_a_pipe_counts(launching):
    launching.prepare("[[ a == a ]]; false | true; echo two").start(step_shell="bash").wait()

    assert (launching.exit_code, launching.output) == (1, b"")


def test_on_a_full_disk_the_exit_code_is_written_when_space_comes_back(make_launching, small_disk, tmp_path):
    launching = make_launching(folder=small_disk)
    launching.prepare(
        f"while [ ! -e {tmp_path}/full ]; do sleep 0.01; done; echo lost; touch {tmp_path}/over; exit 6",
        directory=str(tmp_path),
    ).start()
    assert launching.group
    fill(small_disk / "filler")
    (tmp_path / "full").touch()
    wait_until((tmp_path / "over").exists, "the command's end")
    assert launching.exit_code is None

    (small_disk / "filler").unlink()

    assert launching.wait_for_exit() == 6


def test_a_launcher_whose_run_directory_is_gone_ends_with_its_command(launching, tmp_path):
    """It has nowhere left to write the exit code, and would try for ever."""
    launching.prepare("echo started; while [ ! -e go ]; do sleep 0.01; done").start()
    wait_until(lambda: launching.raw == b"started\n", "the start")
    started = launching.launchers[0]

    shutil.rmtree(launching.directory)
    (tmp_path / "go").touch()

    wait_until(lambda: started.poll() is not None, "the launcher's end")
    assert processes.in_session(started.pid) == []
