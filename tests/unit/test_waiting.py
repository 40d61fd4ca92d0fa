"""What holds a queued deployment back: the runner's claim and what people are told are one and the same."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from deployer import clock, protection
from deployer.deployments import claims, lifecycle, reading, waiting
from deployer.deployments.lifecycle import NewDeployment
from deployer.deployments.waiting import Hold
from deployer.errors import InvalidInput, InvalidTransition
from deployer.models import Deployment, Project
from deployer.models.base import table_of
from deployer.models.deployment import Trigger

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
OPEN, CLOSED = "Mon 09:00-17:00", "Tue 09:00-17:00"

_deployments = table_of(Deployment)
_projects = table_of(Project)


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def noon(monkeypatch):
    """It is Monday, 12:00 UTC."""
    monkeypatch.setattr(clock, "now", lambda: MONDAY_NOON)


@pytest.fixture
def ask(operator, write):
    """What a queued deployment waits for, in words; and whether it would be claimed."""

    def answer(deployment_id: str) -> tuple[str, bool]:
        with operator.database.read() as connection:
            said = waiting.of(connection, deployment_id)
            host = operator.installation.host_id
            return (said.words if said else ""), claims.next_in_queue(connection, None, host) == deployment_id

    return answer


def enqueue(connection, project, trigger=Trigger.PUSH, **given) -> str:
    new = NewDeployment(id=clock.new_id(), project_id=project.id, trigger=trigger, branch="main", **given)
    lifecycle.enqueue(connection, [new])
    return new.id


def change(connection, project, **values) -> None:
    connection.execute(_projects.update().where(_projects.c.id == project.id).values(**values))


def test_what_is_claimed_is_what_is_held_back_by_nothing_in_every_combination(operator, project, noon):
    """The oracle is written out by hand, apart from the conditions themselves."""
    combinations = itertools.product(
        (False, True), (None, OPEN, CLOSED), (False, True), (False, True), (False, True), Trigger, (False, True)
    )
    checked, host = 0, operator.installation.host_id
    with operator.database.write() as connection:
        for is_locked, text, ignores, needs_approval, is_approved, trigger, is_busy in combinations:
            savepoint = connection.begin_nested()
            change(
                connection,
                project,
                locked_by="ada" if is_locked else None,
                locked_because="sale" if is_locked else None,
                locked_at=MONDAY_NOON if is_locked else None,
                windows=text,
                needs_approval=needs_approval,
            )
            if is_busy:
                before = enqueue(connection, project, Trigger.MANUAL, approved_at=MONDAY_NOON, ignores_windows=True)
                connection.execute(_deployments.update().where(_deployments.c.id == before).values(status="running"))
            approved = {"approved_by": "ada", "approved_at": MONDAY_NOON} if is_approved else {}
            queued = enqueue(connection, project, trigger, ignores_windows=ignores, **approved)
            wanted = set()
            if trigger is not Trigger.ROLLBACK:
                wanted |= {Hold.LOCK} if is_locked else set()
                wanted |= {Hold.APPROVAL} if needs_approval and not is_approved else set()
                wanted |= {Hold.WINDOW} if text == CLOSED and not ignores else set()
            wanted |= {Hold.PROJECT} if is_busy else set()

            said = waiting.queue(connection)[queued]

            where = (is_locked, text, ignores, needs_approval, is_approved, trigger, is_busy)
            assert set(said.holds) == wanted, where
            assert bool(said.words) == bool(wanted), where
            assert (claims.next_in_queue(connection, None, host) == queued) == (not wanted), where
            assert (claims.claim(connection, "runner", None, host) == queued) == (not wanted), where
            savepoint.rollback()
            checked += 1
    assert checked == 2 * 3 * 2 * 2 * 2 * len(Trigger) * 2


def test_what_people_hold_back_is_no_standstill_of_the_runner(operator, write, project, noon):
    def standstill() -> str | None:
        with operator.database.read() as connection:
            return reading.standstill(connection, operator.installation.host_id)

    write(enqueue, project)
    assert standstill() is not None
    for held in ({"locked_at": MONDAY_NOON}, {"windows": CLOSED}, {"needs_approval": True}):
        write(change, project, **held)
        assert standstill() is None, held
        write(change, project, locked_at=None, windows=None, needs_approval=False)


def test_the_words_say_who_why_and_until_when(operator, write, project, ask, noon):
    queued = write(enqueue, project)
    write(
        change, project, locked_by="ada", locked_because="the sale ends on Sunday", locked_at=MONDAY_NOON,
        needs_approval=True, windows=CLOSED, windows_zone="Europe/Berlin",
    )  # fmt: skip

    words, is_claimed = ask(queued)

    assert not is_claimed
    assert words == (
        "frozen by ada because the sale ends on Sunday; an administrator has to approve it; "
        "the next deploy window opens Tue 09:00 (Europe/Berlin)"
    )


def test_a_turn_is_waited_for_behind_what_runs_or_comes_first(operator, write, make_project, project, ask):
    other = make_project(name="other")
    first, second = write(enqueue, project), write(enqueue, other)

    assert ask(first) == ("", True)
    assert ask(second) == ("its turn: DEP-0001 comes first", False)
    write(claims.claim, "runner", None, operator.installation.host_id)
    assert ask(second)[0] == "its turn: DEP-0001 is running"
    third = write(enqueue, project)
    assert ask(third) == ("DEP-0001 is running", False)


def test_a_frozen_project_is_passed_over_by_others(operator, write, make_project, project, ask):
    frozen, other = write(enqueue, project), write(enqueue, make_project(name="other"))
    write(change, project, locked_by="ada", locked_because="sale", locked_at=MONDAY_NOON)

    assert ask(other) == ("", True)
    assert ask(frozen)[1] is False


@pytest.mark.parametrize(
    ("held", "is_cancelled"),
    [
        ({}, True),
        ({"locked_at": MONDAY_NOON}, False),
        ({"windows": CLOSED}, False),
        ({"needs_approval": True}, False),
    ],
)
def test_a_push_that_is_held_back_ends_nothing_that_runs(operator, write, project, noon, held, is_cancelled):
    first = operator.pushed(project, "a" * 40)
    write(claims.claim, "runner", None, operator.installation.host_id)
    write(change, project, cancel_running=True, **held)

    operator.pushed(project, "b" * 40)

    assert (operator.deployment(first).cancel_requested_at is not None) is is_cancelled


def test_windows_that_cannot_be_read_any_more_are_no_time_to_deploy(operator, write, project, ask):
    queued = write(enqueue, project)
    write(change, project, windows=OPEN, windows_zone="Europe/Atlantis")

    words, is_claimed = ask(queued)

    assert ("save them again" in words, is_claimed) == (True, False)


# Approval


def approve(operator, deployment_id: str, by: str = "ada") -> None:
    with operator.database.write_session() as session:
        protection.approve(session, deployment_id, by)


def test_a_push_begins_once_it_is_approved_and_a_newer_one_needs_its_own(operator, write, project, ask):
    write(change, project, needs_approval=True)
    first = operator.pushed(project, "a" * 40)
    approve(operator, first)
    assert ask(first) == ("", True)

    second = operator.pushed(project, "b" * 40)

    assert ask(second) == ("an administrator has to approve it", False)
    with pytest.raises(InvalidTransition, match="DEP-0001 does not wait for approval: it is superseded"):
        approve(operator, first)
    approve(operator, second, by="grace")
    assert (operator.deployment(second).approved_by, operator.events(second)) == ("grace", ["queued", "approved"])
    with pytest.raises(InvalidTransition, match="needs no approval any more"):
        approve(operator, second)


def test_what_an_administrator_asks_for_needs_no_approval_and_what_a_member_asks_for_does(
    operator, write, project, ask
):
    write(change, project, needs_approval=True)
    by_member = operator.deploy(project)
    assert ask(by_member)[1] is False
    operator.cancel(by_member)

    by_admin = operator.deploy(project, is_admin=True)

    assert ask(by_admin) == ("", True)
    assert operator.deployment(by_admin).approved_by == "ada"


def test_an_approval_is_asked_for_only_where_the_project_says_so(operator, project):
    queued = operator.deploy(project)

    with pytest.raises(InvalidTransition, match="needs no approval"):
        approve(operator, queued)


def test_a_member_cannot_deploy_outside_the_windows(operator, write, project, noon, ask):
    write(change, project, windows=CLOSED)
    with pytest.raises(InvalidInput, match="Only an administrator"):
        operator.deploy(project, ignores_windows=True)

    assert ask(operator.deploy(project, is_admin=True, ignores_windows=True)) == ("", True)


def test_what_is_run_again_by_itself_was_approved_before(operator, write, project, ask):
    operator.change(project, rerun_interrupted=True)
    write(change, project, needs_approval=True)
    first = operator.pushed(project, "a" * 40)
    approve(operator, first)
    write(claims.claim, "runner", None, operator.installation.host_id)
    write(lifecycle.interrupt, first, "runner", "the host was rebooted")

    again = operator.deployments()[-1]

    assert (again.trigger, again.retry_of, again.approved_by) == ("retry", first, "ada")
    assert ask(again.id) == ("", True)


# The lock


def test_a_lock_has_a_reason_and_can_be_taken_over_and_opened(operator, project):
    with operator.database.write_session() as session:
        found = session.scalar(sa.select(Project))
        with pytest.raises(InvalidInput, match="Say why"):
            protection.lock(found, "ada", "  ")
        with pytest.raises(InvalidInput, match="at most 500"):
            protection.lock(found, "ada", "x" * 501)
        protection.lock(found, "ada", "the sale\nends on  Sunday")
        protection.lock(found, "grace", "still")
        assert (found.locked_by, found.locked_because) == ("grace", "still")
        protection.unlock(found)
        assert found.locked_at is None
        with pytest.raises(InvalidTransition, match="app is not locked"):
            protection.unlock(found)
