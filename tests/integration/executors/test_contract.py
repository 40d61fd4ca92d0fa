"""What `deployer.executors.base.Executor` promises, for every driver."""

from __future__ import annotations

import os
import threading
import time

import pytest

from deployer.errors import ExecutorError
from deployer.executors.base import RunState
from tests.support.waiting import wait_until


def test_a_run_that_was_never_launched_is_absent(place):
    look = place.executor.look("nothing")

    assert (look.state, look.size, look.exit_code) == (RunState.ABSENT, 0, None)
    assert place.executor.read("nothing", 0, 100) == b""


def test_a_run_is_alive_and_then_exited(place):
    run_id = place.launch("echo started; while [ ! -e go ]; do sleep 0.01; done; exit 3")
    wait_until(lambda: place.output(run_id) == b"started\n", "output")
    assert place.executor.look(run_id).state is RunState.ALIVE

    (place.folder / "go").touch()

    look = place.finish(run_id)
    assert (look.state, look.exit_code, look.is_from_earlier_boot) == (RunState.EXITED, 3, False)


def test_a_second_launch_of_the_same_run_changes_nothing(place):
    run = place.run("echo x >> ran")
    place.executor.launch(run)
    place.executor.launch(run)
    place.finish(run.id)
    place.executor.launch(run)
    place.restart().launch(run)

    place.finish(run.id)
    assert (place.folder / "ran").read_text() == "x\n"


def test_a_collected_run_is_not_launched_again(place):
    run = place.run("echo x >> ran")
    place.executor.launch(run)
    place.finish(run.id)
    place.executor.collect(run.id)
    place.executor.collect(run.id)

    place.executor.launch(run)

    look = place.executor.look(run.id)
    assert (look.state, look.exit_code, look.size) == (RunState.EXITED, 0, 0)
    assert (place.folder / "ran").read_text() == "x\n"


def test_another_executor_follows_what_the_first_one_launched(place):
    run_id = place.launch("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two")
    wait_until(lambda: place.output(run_id) == b"one\n", "output")

    place.restart()

    assert place.executor.look(run_id).state is RunState.ALIVE
    (place.folder / "go").touch()
    assert place.finish(run_id).exit_code == 0
    assert place.output(run_id) == b"one\ntwo\n"


def test_a_runs_age_is_counted_from_its_launch_also_by_another_executor(place):
    assert place.executor.age_s("nothing") is None
    before = time.monotonic()
    run_id = place.launch("echo started; sleep 1000")
    wait_until(lambda: place.output(run_id) == b"started\n", "output")
    time.sleep(0.5)

    age_s = place.restart().age_s(run_id)

    # To the tick of the kernel's, a hundredth of a second.
    assert 0.45 <= age_s <= time.monotonic() - before + 0.05


def test_output_is_read_from_any_offset(place):
    run_id = place.launch("printf 0123456789")
    place.finish(run_id)

    assert place.executor.read(run_id, 4, 3) == b"456"
    assert place.executor.read(run_id, 1000, 3) == b""


def test_waiting_ends_when_output_comes(place):
    run_id = place.launch("while [ ! -e go ]; do sleep 0.01; done; echo now; sleep 1000")
    place.wait_for(run_id, RunState.ALIVE)
    threading.Timer(0.05, (place.folder / "go").touch).start()

    deadline = time.monotonic() + 10
    while not place.output(run_id):
        place.executor.wait(run_id, 20)
    assert time.monotonic() < deadline


def test_waiting_ends_when_somebody_wakes_it(place):
    run_id = place.launch("sleep 1000")
    woken = []

    def wake() -> None:
        woken.append(True)
        place.executor.wake()

    timer = threading.Timer(0.05, wake)
    began = time.monotonic()
    timer.start()

    # The launch itself makes news; what comes after the last of it can only be the wake.
    while not woken:
        place.executor.wait(run_id, 20)
    timer.join()
    assert time.monotonic() - began < 10


def test_waiting_ends_when_the_time_is_over(place):
    run_id = place.launch("true")
    place.finish(run_id)
    began = time.monotonic()
    place.executor.wait(run_id, 0.01)
    place.executor.wait(run_id, 0.01)

    assert time.monotonic() - began < 5


def test_stop_asks_and_force_ends(place):
    run_id = place.launch("trap 'echo asked' TERM; echo started; while :; do sleep 0.02 || true; done")
    wait_until(lambda: place.output(run_id) == b"started\n", "the start")

    place.executor.stop(run_id, place.deploy_id, force=False)
    wait_until(lambda: b"asked" in place.output(run_id), "the question")
    assert place.executor.look(run_id).state is RunState.ALIVE

    place.executor.stop(run_id, place.deploy_id, force=True)
    assert place.finish(run_id).exit_code == 137


def test_survivors_are_named_and_can_be_stopped(place):
    run_id = place.launch("setsid sleep 1234.25 & echo done")
    place.finish(run_id)

    def survivors() -> list[str]:
        return [process.command for process in place.executor.survivors(run_id, place.deploy_id)]

    wait_until(lambda: survivors() == ["sleep 1234.25"], "the survivor, alone")

    place.executor.stop(run_id, place.deploy_id, force=False)

    wait_until(lambda: not place.executor.survivors(run_id, place.deploy_id), "the survivor's end")


def test_stopping_one_deployment_leaves_another_alone(place):
    mine = place.launch("sleep 1000")
    other = place.launch("sleep 1000", environment={"DEPLOY_ID": "another"})
    for run_id in (mine, other):
        place.wait_for(run_id, RunState.ALIVE)
    wait_until(lambda: place.executor.survivors(mine, place.deploy_id), "the command")
    wait_until(lambda: place.executor.survivors(other, "another"), "the other command")

    place.executor.stop(mine, place.deploy_id, force=True)

    assert place.finish(mine).exit_code == 137
    assert place.executor.look(other).state is RunState.ALIVE
    place.executor.stop(other, "another", force=True)
    assert place.finish(other).exit_code == 137


def test_files_come_with_the_run_and_go_with_its_collection(place):
    run_id = place.launch(
        'cat "$KEY"; stat -c " %a" "$KEY"; dirname "$KEY" > where',
        files={"deploy_key": b"private"},
        environment={"KEY": "{run_dir}/deploy_key"},
    )
    place.finish(run_id)
    assert place.output(run_id) == b"private 600\n"

    place.collect(run_id)

    assert not os.path.exists((place.folder / "where").read_text().strip() + "/deploy_key")


def test_what_a_command_put_beside_its_inputs_goes_with_the_collection_too(place):
    run_id = place.launch(
        'dir=${KEY%/*}; mkdir -p "$dir/made/deeper"; echo x > "$dir/made/deeper/file"; ln -s / "$dir/link"; '
        'echo "$dir" > where',
        files={"deploy_key": b"private"},
        environment={"KEY": "{run_dir}/deploy_key"},
    )
    place.finish(run_id)

    place.collect(run_id)

    assert set(os.listdir((place.folder / "where").read_text().strip())) <= {"pid", "exit"}
    assert os.path.exists("/etc")


def test_output_is_bounded(place):
    run_id = place.launch("head -c 3000000 /dev/zero; exit 9", max_output_bytes=1024 * 1024)

    look = place.wait_for(run_id, RunState.EXITED)
    assert (look.exit_code, look.size) == (9, 1024 * 1024)


def test_a_run_in_bash_is_one(place):
    run_id = place.launch("[[ -n $BASH_VERSION ]]; false | true", shell="bash")

    assert place.finish(run_id).exit_code == 1


@pytest.mark.parametrize("name", ["PPID", "UID", "EUID", "SHELLOPTS", "BASH_ENV", "A B", "1A", "", "A=B", "ÄÖ"])
def test_a_variable_that_the_shell_cannot_take_is_refused(place, name):
    with pytest.raises(ExecutorError, match="cannot be given to a command"):
        place.run("true", environment={name: "value"})


@pytest.mark.parametrize("value", ["a\0b", "x" * 128 * 1024])
def test_a_value_that_no_program_can_be_given_is_refused(place, value):
    with pytest.raises(ExecutorError, match="VALUE cannot be given"):
        place.run("true", environment={"VALUE": value})


def test_the_longest_value_that_is_accepted_reaches_the_command(place):
    longest = "x" * (128 * 1024 - len("VALUE") - 2)
    run_id = place.launch("printenv VALUE | wc -c", environment={"VALUE": longest})

    assert place.finish(run_id).exit_code == 0
    assert int(place.output(run_id)) == len(longest) + 1


def test_a_probe_answers_with_code_and_both_outputs(place):
    answer = place.executor.probe(
        ["sh", "-c", 'echo "$GIVEN"; echo no >&2; exit 3'], environment={"GIVEN": "yes"}, timeout_s=10
    )

    assert (answer.code, answer.output, answer.errors) == (3, "yes\n", "no\n")


def test_a_probe_gets_nothing_of_the_daemons_environment(place, monkeypatch):
    monkeypatch.setenv("OF_THE_DAEMON", "secret")

    assert "OF_THE_DAEMON" not in place.executor.probe(["env"], environment={}, timeout_s=10).output


@pytest.mark.parametrize("argv", [["/no/such/program"], ["sleep", "10"]])
def test_a_probe_that_cannot_be_asked_or_takes_too_long_is_an_error(place, argv):
    with pytest.raises(ExecutorError, match=f"{argv[0]} could not be asked"):
        place.executor.probe(argv, environment={}, timeout_s=0.1)


def test_a_sweep_removes_only_old_tombstones(place):
    old, young, uncollected = (place.launch("true") for _ in range(3))
    for run_id in (old, young, uncollected):
        place.finish(run_id)
    for run_id in (old, young):
        place.collect(run_id)
    two_days_ago = time.time() - 2 * 86400
    for run_id in (old, uncollected):
        os.utime(place.spool / run_id, (two_days_ago, two_days_ago))

    place.executor.sweep()

    states = [place.executor.look(run_id).state for run_id in (old, young, uncollected)]
    assert states == [RunState.ABSENT, RunState.EXITED, RunState.EXITED]
