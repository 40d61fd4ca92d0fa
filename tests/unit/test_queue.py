"""How deployments that a person asks for come into the queue, and which of them do not."""

from __future__ import annotations

import contextlib

import pytest

from deployer.deployments.queue import deploy_by_hand
from deployer.errors import InvalidInput, NotFound, QueueFull


@pytest.fixture
def project(make_project):
    return make_project()


def test_a_manual_deployment_has_its_refusals(installation, operator, project, make_project):
    with installation.database.write() as connection:
        with pytest.raises(NotFound):
            deploy_by_hand(connection, "no such project", "ada", 10)
        with pytest.raises(QueueFull):
            deploy_by_hand(connection, project.id, "ada", 0)
    operator.change(project, steps=[])
    with installation.database.write() as connection, pytest.raises(InvalidInput, match="no steps"):
        deploy_by_hand(connection, project.id, "ada", 10)


@pytest.mark.parametrize(
    "commit", ["", "main", "abc12", "HEAD~1", "-abc1234", "abc123g", "a" * 65, "abc 1234", "abc1234\n\0"]
)
def test_what_is_no_commits_id_is_refused_at_its_field(installation, project, commit):
    with installation.database.write() as connection, pytest.raises(InvalidInput) as refused:
        deploy_by_hand(connection, project.id, "ada", 10, commit)

    assert refused.value.fields == {
        "commit": "Give a commit's id: its first 7 digits or more (0–9, a–f), as git log shows them."
    }


@pytest.mark.parametrize(
    ("first_step", "may_give_way"),
    [
        ("git pull origin main", True),
        ("git fetch --all --prune", True),
        ("git pull && npm ci", False),
        ("git pull; npm ci", False),
        ("git pull\nnpm ci", False),
        ("git pull $(cat remote)", False),
        ("git fetch | tee log", False),
        ("npm ci && git pull", True),
    ],
)
def test_a_certain_commit_can_be_asked_for_where_the_projects_own_pull_can_give_way(
    installation, make_project, first_step, may_give_way
):
    """A first step that does not begin with a pull is no pull of its own: then Deployer brings the commit."""
    project = make_project(first_step)
    with (
        installation.database.write() as connection,
        contextlib.nullcontext() if may_give_way else pytest.raises(InvalidInput, match="Move the rest of it"),
    ):
        deploy_by_hand(connection, project.id, "ada", 10, "abc1234")
