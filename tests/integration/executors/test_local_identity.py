"""On this host: a process is its pid, its start time and the boot; what bears the same number may be another."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deployer.errors import ExecutorError
from deployer.executors import processes
from deployer.executors.base import Run, RunState
from deployer.executors.local import LocalExecutor
from tests.support.daemon import ROOT
from tests.support.disk import fill
from tests.support.waiting import wait_until

EARLIER_BOOT = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def executor(tmp_path):
    made = LocalExecutor(tmp_path / "spool")
    yield made
    made.close()


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def craft(tmp_path, executor):
    """A run directory with given files."""

    def make(**files: str) -> str:
        directory = tmp_path / "spool" / "crafted"
        directory.mkdir()
        for name, text in files.items():
            (directory / name).write_text(text)
        return "crafted"

    return make


def identity(pid: int, *, boot: str | None = None, ticks: int = 0) -> str:
    return f"{pid} {processes.stat(pid).start_ticks + ticks} {boot or processes.boot_id()}\n"


def test_a_launcher_that_lives_is_alive(executor, craft, sleeper):
    assert executor.look(craft(pid=identity(sleeper.pid))).state is RunState.ALIVE


def test_another_process_with_the_same_pid_is_not_the_launcher(executor, craft):
    ourselves = os.getpid()
    assert processes.in_session(ourselves) == []
    assert executor.look(craft(pid=identity(ourselves, ticks=-1))).state is RunState.LOST


def test_a_process_of_an_earlier_boot_is_lost(executor, craft, sleeper):
    look = executor.look(craft(pid=identity(sleeper.pid, boot=EARLIER_BOOT)))

    assert (look.state, look.is_from_earlier_boot) == (RunState.LOST, True)


def test_a_zombie_is_not_alive(executor, craft):
    with subprocess.Popen(["true"], start_new_session=True) as process:
        wait_until(lambda: processes.stat(process.pid).state == "Z", "a zombie")
        assert executor.look(craft(pid=identity(process.pid))).state is RunState.LOST


def test_a_command_whose_launcher_is_gone_is_alive_by_its_session(executor, craft, sleeper):
    run_id = craft(pid=f"4194304 1 {processes.boot_id()}\n", group=f"{sleeper.pid}\n")

    assert executor.look(run_id).state is RunState.ALIVE


def test_an_exit_code_counts_only_with_its_newline(executor, craft, sleeper, tmp_path):
    run_id = craft(pid=identity(sleeper.pid), exit="1")
    assert executor.look(run_id).state is RunState.ALIVE

    (tmp_path / "spool" / run_id / "exit").write_text("13\n")

    look = executor.look(run_id)
    assert (look.state, look.exit_code) == (RunState.EXITED, 13)


def test_a_fence_that_is_not_yet_written_counts_as_alive(executor, craft):
    assert executor.look(craft(pid="")).state is RunState.ALIVE


def test_a_fence_that_was_never_written_is_lost_after_a_while(executor, craft, tmp_path):
    """The launcher was killed, or the disk was full, between its making and its writing."""
    run_id = craft(pid="")
    long_ago = 1_000_000_000
    os.utime(tmp_path / "spool" / run_id / "pid", (long_ago, long_ago))

    assert executor.look(run_id).state is RunState.LOST


def test_after_the_exit_a_process_with_the_commands_old_number_is_not_touched(executor, craft, sleeper):
    """It got the number after the command had ended."""
    run_id = craft(pid=f"4194304 1 {processes.boot_id()}\n", group=f"{sleeper.pid}\n", exit="0\n")

    executor.stop(run_id, "nobody's", force=True)

    assert executor.survivors(run_id, "nobody's") == []
    assert processes.stat(sleeper.pid).state not in "ZX"


def test_after_a_reboot_a_process_with_the_commands_old_number_is_not_touched(executor, craft, sleeper):
    run_id = craft(pid=f"4194304 1 {EARLIER_BOOT}\n", group=f"{sleeper.pid}\n")

    executor.stop(run_id, "nobody's", force=True)

    assert processes.stat(sleeper.pid).state not in "ZX"


def test_the_environment_goes_from_disk_once_the_command_has_read_it(executor, craft, sleeper, tmp_path):
    env = tmp_path / "spool" / "crafted" / "env"
    run_id = craft(pid=identity(sleeper.pid), env="export SECRET='x'\n")
    executor.look(run_id)
    assert env.exists()

    (env.parent / "group").write_text(f"{sleeper.pid}\n")
    executor.look(run_id)

    assert not env.exists()


def test_a_run_has_a_session_of_its_own(executor, tmp_path):
    """An interrupt from the terminal of whoever launched it does not reach it."""
    executor.launch(Run("a-run", "sleep 1000", executor.base_environment(), str(tmp_path), "nonce"))
    spool = tmp_path / "spool" / "a-run"
    group = wait_until(lambda: (spool / "group").exists() and (spool / "group").read_text().strip(), "the command")
    launcher = (spool / "pid").read_text().split()[0]

    sessions = {processes.stat(int(pid)).session for pid in (launcher, group)}
    executor.stop("a-run", "nobody's", force=True)

    assert sessions == {int(launcher), int(group)}


def test_on_a_full_disk_a_run_is_not_launched_by_halves(small_disk, tmp_path):
    executor = LocalExecutor(small_disk / "spool")
    run = Run("a-run", "echo ran >> ran", executor.base_environment(), str(tmp_path), "nonce")
    fill(small_disk / "filler")
    try:
        with pytest.raises(ExecutorError, match="No space left"):
            executor.launch(run)
        assert executor.look("a-run").state is RunState.ABSENT
        (small_disk / "filler").unlink()

        executor.launch(run)

        wait_until(lambda: executor.look("a-run").state is RunState.EXITED, "the run's end")
        assert (tmp_path / "ran").read_text() == "ran\n"
    finally:
        executor.close()


WITHOUT_WATCHES = """
import sys
from pathlib import Path
from deployer.executors.base import Run, RunState
from deployer.executors.local import LocalExecutor
from inotify_simple import INotify, flags

Path("/proc/sys/user/max_inotify_watches").write_text("0")
executor = LocalExecutor(Path(sys.argv[1]) / "spool")
try:
    INotify().add_watch(sys.argv[1], flags.MODIFY)
except OSError as error:
    print("watches are used up:", error.strerror)
executor.launch(Run("a-run", "echo ran; exit 3", executor.base_environment(), sys.argv[1], "nonce"))
for _ in range(1000):
    executor.wait("a-run", 0.02)
    look = executor.look("a-run")
    if look.state is RunState.EXITED:
        break
print(look.state.value, look.exit_code)
executor.collect("a-run")
executor.close()
"""


def test_inotify_watches_that_are_used_up_do_not_stop_a_run(tmp_path):
    """In a user namespace of its own, which has a number of watches of its own (namespaces(7))."""
    apart = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*apart, "test", "-w", "/proc/sys/user/max_inotify_watches"], check=False).returncode != 0:
        pytest.skip("needs the right to make user namespaces")

    done = subprocess.run(
        [*apart, sys.executable, "-c", WITHOUT_WATCHES, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )

    assert done.stderr == ""
    assert done.stdout == "watches are used up: No space left on device\nexited 3\n"


def test_programs_with_parentheses_in_their_names_are_read_right(tmp_path):
    program = tmp_path / "a) S 1 (b"
    os.symlink(sys.executable, program)
    with subprocess.Popen([str(program), "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as process:
        try:
            wait_until(lambda: processes.stat(process.pid).session == process.pid, "its own session")
        finally:
            process.kill()


def test_only_whole_assignments_name_a_process():
    with subprocess.Popen(["sleep", "1000"], env={"X_DEPLOY_ID": "7", "DEPLOY_ID": "77"}) as process:
        try:
            wait_until(lambda: processes.with_variable(b"DEPLOY_ID=77") == [process.pid], "the process")
            assert processes.with_variable(b"DEPLOY_ID=7") == []
        finally:
            process.kill()
