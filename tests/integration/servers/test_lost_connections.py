"""A connection that is lost costs nothing: the command goes on there, and its log is whole."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deployer.config import Config, SshSettings
from deployer.executors import processes
from tests.support.waiting import wait_until

# Numbered lines, slow enough that a connection can be lost in between, with a note for each run.
COUNT = "echo once >> {ran}; for n in $(seq 1 {lines}); do echo line $n; sleep 0.01; done"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, ssh=SshSettings(reconnect_for=60))


@pytest.fixture
def ran(user) -> Path:
    """The file that counts executions; removed with the home's folders."""
    folder = user.owns_folder("ran")
    return folder / "times"


def expected(lines: int) -> bytes:
    return b"".join(b"line %d\n" % n for n in range(1, lines + 1))


def wait_for_remark(operator, deployment_id: str, text: str, number: int = 0) -> None:
    def is_there() -> bool:
        steps = operator.steps(deployment_id)
        return len(steps) > number and text in operator.remarks(steps[number])

    wait_until(is_there, text, within_s=40)


def test_a_connection_cut_again_and_again_loses_and_doubles_nothing(operator, make_project, runner, ssh, ran):
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=300), "echo after"))
    for n in (20, 90, 160):
        operator.wait_for_output(deployment_id, b"line %d\n" % n)
        ssh.cut()

    deployment = operator.wait_for_end(deployment_id, within_s=60)

    assert (deployment.status, deployment.cause) == ("success", None)
    counted, after = operator.steps(deployment_id)
    assert operator.output(counted) == expected(300)
    assert operator.output(after) == b"after\n"
    assert ran.read_text() == "once\n"
    assert "web1 cannot be reached: " in operator.remarks(counted)
    assert "In contact with web1 again, after " in operator.remarks(counted)


def test_a_flood_of_any_bytes_that_is_cut_again_and_again_is_stored_as_it_was_printed(
    operator, make_project, runner, ssh, ran
):
    said = ran.with_name("said")
    flood = f"for n in $(seq 40); do head -c 60000 /dev/urandom | tee -a {said}; sleep 0.03; done; printf end"
    deployment_id = operator.deploy(make_project(f"echo once >> {ran}; {flood}", "echo after"))
    for size in (100_000, 600_000, 1_200_000, 1_800_000):
        wait_until(lambda: said.exists() and said.stat().st_size > size, f"{size} bytes", within_s=60)  # noqa: B023
        ssh.cut()

    assert operator.wait_for_end(deployment_id, within_s=120).status == "success"
    printed = said.read_bytes() + b"end"
    stored = operator.step_output(deployment_id)
    assert len(stored) == len(printed) == 40 * 60_000 + 3
    assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(printed).hexdigest()
    assert operator.step_output(deployment_id, 1) == b"after\n"
    assert ran.read_text() == "once\n"


def test_a_server_that_freezes_and_thaws_goes_on_where_it_was(operator, make_project, runner, ssh, ran):
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=100)))
    operator.wait_for_output(deployment_id, b"line 10\n")

    ssh.freeze()
    wait_for_remark(operator, deployment_id, "web1 cannot be reached: no answer for 10 s.")
    ssh.thaw()

    deployment = operator.wait_for_end(deployment_id, within_s=60)
    assert deployment.status == "success"
    assert operator.step_output(deployment_id) == expected(100)
    assert ran.read_text() == "once\n"


def test_a_server_that_is_down_for_a_while_is_waited_for(operator, make_project, runner, ssh, ran):
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=100), "echo after"))
    operator.wait_for_output(deployment_id, b"line 10\n")

    ssh.stop()
    wait_for_remark(operator, deployment_id, "connection refused")
    ssh.start()

    assert operator.wait_for_end(deployment_id, within_s=60).status == "success"
    assert operator.step_output(deployment_id) == expected(100)
    assert ran.read_text() == "once\n"


def test_a_runner_that_is_killed_goes_on_with_what_runs_there(operator, make_project, make_runner, ssh, ran):
    first = make_runner().start()
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=200), "echo after"))
    for n in (20, 80, 140):
        operator.wait_for_output(deployment_id, b"line %d\n" % n)
        first.kill()
        first.start()

    deployment = operator.wait_for_end(deployment_id, within_s=60)

    assert deployment.status == "success"
    counted, after = operator.steps(deployment_id)
    assert operator.output(counted) == expected(200)
    assert operator.output(after) == b"after\n"
    assert ran.read_text() == "once\n"


def test_a_runner_that_is_killed_while_the_connection_is_lost_goes_on_too(
    operator, make_project, make_runner, ssh, ran
):
    runner = make_runner().start()
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=100)))
    operator.wait_for_output(deployment_id, b"line 10\n")
    ssh.stop()
    wait_for_remark(operator, deployment_id, "connection refused")

    runner.kill()
    runner.start()
    ssh.start()

    assert operator.wait_for_end(deployment_id, within_s=60).status == "success"
    assert operator.step_output(deployment_id) == expected(100)
    assert ran.read_text() == "once\n"


class TestGivenUp:
    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, ssh=SshSettings(reconnect_for=1))

    def test_a_server_that_stays_away_interrupts_the_deployment_and_is_tidied_at_the_next_contact(
        self, operator, make_project, runner, ssh, user
    ):
        marks = user.owns_folder("ran") / "times"
        project = make_project(f"echo once >> {marks}; echo started; sleep 1234.75")
        deployment_id = operator.deploy(project)
        operator.wait_for_output(deployment_id, b"started")
        (step,) = operator.steps(deployment_id)
        ssh.stop()

        deployment = operator.wait_for_end(deployment_id)

        assert deployment.status == "interrupted"
        remarks = operator.remarks(operator.steps(deployment_id)[0])
        assert remarks.startswith("web1 cannot be reached: ")
        assert ". What runs there goes on. Trying again.\n" in remarks
        assert operator.step_output(deployment_id) == b"started\n"
        assert deployment.cause == "web1 cannot be reached: connection refused, for 1 s (ssh.reconnect_for)"
        assert processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())
        ssh.start()
        operator.change(project, steps=["echo next"])
        assert operator.wait_for_end(operator.deploy(project)).status == "success"
        assert not processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())
        assert not (user.home / ".deployer/spool" / step.id / "output").exists()
        assert marks.read_text() == "once\n"

    def test_what_was_given_up_is_ended_when_the_server_is_back_also_if_nothing_is_deployed_there(
        self, operator, make_project, runner, ssh, user
    ):
        deployment_id = operator.deploy(make_project("echo started; sleep 1234.75"))
        operator.wait_for_output(deployment_id, b"started")
        (step,) = operator.steps(deployment_id)
        ssh.stop()
        assert operator.wait_for_end(deployment_id).status == "interrupted"

        ssh.start()

        wait_until(lambda: not processes.with_variable(f"DEPLOY_ID={deployment_id}".encode()), "its end", within_s=30)
        wait_until(lambda: not (user.home / ".deployer/spool" / step.id / "output").exists(), "its collection")

    def test_a_new_runner_ends_what_a_former_one_gave_up(self, operator, make_project, make_runner, ssh):
        runner = make_runner().start()
        deployment_id = operator.deploy(make_project("echo started; sleep 1234.75"))
        operator.wait_for_output(deployment_id, b"started")
        ssh.stop()
        assert operator.wait_for_end(deployment_id).status == "interrupted"
        runner.kill()

        ssh.start()
        runner.start()

        wait_until(lambda: not processes.with_variable(f"DEPLOY_ID={deployment_id}".encode()), "its end", within_s=30)

    def test_a_server_that_was_never_reached_fails_the_deployment_and_names_what_is_wrong(
        self, operator, make_project, runner, ssh
    ):
        ssh.stop()

        deployment = operator.wait_for_end(operator.deploy(make_project("echo never")))

        assert deployment.status == "failed"
        assert deployment.cause == "web1 cannot be reached: connection refused; nothing was run there"
        assert [step.status for step in operator.steps(deployment.id)] == ["skipped"]


def test_a_key_that_is_away_for_a_moment_does_not_cost_what_runs(operator, make_project, runner, ssh, ran):
    deployment_id = operator.deploy(make_project(COUNT.format(ran=ran, lines=200)))
    operator.wait_for_output(deployment_id, b"line 10\n")
    keys = ssh.authorized
    ssh.revoke_all()
    ssh.cut()
    wait_for_remark(operator, deployment_id, "refused the login")

    for line in keys.splitlines():
        ssh.authorize(line)

    assert operator.wait_for_end(deployment_id, within_s=60).status == "success"
    assert operator.step_output(deployment_id) == expected(200)
    assert ran.read_text() == "once\n"


def test_a_host_key_that_changes_while_something_runs_is_not_waited_for(operator, make_project, runner, ssh):
    deployment_id = operator.deploy(make_project("echo started; sleep 1234.5"))
    operator.wait_for_output(deployment_id, b"started")
    ssh.stop()
    ssh.make_host_key()
    ssh.start()

    deployment = operator.wait_for_end(deployment_id)

    assert deployment.status == "interrupted"
    assert deployment.cause.startswith("The host key of web1 is another one: ")


def test_a_cancel_does_not_wait_for_a_lost_server(operator, make_project, runner, ssh):
    deployment_id = operator.deploy(make_project("echo started; sleep 1234.5"))
    operator.wait_for_output(deployment_id, b"started")
    ssh.stop()
    wait_for_remark(operator, deployment_id, "connection refused")

    operator.cancel(deployment_id)

    deployment = operator.wait_for_end(deployment_id, within_s=10)
    assert deployment.status == "cancelled"
    assert deployment.cause == "cancelled by ada; what ran on web1 is ended when it can be reached again"


def test_a_cancel_ends_everything_there(operator, make_project, runner):
    deployment_id = operator.deploy(make_project("setsid sleep 1234.25 & sleep 1234.25 & echo started; wait"))
    operator.wait_for_output(deployment_id, b"started")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    assert not processes.with_variable(f"DEPLOY_ID={deployment_id}".encode())


def test_a_dead_server_holds_up_neither_this_host_nor_another_server(
    operator, make_project, make_ssh, repository, runner, ssh
):
    other = operator.make_server(make_ssh(), "web2")
    stuck = operator.deploy(make_project("echo started; sleep 1234.5", name="stuck"))
    operator.wait_for_output(stuck, b"started")
    ssh.stop()
    wait_for_remark(operator, stuck, "connection refused")

    here = operator.deploy(operator.make_project(repository.url, ["echo here"], name="here"))
    there = operator.deploy(make_project("echo there", name="there", server=other))

    assert operator.wait_for_end(here).status == "success"
    assert operator.wait_for_end(there).status == "success"
    assert operator.status(stuck) == "running"
    operator.cancel(stuck)
    operator.wait_for_end(stuck)


def test_two_projects_of_one_server_run_one_after_the_other(operator, make_project, runner):
    first = operator.deploy(make_project("echo started; sleep 0.5", name="first"))
    second = operator.deploy(make_project("echo started", name="second"))

    ended, begun = operator.wait_for_end(first), operator.wait_for_end(second)

    assert (ended.status, begun.status) == ("success", "success")
    assert begun.started_at >= ended.finished_at


def test_output_that_comes_while_the_reader_is_away_is_read_in_full(operator, make_project, runner, ssh):
    step = "echo started; while [ ! -e ~/ran/go ]; do sleep 0.02; done; seq 1 200000"
    deployment_id = operator.deploy(make_project(step))
    operator.wait_for_output(deployment_id, b"started")
    ssh.stop()
    wait_for_remark(operator, deployment_id, "connection refused")
    go(ssh)
    ssh.start()

    assert operator.wait_for_end(deployment_id, within_s=60).status == "success"
    assert operator.step_output(deployment_id) == b"started\n" + b"".join(b"%d\n" % n for n in range(1, 200001))


def go(ssh) -> None:
    folder = ssh.home / "ran"
    folder.mkdir(exist_ok=True)
    (folder / "go").touch()
    os.chmod(folder, 0o755)
