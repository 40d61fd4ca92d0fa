"""Launching over SSH: connections that race, requests that are cut, and directories that were left half-made."""

from __future__ import annotations

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer.errors import ExecutorError
from deployer.executors import launcher
from deployer.executors.base import Run, RunState
from deployer.executors.ssh import SshExecutor, _launch_script
from deployer.executors.ssh_connection import Address
from deployer.executors.ssh_functions import FUNCTIONS, LAUNCHER
from deployer.security import deploy_keys
from tests.support.launching import available_shells
from tests.support.ssh_server import SshServer, require_sshd
from tests.support.waiting import wait_until

NONCE = "fedcba9876543210fedcba9876543210"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def connect(tmp_path: Path, home: Path) -> Iterator[Callable[[], SshExecutor]]:
    """Executors, each with a connection of its own."""
    require_sshd()
    server = SshServer(tmp_path / "sshd", home=home)
    private, public = deploy_keys.generate("test")
    server.authorize(public)
    address = Address("web1", "127.0.0.1", server.port, server.user, server.host_key, private)
    made: list[SshExecutor] = []

    def make() -> SshExecutor:
        made.append(SshExecutor(address))
        made[-1].boot_id()
        return made[-1]

    with server.running():
        yield make
        for one in made:
            one.close()


def run_of(script: str, home: Path, **given: str) -> Run:
    return Run(str(uuid.uuid4()), script, {"PATH": os.environ["PATH"], **given}, str(home), NONCE)


def ended(executor: SshExecutor, run: Run) -> int | None:
    """The exit code, once the end mark is there too."""
    mark = launcher.end_mark(NONCE)

    def is_whole() -> bool:
        look = executor.look(run.id)
        return executor.read(run.id, max(0, look.size - len(mark)), len(mark)) == mark

    wait_until(lambda: executor.look(run.id).state is RunState.EXITED, "the run's end")
    wait_until(is_whole, "the end mark")
    return executor.look(run.id).exit_code


def test_of_many_connections_that_launch_the_same_run_one_starts_it(connect, home):
    executors = [connect() for _ in range(4)]
    for number in range(10):
        run = run_of(f"echo x >> {home}/ran-{number}; echo $VALUE", home, VALUE="v" * 50_000)
        threads = [threading.Thread(target=one.launch, args=(run,)) for one in executors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ended(executors[0], run) == 0
        assert (home / f"ran-{number}").read_text() == "x\n"
        assert executors[0].read(run.id, 0, 50_000) == b"v" * 50_000


@pytest.mark.parametrize("left", [[], ["env"], ["env", "cmd"]])
def test_a_directory_that_was_left_half_made_is_completed(connect, home, left):
    executor = connect()
    run = run_of("echo whole", home)
    directory = home / ".deployer/spool" / run.id
    directory.mkdir()
    for name in left:
        (directory / name).write_text("exit 99  # half of something")

    executor.launch(run)

    assert ended(executor, run) == 0
    assert executor.read(run.id, 0, 6) == b"whole\n"


@pytest.mark.parametrize("shell", available_shells())
def test_a_request_that_is_cut_at_any_byte_runs_nothing_by_halves(home, shell):
    spool = home / ".deployer/spool"
    spool.mkdir(parents=True)
    (home / ".deployer" / LAUNCHER).write_text(launcher.SCRIPT)
    run = run_of("echo x >> ran", home, VALUE="it's\na value")
    request = b"(\n" + _launch_script(run, {"env": b"umask 022\n", "cmd": b"true\n"}) + b"\n)"

    for length in range(0, len(request), 7):
        argv = available_shells()[shell]
        given = FUNCTIONS.encode() + request[:length]
        subprocess.run(argv, input=given, env={"HOME": str(home), "PATH": os.environ["PATH"]}, capture_output=True)
        assert not list(spool.iterdir()), request[:length]


def test_a_command_of_two_megabytes_arrives_whole(connect, home):
    executor = connect()
    run = run_of(f"echo begun\n# {'x' * 2_000_000}\necho ended", home)

    executor.launch(run)

    assert ended(executor, run) == 0
    assert executor.read(run.id, 0, 12) == b"begun\nended\n"


def test_a_home_that_cannot_be_written_is_told_in_the_servers_words(connect, home):
    executor = connect()
    spool = home / ".deployer/spool"
    spool.rmdir()
    spool.write_text("in the way")

    with pytest.raises(ExecutorError, match=r"could not be started on web1: .+"):
        executor.launch(run_of("echo never", home))


def test_output_that_looks_like_an_answer_is_output(connect, home):
    executor = connect()
    run = run_of("printf '\\036Bffff\\n\\036Effff 0\\n'; head -c 3000 /dev/urandom > noise; cat noise", home)

    executor.launch(run)

    assert ended(executor, run) == 0
    expected = b"\x1eBffff\n\x1eEffff 0\n" + (home / "noise").read_bytes()
    found = b""
    while len(found) < len(expected) and (piece := executor.read(run.id, len(found), 1000)):
        found += piece
    assert found[: len(expected)] == expected
