"""Replays: what was received is decided on again, by a person's wish."""

from __future__ import annotations

import io
import json
import os

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, project_secrets, projects
from deployer.deployments import claims, deliveries, lifecycle, looks, payloads, reading, replays
from deployer.errors import InvalidInput
from deployer.hooks import Receiver
from deployer.models import Delivery, DeliveryPayload, Project
from deployer.models.delivery import Verdict
from deployer.models.deployment import Status, Trigger
from deployer.providers.base import Event, Push
from deployer.providers.known import PROVIDERS
from deployer.security import keyfile, marks
from deployer.security.marks import Mark
from tests.support.forge import SHA, push, sign
from tests.support.payloads import GENERIC, Recorded, recorded


class Hook:
    """A project's webhook, without a web server, and the person who replays what it received."""

    def __init__(self, installation, project) -> None:
        self.installation = installation
        self.project = project
        self.secret = project_secrets.open_secrets(project, [], installation.vault).webhook_secret
        self.receiver = Receiver(installation)
        self.max_queued = installation.config.runner.max_queued

    def receive_of(self, one: Recorded):
        """The same of another provider's delivery."""
        names = {name: name.upper().replace("-", "_") for name in one.headers}
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": f"/webhook/{self.project.id}"}
        environ |= {
            name if name == "CONTENT_TYPE" else f"HTTP_{name}": one.headers[header] for header, name in names.items()
        }
        environ |= {"CONTENT_LENGTH": str(len(one.raw)), "wsgi.input": io.BytesIO(one.raw)}
        (answer,) = self.receiver.receive([environ])
        return answer

    def receive(self, body: bytes, *, signature: str | None = None, event: str = "push", guid: str = "one"):
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"/webhook/{self.project.id}",
            "REMOTE_ADDR": "192.0.2.9",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_X_GITHUB_EVENT": event,
            "HTTP_X_GITHUB_DELIVERY": guid,
            "HTTP_X_HUB_SIGNATURE_256": signature or sign(body, self.secret),
            "wsgi.input": io.BytesIO(body),
        }
        (answer,) = self.receiver.receive([environ])
        return answer

    def push(self, guid: str = "one", **changes):
        return self.receive(json.dumps(push(**changes)).encode(), guid=guid)

    def all(self) -> list[Delivery]:
        with Session(self.installation.database.engine) as session:
            return list(session.scalars(sa.select(Delivery).order_by(Delivery.received_at, Delivery.id)))

    def last(self) -> Delivery:
        return self.all()[-1]

    def payload(self, delivery: Delivery) -> DeliveryPayload | None:
        with Session(self.installation.database.engine) as session:
            return payloads.find(session, delivery.id)

    def replay(self, delivery: Delivery | None = None, by: str = "ada") -> deliveries.Recorded:
        with self.installation.database.write_session() as session:
            request = replays.prepare(session, delivery or self.last(), by)
            (recorded,) = deliveries.record(session.connection(), [request], self.max_queued)
        return recorded

    def finish(self, deployment_id: str) -> None:
        with self.installation.database.write() as connection:
            assert claims.claim(connection, "runner", host_id=self.installation.host_id) == deployment_id
            lifecycle.succeed(connection, deployment_id, "runner")


@pytest.fixture
def project(make_project):
    return make_project()


@pytest.fixture
def hook(installation, project):
    return Hook(installation, project)


def why_not(hook: Hook) -> str:
    with pytest.raises(InvalidInput) as refused:
        hook.replay()
    return refused.value.fields["replay"]


# What is kept ---------------------------------------------------------------------------------------------------


def test_the_body_of_a_verified_delivery_is_kept_to_the_byte(hook):
    body = b'{"ref":  "refs/heads/next", "caf\\u00e9": 1.0}'
    hook.receive(body)

    kept = hook.payload(hook.last())

    assert kept is not None
    assert (kept.size_bytes, payloads.unpack(kept.packed)) == (len(body), body)


def test_of_a_wrong_signature_no_body_is_kept(hook):
    hook.receive(b"{}", signature="sha256=" + "0" * 64)
    hook.push()  # Behind it in the writer's queue: both are on record now.

    assert {one.verdict for one in hook.all()} == {Verdict.UNVERIFIED, Verdict.DEPLOYED}
    for one in hook.all():
        assert (hook.payload(one) is None) == (one.verdict is Verdict.UNVERIFIED)


def test_a_body_that_is_too_large_leaves_its_size(hook):
    hook.push(noise=os.urandom(2 * payloads.KEPT_BYTES).hex())

    kept = hook.payload(hook.last())

    assert kept is not None
    assert kept.packed is None
    assert kept.size_bytes > 4 * payloads.KEPT_BYTES
    assert "too large" in why_not(hook)


def test_a_deleted_project_leaves_no_payload_behind(hook, installation, operator, project):
    hook.push(ref="refs/heads/next")
    with installation.database.write_session() as session:
        projects.delete(session, projects.find(session, project.id), installation.data_dir)

    assert operator.rows(sa.select(DeliveryPayload.delivery_id)) == []


# Replaying ------------------------------------------------------------------------------------------------------


def test_a_replay_deploys_the_commit_again_and_says_of_what_and_by_whom(hook, operator):
    first = hook.push()
    hook.finish(first.deployment_id)
    original = hook.last()
    assert hook.push().text == "Duplicate delivery"

    recorded = hook.replay(original)

    assert recorded.decision.verdict is Verdict.DEPLOYED
    made = operator.deployment(recorded.deployment_id)
    assert (made.trigger, made.triggered_by, made.commit_sha) == (Trigger.MANUAL, "ada", SHA)
    assert (made.commit_message, made.author_name, made.pusher) == ("Make it work", "Grace Hopper", "grace")
    row = hook.last()
    assert (row.id, row.replay_of, row.asked_by) == (recorded.delivery_id, original.id, "ada")
    assert (row.event, row.ref, row.commit_sha, row.headers) == (
        original.event,
        original.ref,
        original.commit_sha,
        original.headers,
    )


@pytest.mark.parametrize("name", PROVIDERS)
def test_what_any_provider_sent_is_read_again_as_it_was(hook, operator, project, name):
    given = {f"hook_{field}": getattr(GENERIC, field) for field in ("header", "prefix", "ref", "commit")}
    operator.change_pushes(project, provider=name, tag_patterns="v*", **(given if name == "generic" else {}))
    case = "several" if name.startswith("bitbucket") else "tag"
    assert hook.receive_of(recorded(name, case, hook.secret)).text == "Deployment triggered"
    original = hook.last()

    replayed = hook.replay()

    again = hook.last()
    assert (again.id, again.replay_of) == (replayed.delivery_id, original.id)
    for field in ("provider", "event", "ref", "commit_sha", "repository", "verdict", "headers"):
        assert getattr(again, field) == getattr(original, field)
    branches = [one.branch for one in operator.deployments()]
    assert branches[len(branches) // 2 :] == branches[: len(branches) // 2]


def test_a_replay_can_itself_be_replayed(hook):
    hook.push()
    hook.replay()

    assert hook.replay().decision.verdict is Verdict.DEPLOYED


def test_the_original_stays_spent_whatever_becomes_of_its_replay(hook, operator):
    first = hook.push()
    hook.finish(first.deployment_id)
    hook.replay()

    assert hook.push().text == "Duplicate delivery"


def test_a_replay_neither_supersedes_what_waits_nor_is_superseded(hook, operator):
    waiting = hook.push(guid="one").deployment_id
    replayed = hook.replay().deployment_id
    hook.push(guid="two", after="2" * 40)

    assert operator.status(waiting) is Status.SUPERSEDED
    assert operator.status(replayed) is Status.QUEUED


def test_a_replay_ends_no_running_push(hook, operator, project):
    operator.change(project, cancel_running=True)
    running = hook.push().deployment_id
    with hook.installation.database.write() as connection:
        claims.claim(connection, "runner", host_id=hook.installation.host_id)

    hook.replay()

    assert operator.deployment(running).cancel_requested_at is None


def test_with_an_administrators_replay_goes_their_approval(hook, operator, project):
    with hook.installation.database.write() as connection:
        connection.execute(sa.update(Project).values(needs_approval=True))
    pushed = hook.push().deployment_id

    replayed = hook.replay().deployment_id

    assert operator.deployment(pushed).approved_at is None
    assert operator.deployment(replayed).approved_by == "ada"
    hook.finish(replayed)  # It begins, though the push came first.


def test_other_verdicts_hold_and_go_by_what_the_project_says_now(hook, operator, project):
    hook.push(ref="refs/heads/next")
    assert hook.replay().decision.reason.startswith("Branch next ignored")

    operator.change(project, branch="next")
    assert hook.replay().decision.verdict is Verdict.DEPLOYED
    operator.change(project, auto_deploy=False)
    assert hook.replay().decision.verdict is Verdict.IGNORED
    operator.change(project, auto_deploy=True, steps=[])
    assert hook.replay().decision.reason == "No steps configured"


def test_where_the_queue_is_full_a_replay_is_refused_and_recorded(hook):
    hook.push()
    hook.max_queued = 1

    recorded = hook.replay()

    assert (recorded.decision.verdict, recorded.deployment_id) == (Verdict.REFUSED, None)
    assert hook.last().id == recorded.delivery_id


def test_only_pushes_whose_payload_is_kept_are_replayed(hook, installation):
    hook.receive(b"{}", event="ping")
    assert why_not(hook) == "Only a push can be replayed."
    hook.receive(b"[]")
    assert why_not(hook) == "Only a push can be replayed."
    hook.push()
    with installation.database.write() as connection:
        connection.execute(sa.delete(DeliveryPayload))
    assert why_not(hook) == "Its payload is not kept, so it cannot be replayed."


def test_a_first_step_that_pulls_and_more_cannot_give_way_to_a_replayed_commit(hook, operator, project):
    hook.push()
    operator.change(project, steps=["git pull origin main && npm ci"])

    assert "cannot take its place" in why_not(hook)


def test_the_same_holds_for_each_ref_that_a_delivery_tells_of(hook, installation, operator, project):
    gone, main = (
        {"ref": {"id": f"refs/heads/{name}"}, "toHash": sha, "type": kind}
        for name, sha, kind in (("old", "0" * 40, "DELETE"), ("main", SHA, "UPDATE"))
    )
    with installation.database.write() as connection:
        request = deliveries.Request(
            project.id,
            "bitbucket-server",
            clock.now(),
            event=Event("repo:refs_changed", push=Push("refs/heads/old")),
            headers='{"X-Event-Key": "repo:refs_changed"}',
            payload=payloads.pack(json.dumps({"changes": [gone, main]}).encode()),
        )
        deliveries.record(connection, [request], hook.max_queued)
    operator.change(project, steps=["git pull origin main && npm ci"])

    assert "cannot take its place" in why_not(hook)


# Whose word it is -----------------------------------------------------------------------------------------------


def marked(hook: Hook, *, deploys: bool, key: bytes | None = None) -> bytes:
    made_with = keyfile.derive(key or hook.installation.key, marks.FIELD)
    mark = marks.make(made_with, hook.project.id, Mark("ada", deploys))
    return json.dumps({marks.FIELD: mark, **push(after="3" * 40)}).encode()


def connected_at(operator, project):
    return operator.rows(sa.select(Project.connected_at).where(Project.id == project.id))[0].connected_at


def test_a_test_delivery_is_recorded_and_deploys_nothing(hook, operator, project):
    answer = hook.receive(marked(hook, deploys=False))

    assert (answer.status, answer.text) == (200, "Test delivery: it arrived, and its signature is right")
    row = hook.last()
    assert (row.verdict, row.asked_by, row.ref, row.commit_sha) == (
        Verdict.TEST,
        "ada",
        "refs/heads/main",
        "3" * 40,
    )
    assert operator.deployments() == []
    assert "nothing to replay" in why_not(hook)


def test_a_test_delivery_that_is_to_deploy_is_a_push(hook, operator):
    answer = hook.receive(marked(hook, deploys=True))

    assert operator.deployment(answer.deployment_id).trigger is Trigger.PUSH
    assert (hook.last().verdict, hook.last().asked_by) == (Verdict.DEPLOYED, "ada")


def test_a_mark_that_somebody_else_made_is_none(hook):
    """Not even who knows the secret keeps a push from being deployed, or names somebody as its sender."""
    answer = hook.receive(marked(hook, deploys=False, key=b"x" * 32))

    assert answer.text == "Deployment triggered"
    assert hook.last().asked_by is None


def test_what_a_person_sent_is_no_word_of_the_forge(hook, operator, project, installation):
    hook.receive(marked(hook, deploys=False))
    hook.receive(marked(hook, deploys=True), guid="two")
    assert connected_at(operator, project) is None
    with Session(installation.database.engine) as session:
        assert reading.newest_pushed(session, project.id, "main") is None
        assert reading.last_right_delivery(session, project.id) is None

    hook.push(guid="three", after="4" * 40)
    hook.push(guid="four", after="5" * 40)
    hook.replay(next(one for one in hook.all() if one.commit_sha == "4" * 40))

    assert connected_at(operator, project) is not None
    with Session(installation.database.engine) as session:
        assert reading.newest_pushed(session, project.id, "main") == "5" * 40


def test_a_look_at_the_repository_does_not_undo_the_replay_of_an_older_commit(hook, installation):
    for number in ("4", "5"):
        hook.push(guid=number, after=number * 40)
        hook.finish(hook.last().deployment_id)
    older = next(one for one in hook.all() if one.commit_sha == "4" * 40)
    hook.finish(hook.replay(older).deployment_id)
    with installation.database.read() as connection:
        (followed,) = looks.followed(connection)

    with installation.database.write() as connection:
        finding = looks.record(connection, looks.Look(followed, clock.now(), "5" * 40, looks.Why.REGULAR), 10)

    assert finding.outcome is looks.Outcome.KNOWN
