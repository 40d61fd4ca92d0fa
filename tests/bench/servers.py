"""What a command on a server costs, over a real sshd on loopback."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.executors.base import Run, RunState
from deployer.executors.ssh import SshExecutor
from deployer.executors.ssh_connection import Address
from deployer.security import deploy_keys
from tests.bench.daemon import Daemon
from tests.bench.table import quantile, row
from tests.support.ssh_server import SshServer


@contextmanager
def _server() -> Iterator[SshServer]:
    with tempfile.TemporaryDirectory(prefix="deployer-bench-ssh-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        with SshServer(Path(folder) / "sshd", home=home).running() as server:
            yield server


def launch(_daemon: Daemon) -> None:
    """The executor alone: launching on a warm connection, and until the exit of ``true`` is seen."""
    with _server() as server:
        private, public = deploy_keys.generate("bench")
        server.authorize(public)
        address = Address("bench", "127.0.0.1", server.port, server.user, server.host_key, private)
        executor = SshExecutor(address)
        environment = executor.base_environment()
        launches, runs = [], []
        for _ in range(200):
            run = Run(str(uuid.uuid4()), "true", environment, "/", uuid.uuid4().hex)
            begun = time.perf_counter()
            executor.launch(run)
            launches.append((time.perf_counter() - begun) * 1e3)
            while executor.look(run.id).state is not RunState.EXITED:
                executor.wait(run.id, 1)
            runs.append((time.perf_counter() - begun) * 1e3)
        executor.close()
    value = f"median {statistics.median(launches):.1f} ms, p99 {quantile(launches, 0.99):.1f} ms"
    row("launch over SSH, warm connection on loopback", "≤ 10 ms", value)
    value = f"median {statistics.median(runs):.1f} ms, p99 {quantile(runs, 0.99):.1f} ms"
    row("  until its exit is seen", "", value)


def step(daemon: Daemon) -> None:
    """A deployment of many steps of ``true`` on a server, as the database has it."""
    count = 60
    with _server() as server:
        said = daemon.cli(
            *("server", "add", "web1", "--host", "127.0.0.1", "--port", str(server.port)),
            *("--user", server.user, "--json"),
        )
        added = json.loads(said)
        server.authorize(added["authorized_keys"])
        daemon.cli("server", "trust", "web1", added["host_key_fingerprint"])
        project = daemon.make_project("there", *["true"] * count, server="web1")
        daemon.start()
        daemon.wait_for_end(daemon.push(project, daemon.payload(), "warm-up"))
        per_step = []
        for number in range(5):
            deployment = daemon.push(project, daemon.payload(), f"there-{number}")
            daemon.wait_for_end(deployment)
            per_step.append(daemon.step_ms(deployment))
        daemon.stop()
    row("a step of `true` over SSH", "≤ 15 ms", f"{statistics.median(per_step):.1f} ms")
