"""What the pages say of looks at a repository, and of the deployments that they led to."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.deployments import looks, queue
from deployer.deployments.lifecycle import NewDeployment
from deployer.models import Project
from deployer.models.deployment import Trigger

SEEN = "abcdef1" + "0" * 33


@pytest.fixture
def write(installation):
    def write(project, **values) -> None:
        with installation.database.write() as connection:
            connection.execute(sa.update(Project).where(Project.id == project.id).values(**values))

    return write


def looked(reader, project) -> str:
    """What the project's page says of the last look."""
    html = reader.get(f"/projects/{project.name}").text
    part = re.search(r'<div id="looked".*?(?=<div id="deliveries")', html, re.S)
    assert part
    return " ".join(re.sub(r"<[^>]*>", " ", part[0]).split())


def test_a_project_that_was_never_looked_at_says_nothing(member, project):
    assert looked(member, project) == ""


def test_a_project_says_when_it_was_looked_at_and_what_was_seen(member, plain_member, project, write):
    write(project, polled_at=clock.now(), polled_sha=SEEN)

    for reader in (member, plain_member):
        assert "The repository itself was looked at" in looked(reader, project)
        assert "main was at abcdef1 ." in looked(reader, project)


def test_it_says_that_what_was_seen_is_live(member, operator, project, repository, write):
    operator.wait_for_end(operator.deploy(project))

    write(project, polled_at=clock.now(), polled_sha=repository.tip())

    assert f"main was at {repository.tip()[:7]} , which is live." in looked(member, project)


def test_it_says_why_the_repository_cannot_be_looked_at(member, project, write):
    write(project, poll_error="fatal: <b>no</b> such host. Check the address.")

    said = looked(member, project)

    assert "for commits that no delivery told of: fatal: &lt;b&gt;no&lt;/b&gt; such host. Check the address." in said
    assert "It is tried again by itself. Check access" in said


def test_members_are_not_sent_where_they_may_not_go(plain_member, project, write):
    write(project, poll_error="The repository has no branch main.")

    assert "Check access" not in looked(plain_member, project)


def test_without_auto_deploy_it_says_nothing(member, operator, project, write):
    write(project, polled_at=clock.now(), polled_sha=SEEN, poll_error="no")
    operator.change(project, auto_deploy=False)

    assert looked(member, project) == ""


def test_a_deployment_says_how_it_was_found(member, operator, project, repository, installation):
    why = looks.Why.START.words(None)
    new = NewDeployment(
        clock.new_id(), project.id, Trigger.POLL, "main", triggered_by=why, commit_sha=repository.tip()
    )
    with installation.database.write() as connection:
        assert queue.take_in(connection, new, 100)
    operator.wait_for_end(new.id)

    words = member.get(f"/deployments/{new.id}").page.words
    assert "found on the remote: seen as the runner started; no delivery had told of it" in words
    assert "found on the remote" in member.get("/deployments").page.words
    assert why not in member.get(f"/projects/{project.name}").page.words


def test_a_delivery_behind_a_look_says_so(member, operator, forge, project, repository, write):
    operator.wait_for_end(operator.deploy(project))
    write(project, polled_at=clock.now(), polled_sha=SEEN)
    new = NewDeployment(clock.new_id(), project.id, Trigger.POLL, "main", triggered_by="looked", commit_sha=SEEN)
    with operator.database.write() as connection:
        queue.take_in(connection, new, 100)
        connection.execute(sa.text("UPDATE deployments SET status = 'success' WHERE id = :id"), {"id": new.id})

    answer = forge.push(after=SEEN)

    assert (answer.status, answer.text) == (
        200,
        "Already deployed: the commit was found on the branch before this delivery came",
    )
    assert answer.headers["X-Deployment-Id"] == new.id
    words = member.get(f"/projects/{project.name}").page.words
    assert "A look at the repository had found this commit before the delivery came" in words
