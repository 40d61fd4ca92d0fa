"""The edges of staying in contact: a launch that a reboot may have forgotten, and answers that never end."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from deployer.errors import ConnectionLost
from deployer.executors.base import Run
from deployer.executors.ssh import SshExecutor
from deployer.executors.ssh_connection import Address
from deployer.models.deployment import Status
from deployer.runner.contact import Contact, OutOfContact
from deployer.security import deploy_keys
from tests.support.waiting import wait_until


@pytest.fixture
def executor(ssh, user) -> Iterator[SshExecutor]:
    private, public = deploy_keys.generate("test")
    ssh.authorize(public)
    made = SshExecutor(Address("web1", "127.0.0.1", ssh.port, ssh.user, ssh.host_key, private))
    yield made
    made.close()


@dataclass
class Teller:
    lines: list[str] = field(default_factory=list)

    def contact(self, executor: SshExecutor, reconnect_for_s: float = 30) -> Contact:
        return Contact(executor, reconnect_for_s=reconnect_for_s, cancelled_by=lambda: None, tell=self.lines.append)


class ForgetfulServer(SshExecutor):
    """Loses its power right after its first launch, before the disk has it, and comes back with another boot id."""

    def __init__(self, address: Address, home: str) -> None:
        super().__init__(address)
        self._spool = f"{home}/.deployer/spool"
        self.launches = 0

    def launch(self, run: Run) -> None:
        super().launch(run)
        self.launches += 1
        wait_until(lambda: os.path.exists(f"{self._spool}/{run.id}/exit"), "the command ran")
        shutil.rmtree(f"{self._spool}/{run.id}")
        self.close()
        raise ConnectionLost("web1 cannot be reached: the power is gone.")

    def boot_id(self) -> str:
        known = super().boot_id()
        return known if not self.launches else known[::-1]


def test_a_command_that_a_reboot_may_have_forgotten_is_not_launched_again(executor, user):
    server = ForgetfulServer(executor.address, str(user.home))
    marks = user.owns_folder("ran") / "times"
    run = Run(str(uuid.uuid4()), f"echo once >> {marks}", server.base_environment(), "/", "0" * 32)
    teller = Teller()

    with pytest.raises(OutOfContact, match="web1 was rebooted as the command began") as caught:
        teller.contact(server).launch(run)

    assert caught.value.status is Status.INTERRUPTED
    assert marks.read_text() == "once\n"
    assert server.launches == 1
    server.close()


def test_giving_up_is_for_good(executor, ssh):
    contact = Teller().contact(executor, reconnect_for_s=0.2)
    contact.boot_id()
    contact.has_begun = True
    ssh.stop()
    with pytest.raises(OutOfContact):
        contact.look("anything")
    ssh.start()

    with pytest.raises(OutOfContact):
        contact.look("anything")


def test_a_start_file_that_prints_without_end_is_no_server_that_answers(executor, user):
    talkative = user.home / ".bashrc"
    before = talkative.read_text()
    talkative.write_text("exec yes hello\n")
    try:
        begun = time.monotonic()
        with pytest.raises(ConnectionLost, match="no answer for 10 s"):
            executor.boot_id()
        assert time.monotonic() - begun < 60
    finally:
        talkative.write_text(before)


def test_what_was_left_of_a_run_is_found_whatever_it_is(executor, user):
    executor.boot_id()
    spool = user.home / ".deployer/spool"
    for name, files in {
        "collected": ["pid", "exit"],
        "half-made": ["env.0123"],
        "finished": ["pid", "output"],
    }.items():
        (spool / name).mkdir()
        for file in files:
            (spool / name / file).touch()

    assert sorted(executor.uncollected()) == ["finished", "half-made"]


def test_a_long_read_is_answered_in_full(executor, user):
    run = Run(str(uuid.uuid4()), "head -c 700000 /dev/zero", executor.base_environment(), "/", "0" * 32)
    executor.launch(run)
    wait_until(lambda: executor.look(run.id).size > 700_000, "all of the output")

    assert executor.read(run.id, 100, 650_000) == b"\0" * 650_000
