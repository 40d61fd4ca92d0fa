"""A runner at work: what is held back does not begin, and what nobody trusted signed is not even checked out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from deployer import cron, projects, protection
from deployer.deployments import schedules
from deployer.models import Schedule
from deployer.models.base import table_of
from deployer.protection import SignersInput
from tests.support.signing import SshSigner
from tests.support.waiting import wait_until

_schedules = table_of(Schedule)


@pytest.fixture
def grace(tmp_path):
    return SshSigner(tmp_path, "Grace")


@pytest.fixture
def protect(operator):
    """Call a use case of protection with a project first."""

    def call(project, function, *arguments) -> None:
        with operator.database.write_session() as session:
            function(projects.find(session, project.id), *arguments)

    return call


def trust(project, read) -> None:
    protection.set_signers(project, read)


def test_a_frozen_project_waits_and_goes_on_when_it_is_unlocked(operator, make_project, runner, protect):
    frozen, other = make_project(), make_project(name="other")
    protect(frozen, protection.lock, "ada", "a sale")
    waiting = operator.deploy(frozen)

    assert operator.wait_for_end(operator.deploy(other)).status == "success"
    assert operator.status(waiting) == "queued"
    protect(frozen, protection.unlock)
    assert operator.wait_for_end(waiting).status == "success"


def test_a_schedule_that_came_due_while_no_runner_was_there_is_made_up_for_and_an_old_one_is_missed(
    operator, make_project, make_runner, write_schedule
):
    project = make_project()
    recent = write_schedule(project, "*/5 * * * *", minutes_ago=5)
    old = write_schedule(project, "0 0 1 1 *", minutes_ago=600 * 24 * 60)

    make_runner().start()

    wait_until(lambda: len(operator.deployments()) == 1, "the schedule's deployment")
    (made,) = operator.deployments()
    assert operator.wait_for_end(made.id).status == "success"
    assert (made.trigger, made.triggered_by) == ("schedule", "every 5 minutes UTC")
    assert operator.deployment(made.id).deployed_sha is not None
    wait_until(lambda: stored(operator, old).missed_at is not None, "the word of what was missed")
    assert stored(operator, old).missed_because == "the runner was not running"
    assert stored(operator, recent).last_deployment_id == made.id


@pytest.fixture
def write_schedule(operator):
    def write(project, expression: str, *, minutes_ago: int) -> str:
        with operator.database.write_session() as session:
            made = schedules.add(session, project.id, expression, "UTC", "ada")
            made.next_at = cron.parse(expression).next_after(made.created_at - timedelta(minutes=minutes_ago), "UTC")
            return made.id

    return write


def stored(operator, schedule_id: str):
    (row,) = operator.rows(_schedules.select().where(_schedules.c.id == schedule_id))
    return row


def test_only_what_somebody_trusted_has_signed_is_checked_out(
    operator, make_project, runner, repository, protect, grace, tmp_path
):
    project = make_project("git pull origin main", "cat README.md", path=str(tmp_path / "copy"))
    read = protection.read_signers(SignersInput(signers=grace.line()), operator.installation.data_dir)
    protect(project, trust, read)
    unsigned = repository.commit("unsigned", README_md="evil\n")

    failed = operator.wait_for_end(operator.deploy(project))

    assert failed.status == "failed"
    assert failed.cause == (
        f"commit {unsigned[:7]} is not signed; "
        "this project deploys only what is signed by one of its SSH signers (grace@example.com)"
    )
    assert [one.kind for one in operator.commands(failed.id) if one.started_at] == ["fetch"]
    assert not (tmp_path / "copy").exists()

    (repository.path / "README.md").write_text("good\n")
    repository.git("add", "--all")
    signed = grace.commit(repository)
    pushed = operator.pushed(project, signed)
    done = operator.wait_for_end(pushed)
    assert (done.status, done.deployed_sha) == ("success", signed)
    assert operator.step_output(pushed) == b"good\n"

    # The tip is another one by now, which the project's own pull would bring. What was checked is what is deployed.
    newer = repository.commit("unsigned again", README_md="evil\n")
    again = operator.wait_for_end(operator.deploy(project, commit=signed))
    assert (again.status, again.deployed_sha) == ("success", signed)
    assert operator.wait_for_end(operator.pushed(project, newer)).status == "failed"
    assert (tmp_path / "copy" / "README.md").read_text() == "good\n"


def test_what_was_approved_is_deployed_and_not_what_came_since(operator, make_project, runner, repository, tmp_path):
    project = make_project("git pull origin main", path=str(tmp_path / "copy"))
    with operator.database.write_session() as session:
        projects.find(session, project.id).needs_approval = True
    approved = repository.commit("approved")
    pushed = operator.pushed(project, approved)
    repository.commit("not seen by anybody")
    with operator.database.write_session() as session:
        protection.approve(session, pushed, "ada")

    done = operator.wait_for_end(pushed)

    assert (done.status, done.deployed_sha) == ("success", approved)
