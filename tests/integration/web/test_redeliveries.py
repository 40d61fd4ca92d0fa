"""A delivery id is run once; again only where that failed or was lost."""

from __future__ import annotations

import threading
import uuid

import pytest

from tests.support.forge import Forge

DUPLICATE = (200, "Duplicate delivery")
TRIGGERED = (200, "Deployment triggered")


def said(answer) -> tuple[int, str]:
    return answer.status, answer.text


@pytest.fixture
def guid() -> str:
    return str(uuid.uuid4())


def test_a_delivery_whose_deployment_runs_is_a_duplicate(forge, project, operator, gate, guid, repository):
    operator.change(project, steps=[gate.step])
    deployment_id = forge.push(guid=guid, after=repository.tip()).headers["X-Deployment-Id"]
    operator.wait_for_output(deployment_id, b"started")

    answer = forge.push(guid=guid, after=repository.tip())

    assert said(answer) == DUPLICATE
    assert answer.headers["X-Deployment-Id"] is None


def test_a_delivery_whose_deployment_succeeded_is_a_duplicate(forge, operator, guid, repository):
    deployment_id = forge.push(guid=guid, after=repository.tip()).headers["X-Deployment-Id"]
    assert operator.wait_for_end(deployment_id).status == "success"

    assert said(forge.push(guid=guid, after=repository.tip())) == DUPLICATE


def test_a_delivery_whose_deployment_waits_was_superseded_or_cancelled_is_a_duplicate(
    forge, operator, running, repository
):
    superseded, waiting = str(uuid.uuid4()), str(uuid.uuid4())
    forge.push(guid=superseded)
    deployment_id = forge.push(guid=waiting).headers["X-Deployment-Id"]

    assert said(forge.push(guid=superseded)) == DUPLICATE
    assert said(forge.push(guid=waiting)) == DUPLICATE
    operator.cancel(deployment_id)
    assert operator.status(deployment_id) == "cancelled"
    assert said(forge.push(guid=waiting)) == DUPLICATE


def test_a_delivery_whose_deployment_failed_runs_again(forge, project, operator, guid, repository):
    operator.change(project, steps=["false"])
    first = forge.push(guid=guid, after=repository.tip()).headers["X-Deployment-Id"]
    assert operator.wait_for_end(first).status == "failed"

    answer = forge.push(guid=guid, after=repository.tip())

    assert said(answer) == TRIGGERED
    assert answer.headers["X-Deployment-Id"] != first


def test_a_request_with_a_wrong_signature_does_not_burn_a_delivery_id(forge, guid):
    assert forge.send(b"{}", guid=guid, X_Hub_Signature_256="sha256=" + "0" * 64).status == 401
    assert forge.send(b"{", guid=guid).status == 400

    assert said(forge.push(guid=guid)) == TRIGGERED


def test_a_push_that_was_ignored_does_not_burn_its_delivery_id(forge, project, operator, guid):
    operator.change(project, auto_deploy=False)
    assert said(forge.push(guid=guid)) == (200, "Auto-deploy is off for this project")
    operator.change(project, auto_deploy=True)

    assert said(forge.push(guid=guid)) == TRIGGERED


def test_the_same_delivery_id_at_another_project_is_no_duplicate(daemon, forge, make_project, guid):
    assert said(forge.push(guid=guid)) == TRIGGERED
    assert said(Forge(daemon, make_project()).push(guid=guid)) == TRIGGERED


def test_of_one_delivery_that_comes_many_times_at_once_one_deploys(forge, guid):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(said(forge.push(guid=guid)))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [TRIGGERED, *[DUPLICATE] * 15]


def test_pushes_without_a_delivery_id_are_each_their_own(forge):
    assert said(forge.send(b'{"ref":"refs/heads/main","after":"%040d"}' % 1, X_GitHub_Delivery=None)) == TRIGGERED
    assert said(forge.send(b'{"ref":"refs/heads/main","after":"%040d"}' % 1, X_GitHub_Delivery=None)) == TRIGGERED
