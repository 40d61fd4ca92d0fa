"""A clock that is set, in the middle of everything: what runs is timed by what the kernel counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from deployer import clock, logins
from deployer.project_input import StepInput
from deployer.web import text
from tests.support.runner_process import SET_BY

HOUR = 3600


@pytest.fixture
def hands(tmp_path) -> Path:
    """Says by how many seconds the runner's clock was set."""
    return tmp_path / "hands"


@pytest.fixture
def runner(make_runner, hands):
    return make_runner({SET_BY: str(hands)}).start()


def gated(tmp_path: Path, **given) -> StepInput:
    return StepInput(f"echo started; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo ended", **given)


def test_a_clock_that_jumps_back_an_hour_under_a_deployment_changes_nothing_of_it(
    operator, make_project, runner, hands, tmp_path
):
    deployment_id = operator.deploy(make_project(gated(tmp_path), "echo next"))
    operator.wait_for_output(deployment_id, b"started")
    hands.write_text(str(-HOUR))
    (tmp_path / "go").touch()

    deployment = operator.wait_for_end(deployment_id)

    assert deployment.status == "success"
    assert operator.step_output(deployment_id) == b"started\nended\n"
    assert deployment.finished_at < deployment.started_at
    # What is before its own beginning is no negative time.
    assert text.took(deployment.started_at, deployment.finished_at) == "0 ms"
    assert "success in 0 ms" in runner.log
    assert operator.wait_for_end(operator.deploy(make_project("true", name="following"))).status == "success"


def test_a_clock_that_jumps_back_an_hour_does_not_lengthen_a_timeout(operator, make_project, runner, hands):
    slow = StepInput("echo started; sleep 1000", name="slow", timeout_s=3)
    deployment_id = operator.deploy(make_project(slow))
    operator.wait_for_output(deployment_id, b"started")

    hands.write_text(str(-HOUR))

    deployment = operator.wait_for_end(deployment_id)
    assert (deployment.status, deployment.cause) == ("failed", "step 'slow' timed out after 3 s")


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_a_runner_that_comes_back_under_another_time_of_day_knows_how_long_a_command_has_run(
    operator, make_project, runner, hands, tmp_path, by
):
    deployment_id = operator.deploy(make_project(gated(tmp_path, timeout_s=300)))
    operator.wait_for_output(deployment_id, b"started")
    runner.kill()
    hands.write_text(str(by))
    runner.start().wait_until_ready()
    (tmp_path / "go").touch()

    deployment = operator.wait_for_end(deployment_id)

    assert (deployment.status, deployment.cause) == ("success", None)


def test_what_timed_out_before_the_clock_was_set_back_is_ended_by_the_next_runner(
    operator, make_project, runner, hands, tmp_path
):
    deployment_id = operator.deploy(make_project(gated(tmp_path, name="slow", timeout_s=2)))
    operator.wait_for_output(deployment_id, b"started")
    hands.write_text(str(-HOUR))
    runner.kill()
    runner.start()

    deployment = operator.wait_for_end(deployment_id)

    assert deployment.cause == "step 'slow' timed out after 2 s"


def test_nobody_is_locked_out_for_longer_than_a_guess_costs_when_the_clock_is_set_back(installation, monkeypatch):
    database = installation.database
    for _ in range(logins.FREE_FAILURES):
        assert logins.check_password(database, "ada", "wrong", address="192.0.2.1") is None
    with pytest.raises(logins.LoginThrottled):
        logins.check_password(database, "ada", "wrong", address="192.0.2.1")
    true_now = clock.now

    monkeypatch.setattr(clock, "now", lambda: true_now() - timedelta(hours=1))

    assert logins.check_password(database, "ada", "wrong", address="192.0.2.1") is None
