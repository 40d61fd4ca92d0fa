"""Webhooks are signed by us, arrive whole, follow nobody, and keep their secrets to themselves."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.config import OutboundSettings
from deployer.deployments import lifecycle
from deployer.deployments.lifecycle import NewDeployment
from deployer.errors import ChannelError
from deployer.models import Notification
from deployer.models.deployment import Status, Trigger
from deployer.notifications import sending, signed_webhook, telling
from tests.integration.notifications.conftest import MINE
from tests.support.mail_server import Authority


@pytest.fixture
def project(make_project):
    return make_project()


def test_a_failure_arrives_with_its_facts_and_a_signature_over_its_bytes(
    listener, make_channel, sealed, life, outbox, project
):
    channel = make_channel(url=f"{listener.url}/hooks/1?key=abcdefgh")
    deployment_id = life.begin(project, commit_message="Mend the dóor\n\nmore", author_name="Grace")
    outbox.leave_only()
    life.end(deployment_id, Status.FAILED)

    outbox.send(channel)

    (request,) = listener.requests
    told = request.json
    assert (request.method, request.path) == ("POST", "/hooks/1?key=abcdefgh")
    assert (told["event"], told["project"]["name"]) == ("failure", "app")
    assert told["deployment"]["ref"] == "DEP-0001"
    assert told["deployment"]["url"] == "https://deploy.example.com/deployments/DEP-0001"
    assert (told["deployment"]["status"], told["deployment"]["cause"]) == ("failed", "step 'test' exited with 1")
    assert told["commit"]["message"] == "Mend the dóor\n\nmore"
    secret = sealed(channel)["secret"].encode()
    wanted = "sha256=" + hmac.new(secret, request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-deployer-signature-256"] == wanted
    assert request.headers["x-deployer-delivery"] == told["delivery"] == outbox.row.id
    assert request.headers["x-deployer-event"] == "failure"
    assert abs(int(request.headers["x-deployer-timestamp"]) - clock.now().timestamp()) < 60
    assert request.headers["content-type"] == "application/json"
    assert (outbox.row.status, outbox.row.answer, outbox.row.attempts) == ("sent", "ok", 1)


@pytest.mark.parametrize(
    ("trigger", "by", "asked"),
    [
        (Trigger.SCHEDULE, "every day at 03:00 Europe/Berlin", "by its schedule, every day at 03:00 Europe/Berlin"),
        (Trigger.PUSH, "grace", "push by grace"),
    ],
)
def test_a_tag_and_a_schedule_are_told_as_what_they_are(
    operator, installation, make_channel, project, trigger, by, asked
):
    make_channel(url="https://example.com", project=project)
    new = NewDeployment(
        id=clock.new_id(), project_id=project.id, trigger=trigger, triggered_by=by, branch="refs/tags/v1.0"
    )
    with operator.database.write() as connection:
        lifecycle.enqueue(connection, [new])
        assert lifecycle.begin(connection, new.id, MINE)

    with Session(operator.database.engine) as session:
        told = telling.of(session.connection(), session.scalars(sa.select(Notification)).one(), bytes, "https://x")

    assert told.asked == asked
    deployment = json.loads(signed_webhook.body(told, clock.now()))["deployment"]
    assert (deployment["branch"], deployment["tag"]) == (None, "v1.0")


def test_each_event_is_told_in_its_order(listener, make_channel, life, outbox, project):
    channel = make_channel(url=listener.url)
    for status in (Status.FAILED, Status.SUCCESS, Status.SUCCESS, Status.INTERRUPTED, Status.CANCELLED):
        life.run(project, status)

    outbox.send(channel)

    started, ends = "started", ["failure", "recovery", "success", "interruption"]
    assert [one.json["event"] for one in listener.requests] == [
        started, ends[0], started, ends[1], started, ends[2], started, ends[3], started
    ]  # fmt: skip
    assert listener.requests[0].json["deployment"]["status"] == "running"


def test_a_channel_of_all_projects_is_told_of_each_and_one_of_a_project_of_that_alone(
    listener, make_channel, life, outbox, make_project
):
    one, other = make_project(name="one"), make_project(name="other")
    of_all = make_channel(url=f"{listener.url}/all")
    of_one = make_channel(url=f"{listener.url}/one", project=one)
    for project in (one, other):
        life.run(project)
    outbox.leave_only("success")

    for channel in (of_all, of_one):
        outbox.send(channel)

    told = [(one.path, one.json["project"]["name"]) for one in listener.requests]
    assert told == [("/all", "one"), ("/all", "other"), ("/one", "one")]


def test_a_server_that_is_down_is_tried_again_and_the_rest_waits_with_it(
    listener, make_channel, life, outbox, project
):
    channel = make_channel(url=listener.url)
    listener.answer = lambda request: (503, {}, b"out of order")
    life.run(project)

    outbox.send(channel)

    started, end = outbox.rows()
    assert (started.status, started.attempts, started.answer) == ("pending", 1, "out of order")
    assert started.last_error == f"{listener.url} answered 503."
    assert (end.status, end.attempts) == ("pending", 0)
    assert end.next_attempt_at >= started.next_attempt_at >= clock.now() + timedelta(seconds=30)
    assert len(listener.requests) == 1

    listener.answer = lambda request: (204, {}, b"")
    outbox.is_due()
    outbox.send(channel)

    assert [row.status for row in outbox.rows()] == ["sent", "sent"]
    assert listener.requests[0].json["delivery"] == listener.requests[1].json["delivery"]


def test_a_wait_that_the_server_asks_for_is_kept_within_bounds(listener, make_channel, life, outbox, project):
    channel = make_channel(url=listener.url)
    for asked, wanted in (("600", 600), ("999999999", 7200), ("1", 60)):
        listener.answer = lambda request, asked=asked: (429, {"Retry-After": asked}, b"")
        life.run(project)
        outbox.leave_only("success")

        outbox.send(channel)

        waits_s = (outbox.rows()[-1].next_attempt_at - clock.now()).total_seconds()
        assert wanted - 30 < waits_s <= wanted
        outbox.leave_only()


@pytest.mark.parametrize("status", [403, 410])
def test_what_a_server_refuses_for_good_is_given_up_at_once(listener, make_channel, life, outbox, project, status):
    channel = make_channel(url=listener.url)
    listener.answer = lambda request: (status, {}, b"go away")
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert (outbox.row.status, outbox.row.attempts) == ("given_up", 1)


def test_after_a_day_of_trying_it_is_given_up(listener, make_channel, life, outbox, project):
    channel = make_channel(url=listener.url)
    listener.answer = lambda request: (500, {}, b"")
    life.run(project)
    outbox.leave_only("success")
    outbox.is_due(age=timedelta(hours=25))

    outbox.send(channel)

    assert (outbox.row.status, outbox.row.last_error) == ("given_up", f"{listener.url} answered 500.")


def test_a_redirect_is_not_followed(listener, make_channel, life, outbox, project):
    """THREATS 29: it would lead past the look at the address."""
    channel = make_channel(url=f"{listener.url}/first")
    listener.answer = lambda request: (307, {"Location": f"{listener.url}/second"}, b"")
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert [one.path for one in listener.requests] == ["/first"]
    assert outbox.row.status == "given_up"
    assert "redirects are not followed" in outbox.row.last_error


@pytest.mark.parametrize(
    ("url", "allow_private", "why"),
    [
        ("http://127.0.0.1:{port}", False, "it is a private address. Set outbound.allow_private"),
        ("http://localhost:{port}", False, "it is a private address. Set outbound.allow_private"),
        ("http://169.254.169.254/latest", True, "it is a link-local or metadata address"),
    ],
)
def test_addresses_that_are_not_to_be_reached_are_refused_as_they_are_connected_to(
    installation, listener, make_channel, life, outbox, project, url, allow_private, why
):
    """THREATS 29."""
    outbound = OutboundSettings(allow_private=allow_private)
    installation.config = replace(installation.config, outbound=outbound)
    channel = make_channel(url=url.format(port=listener.port))
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert listener.requests == []
    assert outbox.row.status == "given_up"
    assert why in outbox.row.last_error


def test_no_secret_leaves_with_a_message_or_stays_in_the_log(
    listener, make_channel, sealed, life, outbox, project, operator
):
    """THREATS 27: neither a project's, nor the channel's own."""
    operator.set_variable(project, "TOKEN", "squeamish ossifrage", secret=True)
    channel = make_channel(url=f"{listener.url}/in/T0KEN-of-the-path")
    secret = sealed(channel)["secret"]
    echo = f"squeamish ossifrage {secret} T0KEN-of-the-path \x1b[31mred\x1b[0m".encode()
    listener.answer = lambda request: (400, {}, echo + b"x" * 100_000)
    life.run(project, Status.FAILED, commit_message="squeamish ossifrage")
    outbox.leave_only("failure")

    outbox.send(channel)

    assert b"squeamish ossifrage" not in listener.requests[0].body
    assert listener.requests[0].json["commit"]["message"] == "***"
    assert outbox.row.answer.startswith("*** *** *** redx")
    assert len(outbox.row.answer) <= 4096


def test_a_channel_that_was_switched_off_is_told_nothing_more(
    listener, make_channel, life, outbox, project, operator
):
    channel = make_channel(url=listener.url)
    life.run(project)
    outbox.leave_only("success")
    with operator.database.write_session() as session:
        session.merge(channel).is_enabled = False

    outbox.send(channel)
    life.run(project)

    assert (outbox.row.status, outbox.row.last_error) == ("dropped", "The channel was switched off.")
    assert listener.requests == []


def test_a_test_message_says_that_it_is_one_and_what_was_answered(installation, listener, make_channel, sealed):
    channel = make_channel(url=listener.url)

    assert sending.send_test(installation, channel.id) == f"{listener.url} answered 200."

    (request,) = listener.requests
    secret = sealed(channel)["secret"].encode()
    assert (request.json["event"], request.headers["x-deployer-event"]) == ("test", "test")
    signature = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-deployer-signature-256"] == f"sha256={signature}"
    listener.answer = lambda request: (403, {}, f"no: {sealed(channel)['secret']}".encode())
    with pytest.raises(ChannelError, match=r"answered 403\.\nno: \*\*\*"):
        sending.send_test(installation, channel.id)


def test_a_server_that_trickles_is_cut_off(monkeypatch, installation, listener, make_channel):
    monkeypatch.setattr("deployer.notifications.carrier.SEND_TIMEOUT_S", 1.0)
    channel = make_channel(url=listener.url)
    listener.hang()

    with pytest.raises(ChannelError, match=r"did not answer within \d"):
        sending.send_test(installation, channel.id)


def test_a_certificate_is_verified_for_the_name_that_was_entered(
    monkeypatch, installation, tmp_path, make_channel, listener
):
    authority = Authority(tmp_path)
    listener.encrypt(authority.context("localhost"))
    right = make_channel(url=f"https://localhost:{listener.port}/", name="right")
    wrong = make_channel(url=f"https://127.0.0.1:{listener.port}/", name="wrong")
    with pytest.raises(
        ChannelError, match=r"The certificate of https://localhost:.* cannot be trusted: unable to get local issuer"
    ):
        sending.send_test(installation, right.id)

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))

    assert sending.send_test(installation, right.id) == f"https://localhost:{listener.port} answered 200."
    assert listener.requests[-1].headers["host"] == f"localhost:{listener.port}"
    with pytest.raises(ChannelError, match=r"cannot be trusted: IP address mismatch"):
        sending.send_test(installation, wrong.id)
