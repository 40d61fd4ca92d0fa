"""What is kept of each delivery, who may read it, and what a stranger cannot fill."""

from __future__ import annotations

import json
import uuid

import pytest
import sqlalchemy as sa

from deployer import project_secrets, projects
from deployer.deployments.deliveries import KEPT_UNVERIFIED, UNKNOWN_PROJECT, unverified_counter
from deployer.models.delivery import Counter, Delivery
from tests.support.forge import Forge, push, sign
from tests.support.waiting import wait_until

WRONG = "sha256=" + "0" * 64


def deliveries(operator, project):
    wanted = sa.select(*Delivery.__table__.columns).where(Delivery.project_id == project.id)
    with operator.database.read() as connection:
        return connection.execute(wanted.order_by(Delivery.received_at, Delivery.id)).all()


def counter(operator, name: str) -> int:
    with operator.database.read() as connection:
        return connection.scalar(sa.select(Counter.value).where(Counter.name == name)) or 0


def test_a_delivery_is_recorded_as_it_came_with_its_verdict_reason_and_deployment(forge, operator, project):
    guid = str(uuid.uuid4())
    answer = forge.push(guid=guid)

    (delivery,) = deliveries(operator, project)
    assert (delivery.verdict, delivery.reason) == ("deployed", "Deployment triggered")
    assert delivery.deployment_id == answer.headers["X-Deployment-Id"]
    assert (delivery.guid, delivery.event, delivery.ref) == (guid, "push", "refs/heads/main")
    assert delivery.repository == "grace/app"
    kept = json.loads(delivery.headers)
    assert kept["X-GitHub-Event"] == "push"
    assert kept["User-Agent"] == "GitHub-Hookshot/044aadd"
    assert not any("signature" in name.lower() for name in kept)


def test_the_project_page_shows_each_delivery_with_its_reason(forge, member, project):
    forge.event("ping")
    forge.push(ref="refs/heads/next")
    forge.send(b"[]")

    rows = member.get(f"/projects/{project.name}").page.find_all("li", class_="delivery")

    shown = [(row.find(class_="verdict").words, row.find(class_="reason").words) for row in rows]
    assert shown == [
        ("refused", "The body is not a JSON object."),
        ("ignored", "Branch next ignored: this project deploys the branch main."),
        ("pong", "The forge's test of the webhook: it works."),
    ]


def test_the_project_page_waits_for_the_first_ping_and_then_says_connected(forge, member, project):
    def connection() -> str:
        return member.get(f"/projects/{project.name}").page.find(id="connection").words

    assert connection() == "waiting for the first ping"
    forge.event("ping")
    assert connection().startswith("connected")


def test_an_unknown_project_is_only_counted(forge, operator):
    known = counter(operator, UNKNOWN_PROJECT)
    forge.path = f"/webhook/{uuid.uuid4()}"

    for _ in range(3):
        forge.push()

    wait_until(lambda: counter(operator, UNKNOWN_PROJECT) == known + 3, "three more counted")


def test_of_bad_signatures_the_newest_hundred_are_kept_and_the_others_counted(forge, operator, project, member):
    forge.push()
    for number in range(105):
        forge.send(b"%d" % number, X_Hub_Signature_256=WRONG)

    name = unverified_counter(project.id)
    wait_until(lambda: counter(operator, name) == 105, "all of them counted")
    kept = [one for one in deliveries(operator, project) if one.verdict == "unverified"]
    assert len(kept) == KEPT_UNVERIFIED
    assert {(one.headers, one.guid, one.event, one.ref) for one in kept} == {(None, None, None, None)}
    assert "105 requests with a wrong signature" in member.get(f"/projects/{project.name}").page.words


def test_bad_signatures_do_not_push_real_deliveries_off_the_page(forge, operator, project, member):
    forge.push(ref="refs/heads/next")
    for number in range(30):
        forge.send(b"%d" % number, X_Hub_Signature_256=WRONG)
    wait_until(lambda: counter(operator, unverified_counter(project.id)) == 30, "all of them counted")

    assert "Branch next ignored" in member.get(f"/projects/{project.name}").page.words


@pytest.mark.parametrize("signature", [WRONG, None, "nonsense"])
def test_a_refusal_echoes_no_mac_no_secret_and_no_path(forge, daemon, signature):
    body = json.dumps(push()).encode()

    answer = forge.send(body, X_Hub_Signature_256=signature)

    everything = (str(answer.headers) + answer.text).lower()
    assert sign(body, forge.secret)[7:] not in everything
    assert WRONG[7:] not in everything
    assert forge.secret.decode() not in everything
    assert str(daemon.folder) not in everything


def rotate(operator, project) -> None:
    with operator.database.write_session() as session:
        project_secrets.rotate_webhook_secret(projects.find(session, project.id), operator.installation.vault)


def test_a_secret_that_another_process_rotated_counts_at_once_and_the_old_one_does_not(
    daemon, forge, operator, project
):
    assert forge.push().status == 200
    rotate(operator, project)
    with operator.database.read() as connection:
        project.webhook_secret = connection.scalar(
            sa.text("SELECT webhook_secret FROM projects WHERE id = :id"), {"id": project.id}
        )

    new = Forge(daemon, project)
    assert new.secret != forge.secret
    assert (forge.push().status, new.push().status, forge.push().status) == (401, 200, 401)


def test_after_a_rotation_the_old_secret_does_not_tell_bodies_apart(forge, operator, project):
    assert forge.push().status == 200
    rotate(operator, project)

    assert [forge.send(body).status for body in (b"{", b"[]", b"{}")] == [401, 401, 401]


def test_a_project_that_another_process_deleted_is_not_found_at_once(forge, operator, project):
    assert forge.push(ref="refs/heads/next").status == 200
    with operator.database.write_session() as session:
        projects.delete(session, projects.find(session, project.id), operator.installation.data_dir)

    assert [(one.status, one.text) for one in (forge.push(), forge.event("ping"), forge.send(b"{"))] == [
        (404, "Project not found")
    ] * 3
