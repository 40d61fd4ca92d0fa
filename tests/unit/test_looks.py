"""What is made of a look at a project's remote: which commit is news, and which was known."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.deployments import claims, deliveries, lifecycle, looks, verdicts
from deployer.deployments.looks import NO_ROOM, Look, Outcome, Why
from deployer.models import Delivery, Project
from deployer.models.delivery import Verdict
from deployer.models.deployment import Status
from deployer.providers.base import Event, Push

A, B, C = (letter * 40 for letter in "abc")


class Lookout:
    """Looks at one project, and a runner that runs what waits."""

    def __init__(self, operator, project) -> None:
        self.operator = operator
        self.database = operator.database
        self.project = project
        self.max_queued = 10

    def followed(self):
        with self.database.read() as connection:
            return next((one for one in looks.followed(connection) if one.id == self.project.id), None)

    def see(self, tip, *, why=Why.REGULAR, project=None, asked_at=None) -> Outcome:
        with self.database.write() as connection:
            look = Look(project or self.followed(), asked_at or clock.now(), tip, why)
            return looks.record(connection, look, self.max_queued).outcome

    def end(self, deployment_id, status=Status.SUCCESS, sha=None) -> None:
        """The deployment runs, and ends so."""
        with self.database.write() as connection:
            assert claims.claim(connection, "runner") == deployment_id
            if sha:
                lifecycle.record_commit(connection, deployment_id, "runner", commit_sha=sha)
            if status is Status.SUCCESS:
                done = sha or self.operator.deployment(deployment_id).commit_sha
                lifecycle.record_commit(connection, deployment_id, "runner", deployed_sha=done)
            lifecycle.end(connection, deployment_id, "runner", status, "so it is")

    def deploy(self, sha, status=Status.SUCCESS) -> None:
        self.end(self.operator.deploy(self.project), status, sha)

    def push(self, sha, status=Status.SUCCESS) -> None:
        self.end(self.operator.pushed(self.project, sha), status)

    def deliver(self, sha, message="Fix it"):
        """A delivery with a message; what it was answered with."""
        push = Push(ref="refs/heads/main", branch="main", sha=sha, message=message)
        request = deliveries.Request(
            self.project.id,
            "github",
            clock.now(),
            event=Event("push", push=push),
            sealed_secret=self.project.webhook_secret,
        )
        with self.database.write() as connection:
            return deliveries.record(connection, [request], self.max_queued)[0]

    def deliver_all(self, *pushes):
        """One delivery of several refs; what it was answered with."""
        request = deliveries.Request(
            self.project.id, "bitbucket", clock.now(), event=Event("repo:push", push=pushes[0], more=pushes[1:])
        )
        with self.database.write() as connection:
            return deliveries.record(connection, [request], self.max_queued)[0]

    def waiting(self):
        return [one for one in self.operator.deployments() if one.status == "queued"]

    def row(self):
        (row,) = self.operator.rows(
            sa.select(*Project.__table__.columns).where(Project.__table__.c.id == self.project.id)
        )
        return row

    def set(self, **values) -> None:
        with self.database.write() as connection:
            connection.execute(sa.update(Project).where(Project.id == self.project.id).values(**values))


@pytest.fixture
def lookout(operator, make_project):
    return Lookout(operator, make_project("true"))


# Which projects -----------------------------------------------------------------------------------------------------


def test_a_project_that_was_just_made_is_not_followed(lookout):
    assert lookout.followed() is None


@pytest.mark.parametrize("known", ["poll_minutes", "connected_at", "polled_sha"])
def test_a_webhook_a_polling_interval_or_an_earlier_look_makes_it_followed(lookout, known):
    lookout.set(**{known: {"poll_minutes": 5, "connected_at": clock.now(), "polled_sha": A}[known]})

    assert lookout.followed() is not None


def test_a_deployment_by_hand_makes_it_followed(lookout):
    lookout.deploy(A)

    assert lookout.followed() is not None


def test_without_auto_deploy_it_never_is(lookout, operator):
    lookout.push(A)
    before = lookout.followed()
    operator.change(lookout.project, auto_deploy=False)

    assert lookout.followed() is None
    assert lookout.see(B, project=before) is Outcome.VOID
    assert lookout.waiting() == []


def test_without_steps_it_never_is(lookout, operator):
    lookout.push(A)
    operator.change(lookout.project, steps=[])

    assert lookout.followed() is None


def test_with_releases_it_is_also_without_steps(lookout, operator):
    lookout.push(A)
    operator.change(lookout.project, steps=[], strategy="release")

    assert lookout.see(B) is Outcome.NEWS


# What is news -------------------------------------------------------------------------------------------------------


def test_a_commit_that_no_delivery_told_of_waits_for_its_deployment_and_says_why(lookout):
    lookout.push(A)

    assert lookout.see(B, why=Why.START) is Outcome.NEWS

    (found,) = lookout.waiting()
    assert (found.trigger, found.commit_sha, found.branch) == ("poll", B, "main")
    assert found.triggered_by == "seen as the runner started; no delivery had told of it"
    assert lookout.row().polled_sha == B


@pytest.mark.parametrize(("minutes", "words"), [(1, "every minute"), (5, "every 5 minutes")])
def test_polling_says_how_often_it_looks(lookout, minutes, words):
    lookout.push(A)
    lookout.set(poll_minutes=minutes)

    lookout.see(B, why=Why.POLL)

    assert lookout.waiting()[0].triggered_by == f"seen by looking {words}"


def test_what_is_live_is_known(lookout):
    lookout.push(A)

    assert lookout.see(A) is Outcome.KNOWN
    assert lookout.waiting() == []
    assert lookout.row().polled_sha == A


def test_what_waits_or_runs_is_known(lookout):
    lookout.push(A)
    lookout.operator.pushed(lookout.project, B)
    assert lookout.see(B) is Outcome.KNOWN
    with lookout.database.write() as connection:
        claims.claim(connection, "runner")

    assert lookout.see(B) is Outcome.KNOWN
    assert len(lookout.operator.deployments()) == 2


@pytest.mark.parametrize("status", [Status.FAILED, Status.INTERRUPTED, Status.CANCELLED, Status.SUPERSEDED])
def test_what_was_found_and_did_not_go_well_is_not_run_again(lookout, status):
    lookout.push(A)
    assert lookout.see(B) is Outcome.NEWS
    lookout.end(lookout.waiting()[0].id, status)

    assert [lookout.see(B) for _ in range(3)] == [Outcome.KNOWN] * 3


def test_what_was_delivered_and_failed_is_not_run_again(lookout):
    lookout.push(A)
    lookout.push(B, Status.FAILED)

    assert lookout.see(B) is Outcome.KNOWN


def test_what_was_deployed_by_hand_and_failed_is_not_run_again(lookout):
    lookout.push(A)
    lookout.deploy(B, Status.FAILED)

    assert lookout.see(B) is Outcome.KNOWN


def test_a_push_that_its_message_skipped_is_known(lookout):
    lookout.push(A)
    assert lookout.deliver(B, "Fix a comment [skip deploy]").decision.reason == verdicts.SKIPPED

    assert lookout.see(B) is Outcome.KNOWN


def test_a_push_that_found_the_queue_full_is_found(lookout):
    lookout.push(A)
    lookout.max_queued = 0
    assert lookout.deliver(B).decision.verdict is Verdict.REFUSED
    lookout.max_queued = 10

    assert lookout.see(B) is Outcome.NEWS


def test_an_older_commit_deployed_on_purpose_is_not_undone(lookout):
    lookout.push(A)
    lookout.push(B)
    lookout.end(lookout.operator.deploy(lookout.project, commit=A))

    assert lookout.see(B) is Outcome.KNOWN


def test_the_same_of_a_project_that_is_only_deployed_by_hand(lookout):
    lookout.deploy(A)
    lookout.deploy(B)
    lookout.end(lookout.operator.deploy(lookout.project, commit=A))

    assert lookout.see(B) is Outcome.KNOWN


def test_a_branch_whose_pushes_do_not_deploy_is_not_followed(lookout, operator):
    lookout.push(A)
    seen = lookout.followed()
    operator.change_pushes(lookout.project, branch_patterns="release/*")

    assert lookout.followed() is None
    assert lookout.see(B, project=seen) is Outcome.VOID
    operator.change_pushes(lookout.project, branch_patterns="release/*\nmain")
    assert lookout.see(B) is Outcome.NEWS


def test_what_was_deployed_of_a_tag_says_nothing_of_the_branch(lookout, operator):
    operator.change_pushes(lookout.project, tag_patterns="v*")
    lookout.push(A)
    lookout.end(operator.pushed(lookout.project, C, ref="refs/tags/v1"))

    assert lookout.see(A) is Outcome.KNOWN
    assert lookout.see(B) is Outcome.NEWS


def test_a_branch_put_back_to_an_older_commit_is_followed(lookout):
    lookout.push(A)
    assert lookout.see(A) is Outcome.KNOWN
    lookout.push(B)

    assert lookout.see(A) is Outcome.NEWS
    assert lookout.waiting()[0].commit_sha == A


def test_a_project_deployed_by_hand_is_brought_up_to_date(lookout):
    lookout.deploy(A)

    assert lookout.see(B) is Outcome.NEWS


def test_a_branch_of_which_nothing_is_known_is_remembered_but_not_deployed(lookout):
    lookout.set(poll_minutes=5)

    assert lookout.see(A) is Outcome.FIRST
    assert lookout.waiting() == []

    assert lookout.see(A) is Outcome.KNOWN
    assert lookout.see(B) is Outcome.NEWS


def test_another_branch_begins_anew(lookout, operator):
    lookout.push(A)
    lookout.see(A)
    operator.change(lookout.project, branch="release")

    assert (lookout.row().polled_at, lookout.row().polled_sha) == (None, None)
    assert lookout.see(B) is Outcome.FIRST


# Who else is at it --------------------------------------------------------------------------------------------------


def test_of_two_runners_that_looked_one_writes(lookout):
    lookout.push(A)
    both_saw = lookout.followed()

    assert lookout.see(B, project=both_saw) is Outcome.NEWS
    with lookout.database.write() as connection:
        lifecycle.request_cancel(connection, lookout.waiting()[0].id, "ada")
    assert lookout.see(C, project=both_saw) is Outcome.VOID

    assert lookout.waiting() == []
    assert lookout.row().polled_sha == B


def test_a_look_from_before_a_delivery_decides_nothing(lookout):
    lookout.push(A)
    asked_at = clock.now() - timedelta(seconds=1)
    lookout.operator.pushed(lookout.project, C)

    assert lookout.see(B, asked_at=asked_at) is Outcome.OPEN
    assert [one.commit_sha for one in lookout.waiting()] == [C]
    assert lookout.row().polled_sha is None


def test_while_the_newest_is_to_be_deployed_by_hand_nothing_is_decided(lookout):
    lookout.push(A)
    by_hand = lookout.operator.deploy(lookout.project)

    assert lookout.see(B) is Outcome.OPEN
    lookout.end(by_hand, Status.FAILED, B)
    assert lookout.see(B) is Outcome.KNOWN


def test_a_look_at_what_is_no_longer_the_projects_branch_is_void(lookout, operator):
    lookout.push(A)
    before = lookout.followed()
    operator.change(lookout.project, branch="release")

    assert lookout.see(B, project=before) is Outcome.VOID


def test_a_full_queue_is_told_and_the_commit_found_again(lookout):
    lookout.push(A)
    lookout.max_queued = 0

    assert lookout.see(B) is Outcome.NO_ROOM
    assert lookout.row().poll_error == NO_ROOM
    assert lookout.row().polled_sha is None
    lookout.max_queued = 10
    assert lookout.see(B) is Outcome.NEWS
    assert lookout.row().poll_error is None


def test_what_is_found_takes_the_place_of_a_queued_push(lookout):
    lookout.push(A)
    older = lookout.operator.pushed(lookout.project, B)

    assert lookout.see(C) is Outcome.NEWS
    (found,) = lookout.waiting()
    assert lookout.operator.deployment(older).superseded_by == found.id


def test_what_is_found_does_not_end_what_runs(lookout, operator):
    """It may ask for no deployment; that is seen when it has been fetched."""
    operator.change(lookout.project, cancel_running=True)
    running = lookout.operator.pushed(lookout.project, A)
    with lookout.database.write() as connection:
        claims.claim(connection, "runner")

    lookout.see(B)

    assert operator.deployment(running).cancel_requested_by is None
    assert len(lookout.waiting()) == 1


# A delivery that comes later ----------------------------------------------------------------------------------------


def found(lookout, *, is_running=True):
    lookout.push(A)
    lookout.see(B)
    (one,) = lookout.waiting()
    if is_running:
        with lookout.database.write() as connection:
            claims.claim(connection, "runner")
    return one


def test_the_delivery_of_a_commit_that_was_found_and_runs_leads_to_that_deployment(lookout, operator):
    one = found(lookout)

    answer = lookout.deliver(B)

    assert (answer.decision.verdict, answer.decision.reason) == (Verdict.DUPLICATE, verdicts.FOUND_BEFORE)
    assert answer.deployment_id == one.id
    (*_, delivery) = operator.rows(sa.select(*Delivery.__table__.columns).order_by(Delivery.received_at))
    assert delivery.deployment_id == one.id
    assert lookout.waiting() == []


def test_the_same_once_it_has_succeeded(lookout):
    lookout.end(found(lookout, is_running=False).id)

    assert lookout.deliver(B).decision.reason == verdicts.FOUND_BEFORE
    assert lookout.waiting() == []


def test_what_else_the_delivery_of_a_found_commit_tells_of_is_deployed(lookout):
    found(lookout)
    lookout.set(tag_patterns="v*")
    branch = Push(ref="refs/heads/main", branch="main", sha=B)
    tag = Push(ref="refs/tags/v1", tag="v1", sha=B)

    answer = lookout.deliver_all(branch, tag)

    assert answer.decision.verdict is Verdict.DEPLOYED
    assert [(one.id, one.branch) for one in lookout.waiting()] == [(answer.deployment_id, "refs/tags/v1")]


def test_the_delivery_of_a_commit_that_was_found_and_waits_takes_its_place(lookout, operator):
    one = found(lookout, is_running=False)

    answer = lookout.deliver(B)

    assert operator.deployment(one.id).superseded_by == answer.deployment_id
    assert [waiting.id for waiting in lookout.waiting()] == [answer.deployment_id]


def test_the_delivery_of_a_commit_that_was_found_and_failed_runs_it_again(lookout):
    lookout.end(found(lookout, is_running=False).id, Status.FAILED)

    assert lookout.deliver(B).decision.deploys


def test_a_branch_that_was_pushed_back_to_what_was_found_is_deployed(lookout):
    lookout.end(found(lookout, is_running=False).id)
    lookout.push(C)

    assert lookout.deliver(B).decision.deploys


def test_a_delivery_from_before_the_clock_was_put_back_hides_no_push(lookout, operator):
    lookout.push(A)
    with operator.database.write() as connection:
        connection.execute(sa.update(Delivery).values(received_at=clock.now() + timedelta(hours=1)))

    assert lookout.see(B) is Outcome.NEWS
