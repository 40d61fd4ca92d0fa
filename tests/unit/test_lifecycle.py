"""The state machine: each arrow once, each guarded, each with its event."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from deployer import clock
from deployer.deployments import claims, command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.deployments.lifecycle import ARROWS, NewDeployment
from deployer.errors import LostClaim
from deployer.models.deployment import CommandKind, Deployment, Status, Trigger

NOTHING = command_lifecycle.Progress(0, 0, None)
MINE, OTHERS = "my runner", "another runner"

ENDINGS = [
    (Status.SUCCESS, None),
    (Status.FAILED, "step 'x' exited with 1"),
    (Status.CANCELLED, "cancelled by ada"),
    (Status.INTERRUPTED, "the host was rebooted"),
    (Status.SUPERSEDED, "what is live already contains it"),
]


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def running(operator, write, project):
    """A deployment that my runner has claimed, with a command that waits."""
    deployment_id = operator.deploy(project)
    write(claims.claim, MINE)
    write(command_lifecycle.plan, deployment_id, [planned(deployment_id)])
    return deployment_id


def planned(deployment_id: str, position: int = 0) -> PlannedCommand:
    return PlannedCommand(f"{deployment_id[:30]}-{position}", position, CommandKind.STEP, "s", "s", 60, "n")


def new(project, trigger=Trigger.MANUAL, **fields) -> NewDeployment:
    return NewDeployment(
        **{"id": clock.new_id(), "project_id": project.id, "trigger": trigger, "branch": "main", **fields}
    )


def test_the_allowed_arrows_are_these_and_no_end_has_one():
    assert ARROWS[Status.QUEUED] == {Status.RUNNING, Status.CANCELLED, Status.SUPERSEDED, Status.INTERRUPTED}
    assert ARROWS[Status.RUNNING] == {status for status, _ in ENDINGS}
    assert set(ARROWS) == {status for status in Status if not status.is_final}


# queued → running -----------------------------------------------------------------------------------------------


def test_a_claim_takes_the_first_in_the_queue_and_writes_who_and_when(operator, write, project):
    first = operator.deploy(project)
    operator.deploy(project)

    assert write(claims.claim, MINE) == first

    found = operator.deployment(first)
    assert (found.status, found.runner_id) == ("running", MINE)
    assert found.started_at is not None
    assert operator.events(first) == ["queued", "running"]


def test_of_one_project_one_deployment_runs_at_a_time(operator, write, project, running):
    operator.deploy(project)

    assert write(claims.claim, OTHERS) is None


def test_another_projects_deployment_passes_one_that_has_to_wait(operator, write, project, running, make_project):
    operator.deploy(project)
    elsewhere = operator.deploy(make_project(name="other"))

    assert write(claims.claim, OTHERS) == elsewhere


def test_an_empty_queue_gives_nothing_to_claim(write, project):
    assert write(claims.claim, MINE) is None


def test_two_running_deployments_of_a_project_are_impossible_in_the_database(operator, write, project, running):
    second = operator.deploy(project)

    with pytest.raises(IntegrityError):
        write(lambda c: c.execute(sa.update(Deployment).where(Deployment.id == second).values(status="running")))


# running → its ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "cause"), ENDINGS)
def test_a_running_deployment_comes_to_its_end_with_cause_time_and_event(operator, write, running, status, cause):
    write(lifecycle.end, running, MINE, status, cause)

    found = operator.deployment(running)
    assert (found.status, found.cause) == (status, cause)
    assert found.finished_at >= found.started_at
    assert operator.events(running) == ["queued", "running", status]
    assert [command.status for command in operator.commands(running)] == ["skipped"]


@pytest.mark.parametrize(("status", "cause"), ENDINGS)
def test_an_end_outside_a_command_closes_the_one_that_runs_with_the_same_status(
    operator, write, running, status, cause
):
    write(command_lifecycle.start_command, planned(running).id, MINE, "boot")

    write(lifecycle.end, running, MINE, status, cause)

    (command,) = operator.commands(running)
    assert (command.status, command.cause) == (status, cause)
    assert command.finished_at == operator.deployment(running).finished_at


def test_an_end_leaves_the_commands_that_have_ended_as_they_are(operator, write, running):
    command = planned(running)
    write(command_lifecycle.start_command, command.id, MINE, "boot")
    write(
        command_lifecycle.finish_command, command.id, MINE, Status.SUCCESS, exit_code=0, cause=None, progress=NOTHING
    )

    write(lifecycle.fail, running, MINE, "it failed")

    assert [one.status for one in operator.commands(running)] == ["success"]


@pytest.mark.parametrize(("status", "cause"), ENDINGS)
def test_an_end_by_a_runner_that_lost_its_claim_changes_nothing(operator, write, running, status, cause):
    with pytest.raises(LostClaim):
        write(lifecycle.end, running, OTHERS, status, cause)

    assert operator.status(running) == "running"
    assert operator.events(running) == ["queued", "running"]
    assert [command.status for command in operator.commands(running)] == ["queued"]


@pytest.mark.parametrize(("first", "_cause"), ENDINGS)
def test_what_has_ended_does_not_end_again(operator, write, running, first, _cause):
    write(lifecycle.end, running, MINE, first, None)
    for status, cause in ENDINGS:
        with pytest.raises(LostClaim):
            write(lifecycle.end, running, MINE, status, cause)

    assert operator.status(running) == first


def test_a_queued_deployment_does_not_end_before_it_runs(operator, write, project):
    deployment_id = operator.deploy(project)

    with pytest.raises(LostClaim):
        write(lifecycle.succeed, deployment_id, MINE)


def test_a_new_runner_adopts_what_runs_and_the_old_one_can_no_longer_write(operator, write, running):
    assert write(claims.adopt, OTHERS) == [running]
    assert write(claims.adopt, OTHERS) == []

    with pytest.raises(LostClaim):
        write(lifecycle.succeed, running, MINE)
    with pytest.raises(LostClaim):
        write(lifecycle.record_commit, running, MINE, deployed_sha="a" * 40)
    write(lifecycle.succeed, running, OTHERS)
    assert operator.status(running) == "success"


# Cancel ---------------------------------------------------------------------------------------------------------


def test_a_queued_deployment_is_cancelled_at_once(operator, write, project):
    deployment_id = operator.deploy(project)

    assert write(lifecycle.request_cancel, deployment_id, "ada")

    found = operator.deployment(deployment_id)
    assert (found.status, found.cause) == ("cancelled", "cancelled by ada before it began")
    assert operator.events(deployment_id) == ["queued", "cancelled"]


def test_a_running_deployment_is_asked_once_and_goes_on_until_its_runner_ends_it(operator, write, running):
    assert write(lifecycle.request_cancel, running, "ada")
    first = operator.deployment(running)
    assert write(lifecycle.request_cancel, running, "grace")

    found = operator.deployment(running)
    assert (found.status, found.cancel_requested_by) == ("running", "ada")
    assert found.cancel_requested_at == first.cancel_requested_at
    assert operator.events(running) == ["queued", "running", "cancel_requested"]


def test_what_has_ended_cannot_be_cancelled(operator, write, running):
    write(lifecycle.succeed, running, MINE)

    assert not write(lifecycle.request_cancel, running, "ada")
    assert not write(lifecycle.request_cancel, "no such deployment", "ada")
    assert operator.deployment(running).cancel_requested_by is None


# Latest wins ----------------------------------------------------------------------------------------------------


def test_a_push_supersedes_the_queued_push_of_its_branch(operator, write, project):
    first, second = new(project, Trigger.PUSH), new(project, Trigger.PUSH)
    write(lifecycle.enqueue, [first])
    write(lifecycle.enqueue, [second])

    found = operator.deployment(first.id)
    assert (found.status, found.superseded_by, found.cause) == (
        "superseded",
        second.id,
        "a newer push took its place",
    )
    assert operator.status(second.id) == "queued"


def test_a_rollback_supersedes_all_that_nobody_asked_for_by_hand(operator, write, project):
    by_itself = [new(project, one) for one in (Trigger.PUSH, Trigger.SCHEDULE, Trigger.RETRY)]
    by_hand = [replace(new(project, one), triggered_by="ada") for one in (Trigger.MANUAL, Trigger.RETRY)]
    back = new(project, Trigger.ROLLBACK)
    write(lifecycle.enqueue, [*by_itself, *by_hand])
    write(lifecycle.enqueue, [back])

    assert {operator.deployment(one.id).superseded_by for one in by_itself} == {back.id}
    assert {operator.status(one.id) for one in [*by_hand, back]} == {"queued"}


def test_of_pushes_that_come_together_the_last_is_left(operator, write, project):
    pushes = [new(project, Trigger.PUSH) for _ in range(5)]
    write(lifecycle.enqueue, pushes)

    assert [operator.status(one.id) for one in pushes] == ["superseded"] * 4 + ["queued"]
    assert {operator.deployment(one.id).superseded_by for one in pushes[:-1]} == {pushes[-1].id}


def test_a_push_leaves_manual_deployments_other_branches_and_the_running_one_alone(
    operator, write, project, running, make_project
):
    others = [
        new(project, Trigger.MANUAL),
        new(project, Trigger.PUSH, branch="dev"),
        new(make_project(name="other"), Trigger.PUSH),
    ]
    write(lifecycle.enqueue, others)
    write(lifecycle.enqueue, [new(project, Trigger.PUSH)])

    assert [operator.status(one.id) for one in others] == ["queued"] * 3
    assert operator.status(running) == "running"


def test_two_queued_pushes_of_a_branch_are_impossible_in_the_database(operator, write, project):
    first, second = new(project, Trigger.PUSH), new(project, Trigger.PUSH)
    write(lifecycle.enqueue, [first, second])

    with pytest.raises(IntegrityError):
        write(lambda c: c.execute(sa.update(Deployment).where(Deployment.id == first.id).values(status="queued")))


def test_two_deployments_of_a_delivery_are_impossible_unless_the_first_failed(operator, write, project):
    first, second = (new(project, delivery_guid="guid") for _ in range(2))
    write(lifecycle.enqueue, [first])
    with pytest.raises(IntegrityError):
        write(lifecycle.enqueue, [second])

    write(claims.claim, MINE)
    write(lifecycle.fail, first.id, MINE, "it failed")
    write(lifecycle.enqueue, [second])
    assert operator.status(second.id) == "queued"


# Commands -------------------------------------------------------------------------------------------------------


def test_a_command_begins_and_ends_once_and_by_its_runner_only(operator, write, running):
    command = planned(running)
    with pytest.raises(LostClaim):
        write(command_lifecycle.start_command, command.id, OTHERS, "boot")
    write(command_lifecycle.start_command, command.id, MINE, "boot")
    with pytest.raises(LostClaim):
        write(command_lifecycle.start_command, command.id, MINE, "boot")
    with pytest.raises(LostClaim):
        write(
            command_lifecycle.finish_command,
            command.id,
            OTHERS,
            Status.SUCCESS,
            exit_code=0,
            cause=None,
            progress=NOTHING,
        )
    write(
        command_lifecycle.finish_command,
        command.id,
        MINE,
        Status.FAILED,
        exit_code=3,
        cause="it failed",
        progress=NOTHING,
    )
    with pytest.raises(LostClaim):
        write(
            command_lifecycle.finish_command,
            command.id,
            MINE,
            Status.SUCCESS,
            exit_code=0,
            cause=None,
            progress=NOTHING,
        )

    (found,) = operator.commands(running)
    assert (found.status, found.exit_code, found.cause) == ("failed", 3, "it failed")
    assert found.finished_at >= found.started_at


def test_a_plan_is_written_once(operator, write, running):
    with pytest.raises(LostClaim):
        write(command_lifecycle.plan, running, [planned(running)])

    assert len(operator.commands(running)) == 1


def test_a_failed_transaction_leaves_neither_status_nor_event(operator, installation, running):
    class Halfway(Exception):
        pass

    with pytest.raises(Halfway), installation.database.write() as connection:  # noqa: PT012
        lifecycle.succeed(connection, running, MINE)
        raise Halfway

    assert operator.status(running) == "running"
    assert operator.events(running) == ["queued", "running"]
