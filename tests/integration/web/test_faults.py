"""The whole daemon under a fault, and after it: what could not be recorded is not accepted, and nothing needs a
restart."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.browser import Browser
from tests.support.database import of_sqlite
from tests.support.disk import fill, use_up_what_is_reserved
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.waiting import wait_until

NOT_RECORDED = (503, "The push could not be recorded; try again later")
GUID = "11111111-1111-1111-1111-111111111111"


def said(answer) -> tuple[int, str]:
    return answer.status, answer.text


def health(daemon) -> int:
    return Browser(daemon).get("/health").status


@pytest.fixture
def ran(tmp_path) -> Path:
    return tmp_path / "ran"


@of_sqlite
def test_a_push_to_a_full_disk_is_refused_and_deploys_when_it_is_delivered_again(
    roomy_disk, make_daemon, repository, ran
):
    daemon = make_daemon(folder=roomy_disk, storage_min_free_bytes=0).start()
    operator = Operator(daemon.installation)
    forge = Forge(daemon, operator.make_project(repository.url, [f"echo ran >> {ran}"]))
    first = forge.push(after=repository.tip()).headers["X-Deployment-Id"]
    assert operator.wait_for_end(first).status == "success"
    runner = daemon.runner_pid
    fill(roomy_disk / "filler")
    use_up_what_is_reserved(daemon.config.database_path)

    refused = forge.push(guid=GUID, after=repository.tip())

    assert said(refused) == NOT_RECORDED
    assert refused.headers["X-Deployment-Id"] is None
    wait_until(lambda: health(daemon) == 503, "the health to be red")
    (roomy_disk / "filler").unlink()
    accepted = forge.push(guid=GUID, after=repository.tip())
    assert said(accepted) == (200, "Deployment triggered")
    assert operator.wait_for_end(accepted.headers["X-Deployment-Id"]).status == "success"
    assert ran.read_text() == "ran\nran\n"
    assert len(operator.deployments()) == 2
    wait_until(lambda: health(daemon) == 200, "the health to be green")
    assert daemon.runner_pid == runner


@of_sqlite
def test_a_push_to_a_disk_that_turned_read_only_is_refused_and_what_runs_is_left_alone(
    failing_disk, make_daemon, repository, tmp_path
):
    daemon = make_daemon(folder=failing_disk.place, storage_min_free_bytes=0).start()
    operator = Operator(daemon.installation)
    gate = tmp_path / "gate"
    step = f"echo started; while [ ! -e {gate} ]; do sleep 0.02; done; touch {gate}.passed"
    forge = Forge(daemon, operator.make_project(repository.url, [step]))
    operator.wait_for_output(forge.push(after=repository.tip()).headers["X-Deployment-Id"], b"started")

    failing_disk.fail()

    assert said(forge.push()) == NOT_RECORDED
    gate.touch()
    wait_until(Path(f"{gate}.passed").exists, "the step's end")


def test_a_runner_that_finds_no_key_file_comes_back_by_itself_when_it_is_restored(make_daemon, repository, ran):
    daemon = make_daemon().start()
    operator = Operator(daemon.installation)
    forge = Forge(daemon, operator.make_project(repository.url, [f"echo ran >> {ran}"]))
    key = daemon.config.data_dir / "key"
    key.rename(key.with_name("kept"))
    runner = wait_until(lambda: daemon.runner_pid, "the runner")
    os.kill(runner, signal.SIGKILL)

    # The web process knows its key, so the push is accepted; it waits.
    accepted = forge.push(after=repository.tip())
    assert said(accepted) == (200, "Deployment triggered")
    wait_until(lambda: daemon.log.count(f"The key file {key} is missing") >= 2, "the runner to be tried again")
    assert health(daemon) == 503
    assert not key.exists()
    key.with_name("kept").rename(key)

    assert operator.wait_for_end(accepted.headers["X-Deployment-Id"]).status == "success"
    assert ran.read_text() == "ran\n"
    wait_until(lambda: health(daemon) == 200, "the health to be green")
