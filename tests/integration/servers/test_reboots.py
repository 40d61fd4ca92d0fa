"""A server that is rebooted under a step: what ran there is lost and named, and what waits goes on."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from pathlib import Path

import pytest

from deployer.executors import processes
from tests.support.waiting import wait_until

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Host:
    """A server with a boot id of its own, which everybody sees who logs in there."""

    def __init__(self, user, make_ssh) -> None:
        self._boot_id = user.folder / "boot_id"
        self._user = user
        self.boot()
        self.ssh = make_ssh(f"mount --bind {self._boot_id} {BOOT_ID}")

    def boot(self) -> None:
        self._boot_id.write_text(f"{uuid.uuid4()}\n")

    def shut_down(self, signal: str) -> None:
        """Nobody can log in any more, and everything that the user runs ends."""
        self.ssh.stop()
        assert self._user.name
        self._end_all(signal)
        self._end_all("KILL")

    def _end_all(self, signal: str) -> None:
        def is_over() -> bool:
            # Again and again: a process that was begun just now was not there to be told.
            subprocess.run(["pkill", f"-{signal}", "-u", self._user.name], check=False)
            if signal == "KILL":
                return subprocess.run(["pgrep", "-u", self._user.name]).returncode != 0
            return not any(map(self._runs, processes.with_variable(b"DEPLOY_PROJECT=app")))

        wait_until(is_over, "nothing of it is left")

    def _runs(self, pid: int) -> bool:
        """Whether a process is one of this host's."""
        with contextlib.suppress(FileNotFoundError):
            return Path(f"/proc/{pid}").owner() == self._user.name
        return False

    def start(self) -> None:
        self.boot()
        self.ssh.start()


@pytest.fixture
def host(user, make_ssh) -> Host:
    return Host(user, make_ssh)


@pytest.fixture
def ssh(host):
    return host.ssh


@pytest.mark.parametrize("how", ["power lost", "shut down"])
def test_a_reboot_there_interrupts_what_ran_by_its_name_and_what_waits_goes_on(
    operator, make_project, runner, host, user, how
):
    marks = user.owns_folder("ran") / "times"
    project = make_project("echo first", f"echo once >> {marks}; echo started; sleep 1234.5", "echo never")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started", 1)
    waiting = operator.deploy(make_project("echo the other", name="other"))

    host.shut_down("TERM" if how == "shut down" else "KILL")
    host.start()

    deployment = operator.wait_for_end(deployment_id, within_s=60)
    assert deployment.status == "interrupted", operator.log(deployment_id)
    line = operator.steps(deployment_id)[1].name
    assert deployment.cause == f"web1 was rebooted while step '{line}' ran"
    assert [step.status for step in operator.steps(deployment_id)] == ["success", "interrupted", "skipped"]
    # Of a shutdown the step's shell may have a word to say.
    assert operator.step_output(deployment_id, 1).startswith(b"started\n")
    assert operator.wait_for_end(waiting, within_s=60).status == "success"
    assert operator.step_output(waiting) == b"the other\n"
    assert marks.read_text() == "once\n"
    # Of what the reboot ended only that is left which says that it ran.
    run = user.home / ".deployer" / "spool" / operator.steps(deployment_id)[1].id
    assert {one.name for one in run.iterdir()} <= {"pid", "exit"}
