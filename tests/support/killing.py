"""``kill -9`` at random instants, and of whatever belongs to a command that runs."""

from __future__ import annotations

import os
import random
import signal
import time

from deployer.executors import processes
from tests.support.operator import Operator
from tests.support.runner_process import RunnerProcess


def until_all_ended(
    runner: RunnerProcess, operator: Operator, deployment_ids: list[str], chance: random.Random
) -> int:
    """Start the runner and kill it, again and again, until these deployments have ended. The number of kills."""

    def are_over() -> bool:
        return all(operator.status(one).is_final for one in deployment_ids)

    kills = 0
    while not are_over():
        runner.start()
        # The window grows, so that every series of kills comes to an end.
        deadline = time.monotonic() + chance.uniform(0.02, 0.12 + 0.02 * kills)
        while time.monotonic() < deadline and not are_over():
            time.sleep(0.002)
        runner.kill()
        kills += 1
        assert kills < 200
    return kills


def launcher_and_step(operator: Operator, deployment_id: str) -> None:
    """Kill the only step of a deployment together with its launcher, so that nobody records how it ended."""
    (command,) = operator.steps(deployment_id)
    run = operator.installation.data_dir.spool / command.id
    launcher = int((run / "pid").read_text().split()[0])
    group = int((run / "group").read_text())
    for pid in [launcher, *processes.in_session(launcher), *processes.in_session(group)]:
        os.kill(pid, signal.SIGKILL)
