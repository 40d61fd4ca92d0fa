"""One suite for every driver: a new one is added to ``DRIVERS``, and has to pass what the others pass."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.executors import processes
from deployer.executors.base import Executor, Look, Run, RunState
from deployer.executors.launcher import end_mark
from deployer.executors.local import LocalExecutor
from deployer.executors.ssh import SshExecutor
from deployer.executors.ssh_connection import Address
from deployer.security import deploy_keys
from tests.support.ssh_server import SshServer, require_sshd
from tests.support.waiting import wait_until

NONCE = "fedcba9876543210fedcba9876543210"

DRIVERS = ("local", "ssh")


class Place:
    """A place where commands run. ``executor`` follows them; `restart` makes a new one, as a new runner would.

    ``folder`` is for what a test leaves there, ``spool`` holds the run directories.
    """

    def __init__(self, folder: Path, spool: Path, make: Callable[[], Executor]) -> None:
        self.folder = folder
        self.spool = spool
        self.deploy_id = str(uuid.uuid4())
        self._make = make
        self._made: list[Executor] = []
        self.executor = self.restart()

    def restart(self) -> Executor:
        self.executor = self._make()
        self._made.append(self.executor)
        return self.executor

    def run(self, script: str, **given: Any) -> Run:
        environment = {
            **self.executor.base_environment(),
            "DEPLOY_ID": self.deploy_id,
            **given.pop("environment", {}),
        }
        return Run(
            id=given.pop("id", str(uuid.uuid4())),
            script=script,
            environment=environment,
            directory=given.pop("directory", str(self.folder)),
            nonce=NONCE,
            **given,
        )

    def launch(self, script: str, **given: Any) -> str:
        """Launch a command; the run's id."""
        run = self.run(script, **given)
        self.executor.launch(run)
        return run.id

    def output(self, run_id: str) -> bytes:
        """All that is there, read in small pieces, without the end mark."""
        found = b""
        while piece := self.executor.read(run_id, len(found), 1000):
            found += piece
        return found.removesuffix(end_mark(NONCE))

    def wait_for(self, run_id: str, state: RunState) -> Look:
        def look() -> Look | None:
            found = self.executor.look(run_id)
            return found if found.state is state else None

        return wait_until(look, f"the run is {state.value}")

    def finish(self, run_id: str) -> Look:
        """Wait for the end, and for the end mark."""
        self.wait_for(run_id, RunState.EXITED)
        mark = end_mark(NONCE)

        def is_whole() -> bool:
            size = self.executor.look(run_id).size
            return self.executor.read(run_id, max(0, size - len(mark)), len(mark)) == mark

        wait_until(is_whole, "the end mark")
        return self.executor.look(run_id)

    def collect(self, run_id: str) -> None:
        """Collect, and ask the next question: by then it is done."""
        self.executor.collect(run_id)
        self.executor.look("another")

    def close(self) -> None:
        for pid in processes.with_variable(f"DEPLOY_ID={self.deploy_id}".encode()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for executor in self._made:
            executor.close()


@pytest.fixture(params=DRIVERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "local":
        spool = tmp_path / "spool"
        made = Place(tmp_path, spool, lambda: LocalExecutor(spool))
        yield made
        made.close()
        return
    require_sshd()
    home = tmp_path / "home"
    home.mkdir()
    server = SshServer(tmp_path / "sshd", home=home)
    private, public = deploy_keys.generate("test")
    server.authorize(public)
    address = Address("web1", "127.0.0.1", server.port, server.user, server.host_key, private)
    with server.running():
        made = Place(tmp_path, home / ".deployer" / "spool", lambda: SshExecutor(address))
        yield made
        made.close()
