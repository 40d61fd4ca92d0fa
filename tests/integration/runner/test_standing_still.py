"""A runner that is there, but does not go on, is told from one that works and from one that has nothing to do."""

from __future__ import annotations

import os
import signal
import time

import pytest

from deployer import health
from deployer import installation as installation_module
from deployer.health import RunnerWatch
from tests.support.waiting import wait_until


@pytest.fixture
def watch(installation, monkeypatch) -> RunnerWatch:
    monkeypatch.setattr(health, "STUCK_AFTER_S", 2.0)
    monkeypatch.setattr(health, "KEPT_S", 0.0)
    return RunnerWatch(installation)


def is_ok_for(watch: RunnerWatch, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not watch.look().is_ok:
            return False
        time.sleep(0.05)
    return True


def test_a_runner_that_was_frozen_is_told_and_so_is_that_it_goes_on(watch, runner, monkeypatch):
    # More than one sign of life fits into the patience.
    monkeypatch.setattr(health, "STUCK_AFTER_S", 12.0)
    runner.wait_until_ready()
    assert is_ok_for(watch, 1.0)

    os.kill(runner.pid, signal.SIGSTOP)

    said = wait_until(lambda: not (found := watch.look()).is_ok and found, "the standstill to be told", within_s=40)
    assert said.message.startswith("The runner is there, but does not go on.")
    os.kill(runner.pid, signal.SIGCONT)
    wait_until(lambda: watch.look().is_ok, "the runner to be well again", within_s=40)


def test_something_that_waits_though_nothing_runs_is_told(
    watch, operator, make_project, installation, make_runner, monkeypatch
):
    monkeypatch.setattr(RunnerWatch, "_sign", lambda _: None)
    deployment_id = operator.deploy(make_project("true"))
    # Somebody who has the runner's lock, and claims nothing.
    with installation_module.exclusive(installation.data_dir.runner_lock):
        said = wait_until(lambda: not (found := watch.look()).is_ok and found, "the standstill to be told")

    assert "queue still for" in said.detail
    make_runner().start()
    operator.wait_for_end(deployment_id)
    assert watch.look().is_ok


def test_a_queue_behind_a_long_deployment_is_no_standstill(watch, operator, make_project, runner, monkeypatch):
    monkeypatch.setattr(RunnerWatch, "_sign", lambda _: None)
    project = make_project("echo started; sleep 1000")
    running = operator.deploy(project)
    operator.wait_for_output(running, b"started")
    waiting = operator.deploy(project)

    assert is_ok_for(watch, 3.0)

    assert operator.status(waiting) == "queued"


def test_a_clock_that_is_set_forward_or_back_is_no_standstill(watch, runner, installation, monkeypatch):
    monkeypatch.setattr(RunnerWatch, "_waiting_in_vain", lambda _: None)
    monkeypatch.setattr(health, "STUCK_AFTER_S", 60.0)
    runner.wait_until_ready()
    assert watch.look().is_ok
    for by in (-3600, 3600):
        present = time.time() + by
        os.utime(installation.data_dir.runner_lock, (present, present))
        assert watch.look().is_ok
