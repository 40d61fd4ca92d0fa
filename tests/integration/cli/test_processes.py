"""``serve``: what it starts, what it survives, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployer.executors import processes
from tests.support.browser import Browser
from tests.support.daemon import APP
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user
from tests.support.waiting import wait_until

PASSED = "echo x >> ../begun; echo started; while [ ! -e ../go ]; do sleep 0.01; done; echo ended"


def is_alive(pid: int) -> bool:
    one = processes.stat(pid)
    return one is not None and one.state not in "ZX"


def parent_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("PPid:"))


@pytest.fixture
def daemon(make_daemon):
    return make_daemon().start()


@pytest.fixture
def operator(daemon):
    return Operator(daemon.installation)


@pytest.fixture
def waiting(operator, repository):
    """A deployment in the middle of its first step; its id."""
    project = operator.make_project(repository.url, [PASSED, "echo next >> ../begun; echo the next step"])
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    return deployment_id


def go_on(daemon) -> None:
    (daemon.installation.data_dir.checkouts / "go").touch()


def assert_ran_once(daemon, operator, deployment_id: str) -> None:
    assert operator.wait_for_end(deployment_id).status == "success"
    assert operator.step_output(deployment_id, 0) == b"started\nended\n"
    assert operator.step_output(deployment_id, 1) == b"the next step\n"
    assert (daemon.installation.data_dir.checkouts / "begun").read_text() == "x\nnext\n"


def runner_of(daemon) -> int:
    return wait_until(lambda: daemon.runner_pid, "the runner")


def test_it_prints_exactly_one_line_and_ends_politely_within_seconds(daemon):
    assert daemon.greeting.startswith("Deployer is ready. Set it up: ")
    runner = runner_of(daemon)
    since = time.monotonic()

    assert daemon.end(signal.SIGTERM) == 0

    assert time.monotonic() - since < 4
    assert daemon.more_output == ""
    assert not is_alive(runner)
    assert "Traceback" not in daemon.log


def test_an_interrupt_from_the_keyboard_ends_it_as_politely(daemon):
    runner = runner_of(daemon)

    assert daemon.end(signal.SIGINT) == 0

    assert not is_alive(runner)
    assert "Traceback" not in daemon.log


def test_a_second_start_on_the_same_address_is_refused(daemon, tmp_path):
    environment = {**daemon.environment, "DEPLOYER_STORAGE_DATA_DIR": str(tmp_path / "other")}

    done = subprocess.run(
        [sys.executable, str(APP), "serve"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: server.bind: {daemon.config.server.bind} cannot be used: Address already in use. "
        "Stop what listens there, or choose another address.\n"
    )
    assert not (tmp_path / "other").exists()


def test_a_runner_that_was_killed_is_started_again_and_goes_on(daemon, operator, waiting):
    killed = runner_of(daemon)
    os.kill(killed, signal.SIGKILL)
    go_on(daemon)

    assert_ran_once(daemon, operator, waiting)
    assert runner_of(daemon) != killed
    assert "the runner ended; starting it again" in daemon.log
    assert Browser(daemon).get("/login").status == 200


def test_a_web_process_that_was_killed_takes_the_runner_with_it_but_not_the_command(daemon, operator, waiting):
    runner = runner_of(daemon)
    launcher = int(
        (daemon.installation.data_dir.spool / operator.steps(waiting)[0].id / "pid").read_text().split()[0]
    )

    daemon.end(signal.SIGKILL)

    wait_until(lambda: not is_alive(runner), "the runner's end")
    assert is_alive(launcher)
    go_on(daemon)
    daemon.start()
    assert_ran_once(daemon, operator, waiting)


def test_a_runner_that_was_started_again_goes_with_the_web_process_too(daemon):
    first = runner_of(daemon)
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: (pid := daemon.runner_pid) != first and pid, "another runner")

    daemon.end(signal.SIGKILL)

    wait_until(lambda: not is_alive(second), "the runner's end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_step_that_restarts_web_process_and_runner_goes_on_and_so_do_the_following(
    make_daemon, repository, tmp_path, number
):
    """As ``systemctl restart`` of a unit that runs ``serve``."""
    daemon = make_daemon().start()
    operator = Operator(daemon.installation)
    is_up = tmp_path / "is_up"
    restart = f'kill -{number.value} "$WEB"; while [ ! -e {is_up} ]; do sleep 0.01; done; echo restarted'
    project = operator.make_project(repository.url, ["echo before", restart, "echo after"])
    operator.set_variable(project, "WEB", str(daemon.process.pid))
    deployment_id = operator.deploy(project)

    assert daemon.wait() in (0, -signal.SIGKILL)
    daemon.start()
    runner_of(daemon)
    is_up.touch()

    assert operator.wait_for_end(deployment_id).status == "success"
    outputs = [operator.step_output(deployment_id, place) for place in range(3)]
    assert outputs == [b"before\n", b"restarted\n", b"after\n"]


def test_a_runner_whose_web_process_died_before_it_had_begun_ends_at_once(daemon):
    """Nobody tells it then: it would hold the lock, and whoever comes next would wait for it."""
    gone = subprocess.Popen(["true"])
    gone.wait()

    done = subprocess.run(
        [sys.executable, str(APP), "runner", "--with-parent", str(gone.pid)],
        env=daemon.environment,
        cwd=daemon.folder,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_runner_holds_no_address(daemon):
    """Or a web process that was killed could not be started again while its runner still ends."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = (one[9] for one in listening if one[3] == "0A" and int(one[1].split(":")[1], 16) == daemon.port)

    held = set()
    for fd in Path(f"/proc/{runner_of(daemon)}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(fd))

    assert held
    assert f"socket:[{inode}]" not in held


def test_after_everything_was_killed_a_restart_goes_on_where_it_was(daemon, operator, waiting):
    os.kill(runner_of(daemon), signal.SIGKILL)
    daemon.end(signal.SIGKILL)
    assert operator.status(waiting) == "running"

    daemon.start()
    go_on(daemon)

    assert_ran_once(daemon, operator, waiting)


def test_a_polite_restart_leaves_the_command_running(daemon, operator, waiting):
    daemon.end(signal.SIGTERM)
    go_on(daemon)

    daemon.start()

    assert_ran_once(daemon, operator, waiting)


@pytest.mark.parametrize("command", ["web", "serve"])
def test_it_goes_on_answering_when_the_shell_that_started_it_ends(make_daemon, tmp_path, command):
    daemon = make_daemon(command)
    script = (
        f"'{sys.executable}' '{APP}' {command} > /dev/null & echo $! > pid; while [ ! -e go ]; do sleep 0.01; done"
    )
    daemon.start(["sh", "-c", f"cd '{tmp_path}'; {script}"])
    pid = int((tmp_path / "pid").read_text())
    shell = parent_of(pid)
    try:
        (tmp_path / "go").touch()
        assert daemon.wait() == 0
        wait_until(lambda: parent_of(pid) != shell, "another parent")

        # Each connection takes the worker once round its loop, where it would look for its parent.
        assert [Browser(daemon).get("/login").status for _ in range(10)] == [200] * 10
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the end")


def test_web_and_runner_can_be_started_each_alone(make_daemon, tmp_path, repository):
    web = make_daemon("web", folder=tmp_path / "split").start()
    assert web.runner_pid is None
    operator = Operator(web.installation)
    deployment_id = operator.deploy(operator.make_project(repository.url))
    with (tmp_path / "runner.log").open("w") as log:
        runner = subprocess.Popen(
            [sys.executable, str(APP), "runner"], env=web.environment, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        assert operator.wait_for_end(deployment_id).status == "success"
        assert web.end() == 0
        assert runner.poll() is None
    finally:
        runner.terminate()
        assert runner.wait(10) == 0


def test_app_app_works_under_plain_gunicorn(make_daemon):
    daemon = make_daemon("web")
    bin_ = Path(sys.executable).parent
    argv = [
        str(bin_ / "gunicorn"),
        "--bind",
        daemon.config.server.bind,
        "--threads",
        "4",
        "--no-control-socket",
        "app:app",
    ]
    if not Path(argv[0]).exists():
        argv[:1] = [sys.executable, "-m", "gunicorn"]

    daemon.start(argv)

    make_user(daemon)
    assert logged_in(daemon).get("/").status == 200
    answer = Browser(daemon).request("POST", "/webhook/none", b"{}")
    assert (answer.status, answer.text) == (404, "Project not found")
