"""Exclusive creation of ``pid`` is the fence: a command is begun once, whatever races."""

from __future__ import annotations

from deployer.executors import launcher, processes


def test_of_thirty_concurrent_starts_one_runs_the_command(launching, tmp_path):
    launching.prepare("echo ran >> ran; echo output")
    for _ in range(30):
        launching.start()

    launching.wait()
    for started in launching.launchers:
        assert started.wait(10) == 0

    assert (tmp_path / "ran").read_text() == "ran\n"
    assert launching.output == b"output\n"


def test_a_launcher_that_comes_after_the_end_changes_nothing(launching, tmp_path):
    launching.prepare("echo ran >> ran").start().wait()
    launching.start()

    assert launching.launchers[-1].wait(10) == 0
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert launching.exit_code == 0


def test_racing_launchers_both_find_complete_input(make_launching, tmp_path):
    """Input is written under temporary names and renamed, by each of them, while the other may begin."""
    body = "# " + "x" * 200_000 + "\n"
    for number in range(10):
        launching = make_launching(f"run{number}")
        for _ in range(2):
            for name, content in (
                ("env", launcher.env_file({"VALUE": "whole"}, str(tmp_path))),
                ("cmd", launcher.cmd_file(f'{body}echo "$VALUE {number}" >> ran{number}')),
            ):
                temporary = launching.directory / f".{name}"
                temporary.write_bytes(content)
                temporary.rename(launching.directory / name)
            launching.start()
        launching.wait()
        assert (tmp_path / f"ran{number}").read_text() == f"whole {number}\n"


def test_the_fence_names_the_launcher_by_pid_start_time_and_boot(launching):
    launching.prepare("sleep 1000").start()
    assert launching.group

    pid, started, boot = (launching.directory / "pid").read_text().split()

    found = processes.stat(int(pid))
    assert found is not None
    assert (launching.launchers[0].pid, found.start_ticks, processes.boot_id()) == (int(pid), int(started), boot)


def test_launcher_and_command_have_sessions_of_their_own(launching):
    launching.prepare("sleep 1000").start()

    assert processes.stat(launching.group).session == launching.group
    assert processes.stat(launching.launchers[0].pid).session != launching.group
