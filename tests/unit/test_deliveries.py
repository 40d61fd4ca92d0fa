"""How deliveries become deployments: many at a time, each with its verdict on record."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock, project_secrets, projects
from deployer.deployments import claims, lifecycle, verdicts
from deployer.deployments.deliveries import KEPT_UNVERIFIED, Request, record, unverified_counter
from deployer.deployments.verdicts import Decision
from deployer.models import Counter, Delivery, Project
from deployer.models.delivery import Verdict
from deployer.models.deployment import Status
from deployer.providers.base import Event, Push

SHAS = [f"{number:040x}" for number in range(1, 200)]
UNVERIFIED = Decision(Verdict.UNVERIFIED, "The signature does not match.")


class Sender:
    """A forge that delivers to one project."""

    def __init__(self, installation, project) -> None:
        self.database = installation.database
        self.project = project
        self.max_queued = 10

    def request(self, sha=SHAS[0], *, guid=None, event=None, **fields) -> Request:
        push = Push(ref="refs/heads/main", branch="main", sha=sha, pusher="grace", message="Fix it", repository="o/a")
        return Request(
            **{
                "project_id": self.project.id,
                "provider": "github",
                "received_at": clock.now(),
                "event": event or Event("push", push=push, repository="o/a"),
                "event_name": "push",
                "guid": guid,
                "sealed_secret": self.project.webhook_secret,
                **fields,
            }
        )

    def refused(self, **fields) -> Request:
        return Request(self.project.id, "github", clock.now(), decision=UNVERIFIED, **fields)

    def send(self, *requests: Request):
        """What the requests, which came together, were answered with."""
        with self.database.write() as connection:
            return record(connection, requests, self.max_queued)

    def push(self, *shas, **fields):
        return self.send(*(self.request(sha, **fields) for sha in shas))


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def sender(installation, project):
    return Sender(installation, project)


@pytest.fixture
def deliveries(operator):
    return lambda: operator.rows(sa.select(*Delivery.__table__.columns).order_by(Delivery.id))


@pytest.fixture
def end(installation):
    """Let the queue's first run and end."""

    def end(status: Status) -> str:
        with installation.database.write() as connection:
            deployment_id = claims.claim(connection, "runner")
            assert deployment_id
            lifecycle.end(connection, deployment_id, "runner", status, "as the test wants it")
        return deployment_id

    return end


def reasons(answers) -> list[str]:
    return [answer.decision.reason for answer in answers]


def test_a_push_leads_to_a_deployment_with_its_facts_and_a_delivery_that_names_it(operator, sender, deliveries):
    (answer,) = sender.push(SHAS[0], guid="guid-1", headers="{}", remote_address="192.0.2.1")

    assert answer.decision.verdict is Verdict.DEPLOYED
    found = operator.deployment(answer.deployment_id)
    assert (found.status, found.trigger, found.branch, found.commit_sha) == ("queued", "push", "main", SHAS[0])
    assert (found.pusher, found.triggered_by, found.commit_message, found.repository) == (
        "grace",
        "grace",
        "Fix it",
        "o/a",
    )
    (delivery,) = deliveries()
    assert delivery.deployment_id == answer.deployment_id
    assert (delivery.verdict, delivery.reason, delivery.guid) == ("deployed", verdicts.TRIGGERED, "guid-1")
    assert (delivery.ref, delivery.commit_sha, delivery.repository) == ("refs/heads/main", SHAS[0], "o/a")
    assert (delivery.headers, delivery.remote_address, delivery.event) == ("{}", "192.0.2.1", "push")


def test_of_pushes_that_come_together_the_last_is_queued_and_each_is_on_record(operator, sender, deliveries):
    answers = sender.push(*SHAS[:4])

    assert [operator.status(answer.deployment_id) for answer in answers] == ["superseded"] * 3 + ["queued"]
    assert {one.deployment_id for one in deliveries()} == {answer.deployment_id for answer in answers}


def test_a_later_push_supersedes_a_queued_one(operator, sender):
    (first,) = sender.push(SHAS[0])
    (second,) = sender.push(SHAS[1])

    assert operator.status(first.deployment_id) == "superseded"
    assert operator.status(second.deployment_id) == "queued"


def test_what_does_not_deploy_is_on_record_with_its_reason(operator, sender, deliveries):
    (answer,) = sender.send(sender.request(event=Event("push", push=Push(ref="refs/tags/v1", tag="v1", sha=SHAS[0]))))

    assert answer.deployment_id is None
    assert operator.deployments() == []
    (delivery,) = deliveries()
    assert (delivery.verdict, delivery.reason) == ("ignored", answer.decision.reason)


# Redelivery -----------------------------------------------------------------------------------------------------


def test_a_delivery_that_comes_twice_is_deployed_once(operator, sender):
    sender.push(SHAS[0], guid="guid")
    (again,) = sender.push(SHAS[0], guid="guid")

    assert (again.decision.verdict, again.deployment_id) == (Verdict.DUPLICATE, None)
    assert len(operator.deployments()) == 1


def test_a_delivery_that_comes_twice_at_once_is_deployed_once(operator, sender):
    answers = sender.push(SHAS[0], SHAS[0], guid="guid")

    assert [answer.decision.verdict for answer in answers] == [Verdict.DEPLOYED, Verdict.DUPLICATE]
    assert len(operator.deployments()) == 1


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.CANCELLED, Status.SUPERSEDED])
def test_what_ended_well_or_by_a_wish_is_not_run_again(sender, end, status):
    sender.push(SHAS[0], guid="guid")
    end(status)

    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.DUPLICATE]


@pytest.mark.parametrize("status", [Status.FAILED, Status.INTERRUPTED])
def test_what_failed_or_was_lost_is_run_again_once(operator, sender, end, status):
    sender.push(SHAS[0], guid="guid")
    end(status)

    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.TRIGGERED]
    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.DUPLICATE]
    assert [one.status for one in operator.deployments()] == [status, "queued"]


def test_a_bad_request_does_not_burn_a_delivery_id(sender):
    sender.send(sender.refused(guid="guid"))

    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.TRIGGERED]


def test_an_ignored_delivery_may_deploy_when_it_comes_again(operator, sender, project):
    operator.change(project, auto_deploy=False)
    assert "Auto-deploy is off" in reasons(sender.push(SHAS[0], guid="guid"))[0]
    operator.change(project, auto_deploy=True)

    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.TRIGGERED]


def test_the_same_id_of_another_project_is_another_delivery(installation, sender, make_project):
    other = Sender(installation, make_project(name="other"))
    sender.push(SHAS[0], guid="guid")

    assert reasons(other.push(SHAS[0], guid="guid")) == [verdicts.TRIGGERED]


def test_deliveries_without_an_id_are_all_different(operator, sender):
    sender.push(SHAS[0])
    sender.push(SHAS[0])

    assert len(operator.deployments()) == 2


# Room -----------------------------------------------------------------------------------------------------------


def test_beyond_the_bound_a_push_is_refused_and_on_record(installation, operator, sender, make_project, deliveries):
    sender.max_queued = 1
    sender.push(SHAS[0])
    other = Sender(installation, make_project(name="other"))
    other.max_queued = 1

    (answer,) = other.push(SHAS[0], guid="guid")

    assert answer.decision == Decision(Verdict.REFUSED, verdicts.QUEUE_FULL)
    assert len(operator.deployments()) == 1
    assert deliveries()[-1].verdict == "refused"


def test_a_push_that_takes_the_place_of_a_queued_one_needs_no_room(operator, sender):
    sender.max_queued = 1
    sender.push(SHAS[0])

    answers = sender.push(SHAS[1], SHAS[2])

    assert reasons(answers) == [verdicts.TRIGGERED] * 2
    assert [one.status for one in operator.deployments()] == ["superseded", "superseded", "queued"]


def test_a_refused_push_is_taken_when_it_comes_again_and_there_is_room(installation, sender, make_project, end):
    other = Sender(installation, make_project(name="other"))
    other.push(SHAS[0])
    sender.max_queued = 1
    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.QUEUE_FULL]
    end(Status.SUCCESS)

    assert reasons(sender.push(SHAS[0], guid="guid")) == [verdicts.TRIGGERED]


def test_a_delivery_of_several_refs_that_is_refused_takes_no_room(installation, operator, sender, project):
    operator.change_pushes(project, branch_patterns="*")
    sender.max_queued = 1
    first, second = (Push(ref=f"refs/heads/{name}", branch=name, sha=SHAS[0]) for name in ("dev", "main"))
    both = sender.request(event=Event("repo:push", push=first, more=(second,)))

    answers = sender.send(both, sender.request(event=Event("push", push=first)), sender.request(event=both.event))

    assert reasons(answers) == [verdicts.QUEUE_FULL, verdicts.TRIGGERED, verdicts.QUEUE_FULL]
    assert [one.branch for one in operator.deployments()] == ["dev"]


def test_a_running_deployment_takes_no_room(installation, sender):
    sender.max_queued = 1
    sender.push(SHAS[0])
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    assert reasons(sender.push(SHAS[1])) == [verdicts.TRIGGERED]


def test_what_runs_again_by_itself_of_a_tag_is_its_commit_whatever_the_steps_are_now(operator, sender, project, end):
    """A first step that pulls and more cannot give way to it, nor be run in its place: the runner says so."""
    operator.change_pushes(project, tag_patterns="v*")
    tag = Push(ref="refs/tags/v1", tag="v1", sha=SHAS[0])
    sender.send(sender.request(event=Event("push", push=tag)))
    operator.change(project, steps=["git pull origin main && make"], rerun_interrupted=True)

    end(Status.INTERRUPTED)

    again = operator.deployments()[-1]
    assert (again.trigger, again.branch, again.commit_sha) == ("retry", "refs/tags/v1", SHAS[0])


# Projects that have changed meanwhile ---------------------------------------------------------------------------


def test_a_project_without_steps_deploys_nothing(operator, sender, project):
    operator.change(project, steps=[])

    assert reasons(sender.push(SHAS[0])) == [verdicts.NO_STEPS]
    assert operator.deployments() == []


def test_a_project_that_was_deleted_since_is_answered_with_nothing(installation, sender, project, deliveries):
    request = sender.request()
    with installation.database.write_session() as session:
        projects.delete(session, projects.find(session, project.id), installation.data_dir)

    (answer,) = sender.send(request)

    assert answer.decision is None
    assert deliveries() == []


def test_a_secret_that_was_changed_since_verifies_nothing(operator, installation, sender, project, deliveries):
    request = sender.request()
    with installation.database.write_session() as session:
        project_secrets.rotate_webhook_secret(projects.find(session, project.id), installation.vault)

    (answer,) = sender.send(request)

    assert answer.decision is None
    assert operator.deployments() == []
    assert deliveries() == []


def test_the_branch_counts_that_the_project_has_now(operator, sender, project):
    operator.change(project, branch="dev")

    assert reasons(sender.push(SHAS[0])) == ["Branch main ignored: this project deploys the branch dev"]


def test_a_newer_push_asks_the_running_one_to_end_where_the_project_says_so(installation, operator, sender, project):
    operator.change(project, cancel_running=True)
    (first,) = sender.push(SHAS[0])
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    sender.push(SHAS[1])

    assert operator.deployment(first.deployment_id).cancel_requested_by == "a newer push"


def test_a_newer_push_leaves_a_running_manual_deployment_alone(installation, operator, sender, project):
    operator.change(project, cancel_running=True)
    by_hand = operator.deploy(project)
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    sender.push(SHAS[1])

    assert operator.deployment(by_hand).cancel_requested_at is None


def test_a_newer_push_leaves_the_running_push_of_another_branch_alone(installation, operator, sender, project):
    operator.change(project, cancel_running=True)
    (first,) = sender.push(SHAS[0])
    with installation.database.write() as connection:
        claims.claim(connection, "runner")
    operator.change(project, cancel_running=True, branch="dev")

    (second,) = sender.send(
        sender.request(event=Event("push", push=Push(ref="refs/heads/dev", branch="dev", sha=SHAS[1])))
    )

    assert second.decision.verdict is Verdict.DEPLOYED
    assert operator.deployment(first.deployment_id).cancel_requested_at is None


def test_a_newer_push_leaves_the_running_one_alone_otherwise(installation, operator, sender):
    (first,) = sender.push(SHAS[0])
    with installation.database.write() as connection:
        claims.claim(connection, "runner")

    sender.push(SHAS[1])

    assert operator.deployment(first.deployment_id).cancel_requested_at is None


# Connected, and strangers ---------------------------------------------------------------------------------------


def connected_at(installation, project):
    with installation.database.read() as connection:
        return connection.scalar(sa.select(Project.connected_at).where(Project.id == project.id))


def test_the_first_verified_delivery_connects_the_project(installation, sender, project):
    assert connected_at(installation, project) is None
    sender.send(sender.request(event=Event("ping", is_ping=True)))
    first = connected_at(installation, project)
    assert first is not None

    sender.push(SHAS[0])

    assert connected_at(installation, project) == first


def test_a_push_signed_with_the_secret_before_a_rotation_connects_nothing(installation, sender, project):
    request = sender.request()
    with installation.database.write_session() as session:
        project_secrets.rotate_webhook_secret(projects.find(session, project.id), installation.vault)

    sender.send(request)

    assert connected_at(installation, project) is None


def test_an_unverified_request_connects_nothing(installation, sender, project):
    sender.send(sender.refused())

    assert connected_at(installation, project) is None


def test_of_unverified_requests_the_newest_are_kept_and_all_are_counted(
    installation, operator, sender, project, deliveries
):
    sender.push(SHAS[0])
    began = clock.now()
    requests = [
        Request(project.id, "github", began + timedelta(seconds=number), decision=UNVERIFIED, guid=str(number))
        for number in range(KEPT_UNVERIFIED + 30)
    ]
    sender.send(*requests[:60])
    sender.send(*requests[60:])

    kept = [one.guid for one in deliveries() if one.verdict == "unverified"]
    assert sorted(kept, key=int) == [str(number) for number in range(30, KEPT_UNVERIFIED + 30)]
    assert [one.verdict for one in deliveries() if one.verdict != "unverified"] == ["deployed"]
    with installation.database.read() as connection:
        counted = connection.scalar(sa.select(Counter.value).where(Counter.name == unverified_counter(project.id)))
    assert counted == KEPT_UNVERIFIED + 30


def test_a_strangers_flood_leaves_other_projects_requests_alone(installation, sender, make_project, deliveries):
    other = Sender(installation, make_project(name="other"))
    other.send(other.refused(guid="of the other"))
    sender.send(*(sender.refused() for _ in range(KEPT_UNVERIFIED + 5)))

    assert "of the other" in [one.guid for one in deliveries()]


def test_a_manual_deployment_waits_beside_pushes_and_supersedes_nothing(operator, sender, project):
    (pushed,) = sender.push(SHAS[0])
    by_hand = [operator.deploy(project), operator.deploy(project)]

    assert [operator.status(one) for one in (pushed.deployment_id, *by_hand)] == ["queued"] * 3
    found = operator.deployment(by_hand[0])
    assert (found.trigger, found.triggered_by, found.branch, found.commit_sha) == ("manual", "ada", "main", None)


def test_deliveries_from_many_threads_end_as_one_queued_deployment(operator, sender):
    threads = [threading.Thread(target=sender.push, args=(sha,)) for sha in SHAS[:16]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statuses = [one.status for one in operator.deployments()]
    assert (statuses.count("queued"), statuses.count("superseded")) == (1, 15)
