"""What the pages say of what is kept, and of what is gone."""

from __future__ import annotations

import uuid

import pytest
import sqlalchemy as sa

from deployer.models import Project
from deployer.models.delivery import Verdict
from deployer.models.deployment import Status, Trigger
from tests.support.history import History


@pytest.fixture
def history(installation, project):
    return History(installation.database, project)


@pytest.mark.parametrize("name", ["01234567-89ab-7cde-8f01-23456789abcd", "DEP-999999"])
def test_a_link_to_a_deployment_that_is_gone_says_why_it_may_be(plain_member, name):
    answer = plain_member.get(f"/deployments/{name}")

    assert answer.status == 404
    assert "Deployment not found. It may have been removed: only the newest are kept" in answer.page.words


def test_a_program_is_told_the_same_as_ever(member):
    answer = member.get(f"/deploy/{uuid.uuid4()}")

    assert (answer.status, answer.json) == (404, {"success": False, "error": "Deployment not found"})


def test_a_superseded_deployment_outlives_what_took_its_place(history, member):
    deployment_id = history.deployment(
        Status.SUPERSEDED, cause="a newer push took its place", superseded_by="7d1f6a52-3f0b-4a53-9d0d-6f1f0a3b2c11"
    )

    answer = member.get(f"/deployments/{deployment_id}")

    assert answer.status == 200
    assert "a newer push took its place" in answer.page.words


def test_a_retry_outlives_what_it_ran_again(history, member):
    deployment_id = history.deployment(trigger=Trigger.RETRY, retry_of="7d1f6a52-3f0b-4a53-9d0d-6f1f0a3b2c11")

    assert member.get(f"/deployments/{deployment_id}").status == 200


def test_a_delivery_outlives_its_deployment(history, member, project):
    history.delivery(deployment_id="7d1f6a52-3f0b-4a53-9d0d-6f1f0a3b2c11", verdict=Verdict.DEPLOYED)

    assert member.get(f"/projects/{project.name}").status == 200
    assert member.get(f"/projects/{project.name}/deliveries").status == 200


def test_a_projects_page_says_what_is_kept(installation, history, member, project):
    history.deployment()
    assert "Kept: the newest 200, for 365 days" in member.get(f"/projects/{project.name}").page.words

    with installation.database.write() as connection:
        wanted = sa.update(Project).where(Project.id == project.id)
        connection.execute(wanted.values(keep_deployments=20, keep_days=1))

    assert "Kept: the newest 20, for 1 day" in member.get(f"/projects/{project.name}").page.words
