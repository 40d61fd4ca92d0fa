"""A database that takes no writes, in the middle of a deployment: it waits, its command goes on, nothing is lost or
run twice, and it resumes by itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.config import StorageSettings
from deployer.health import Health
from tests.support.database import locked, of_sqlite
from tests.support.disk import fill, use_up_what_is_reserved
from tests.support.waiting import wait_until

pytestmark = of_sqlite

LINES = 40_000


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder on a disk with room."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def config(config, roomy_disk):
    return replace(config, storage=StorageSettings(data_dir=str(roomy_disk / "data"), min_free_bytes=0))


@pytest.fixture
def spool_elsewhere(installation, elsewhere) -> None:
    """The commands' output lies on a disk of its own; the database's is the small one."""
    spool = installation.data_dir.spool
    spool.rmdir()
    (elsewhere / "spool").mkdir(mode=0o700)
    spool.symlink_to(elsewhere / "spool")


@pytest.fixture
def project(make_project, elsewhere):
    """Prints much once the file ``go`` is there, and notes that it ran."""
    step = (
        f"echo once >> {elsewhere}/ran; echo started; while [ ! -e {elsewhere}/go ]; do sleep 0.02; done; "
        f"seq {LINES} | tee {elsewhere}/printed; touch {elsewhere}/over"
    )
    return make_project(step, f"echo again >> {elsewhere}/ran")


@contextlib.contextmanager
def full(config) -> Iterator[None]:
    filler = config.data_dir.parent / "filler"
    fill(filler)
    use_up_what_is_reserved(config.database_path)
    fill(filler.with_name("the rest"))
    yield
    filler.with_name("the rest").unlink()
    filler.unlink()


def started(operator, project) -> str:
    """A deployment whose step has begun, and waits for the word."""
    deployment_id: str = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    return deployment_id


def go(elsewhere: Path) -> None:
    """Give the step the word. Its end comes, whatever the database takes."""
    (elsewhere / "go").touch()
    wait_until((elsewhere / "over").exists, "the command's end")


def printed(elsewhere: Path) -> bytes:
    return b"started\n" + (elsewhere / "printed").read_bytes()


@pytest.mark.usefixtures("spool_elsewhere")
@pytest.mark.parametrize("fault", [full, locked])
def test_a_deployment_waits_while_the_database_takes_no_write_and_its_log_is_whole(
    operator, installation, config, project, runner, elsewhere, fault
):
    deployment_id = started(operator, project)
    health = Health(installation)
    with fault(config):
        go(elsewhere)
        found = wait_until(lambda: health.troubles(), "the fault to be told")
        assert [one.name for one in found] == ["database"]
        # Longer than a write waits for a lock.
        until = time.monotonic() + 6
        while time.monotonic() < until:
            assert operator.status(deployment_id) == "running"
            assert runner.is_running
            time.sleep(0.2)

    deployment = operator.wait_for_end(deployment_id)

    assert (deployment.status, runner.is_running, runner.starts) == ("success", True, 1)
    assert hashlib.sha256(operator.step_output(deployment_id)).digest() == hashlib.sha256(printed(elsewhere)).digest()
    assert (elsewhere / "ran").read_text() == "once\nagain\n"
    wait_until(lambda: not health.troubles(), "the health to be good again")


@pytest.mark.usefixtures("spool_elsewhere")
def test_a_runner_that_is_killed_while_the_disk_is_full_comes_back_there_and_goes_on(
    operator, config, project, runner, elsewhere
):
    deployment_id = started(operator, project)
    with full(config):
        runner.kill()
        go(elsewhere)
        runner.start().wait_until_ready()
        time.sleep(1)
        assert runner.is_running
        assert operator.status(deployment_id) == "running"

    assert operator.wait_for_end(deployment_id).status == "success"
    assert runner.is_running
    assert operator.step_output(deployment_id) == printed(elsewhere)
    assert (elsewhere / "ran").read_text() == "once\nagain\n"


def test_output_that_the_full_disk_did_not_take_is_said_to_be_missing_and_the_end_is_kept(
    operator, config, project, runner, elsewhere
):
    """All on one disk: the command runs on, and its exit code waits until it can be written."""
    deployment_id = started(operator, project)
    with full(config):
        go(elsewhere)
        # Also a runner finds everything there that it needs to begin.
        runner.kill()
        runner.start().wait_until_ready()
        time.sleep(1)
        assert operator.status(deployment_id) == "running"

    deployment = operator.wait_for_end(deployment_id)

    first, second = operator.steps(deployment_id)
    assert (deployment.status, first.exit_code, second.exit_code) == ("success", 0, 0)
    assert printed(elsewhere).startswith(operator.output(first))
    assert "The end of this command's output is missing: it could not be written." in operator.remarks(first)
    assert (elsewhere / "ran").read_text() == "once\nagain\n"
    assert runner.is_running


@pytest.mark.usefixtures("spool_elsewhere")
def test_a_runner_that_dies_again_and_again_on_a_full_disk_runs_nothing_twice(
    operator, config, project, runner, elsewhere
):
    deployment_id = started(operator, project)
    with full(config):
        (elsewhere / "go").touch()
        for _ in range(5):
            runner.end(signal.SIGKILL)
            runner.start().wait_until_ready()
            os.kill(runner.pid, 0)

    assert operator.wait_for_end(deployment_id).status == "success"
    assert operator.step_output(deployment_id) == printed(elsewhere)
    assert (elsewhere / "ran").read_text() == "once\nagain\n"
