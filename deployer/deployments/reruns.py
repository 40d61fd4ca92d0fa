"""Running again by itself what was interrupted, where the project says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from deployer.commands import git
from deployer.deployments import filters
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, Deployment, Trigger, tag_of
from deployer.models.project import Project, Step, Strategy

MOST_IN_A_ROW = 3
"""A deployment may itself be what ends its host: then running it again and again would never end."""

_deployments = table_of(Deployment)
_projects = table_of(Project)
_steps = table_of(Step)


@dataclass(frozen=True)
class Rerun:
    """What is known of a deployment that is to run again, by the names of its columns."""

    project_id: str
    branch: str
    commit_sha: str | None
    commit_message: str | None
    author_name: str | None
    author_email: str | None
    repository: str | None
    retry_of: str
    trigger: Trigger
    release_id: str | None
    # What it was allowed it still is.
    approved_by: str | None
    approved_at: datetime | None
    ignores_windows: bool


def after_interruption(connection: sa.Connection, deployment_id: str) -> tuple[str, Rerun | None]:
    """For a deployment that is being ended as interrupted: what its cause says of that, and what is to be enqueued.

    Both are empty where its project does not ask for it.
    """
    old = connection.execute(
        sa.select(_deployments, _projects.c.rerun_interrupted, *filters.LABELLED)
        .join(_projects, _projects.c.id == _deployments.c.project_id)
        .where(_deployments.c.id == deployment_id)
    ).first()
    if old is None or not old.rerun_interrupted or old.cancel_requested_at is not None:
        return "", None
    if not filters.of_row(old).takes(old.branch, tag_of(old.branch)):
        return "; not run again, since the project deploys another branch by now", None
    if _has_newer(connection, old.project_id):
        return "; not run again, since a newer deployment waits", None
    if _in_a_row(connection, deployment_id) >= MOST_IN_A_ROW:
        return f"; not run again, since it was by itself {MOST_IN_A_ROW} times in a row", None
    # A first step that pulls and does more cannot give way to a certain commit, and brings the newest of one branch.
    is_certain = old.branch != old.project_branch or _gives_way(connection, old.project_id)
    rerun = Rerun(
        project_id=old.project_id,
        branch=old.branch,
        commit_sha=old.commit_sha if is_certain else None,
        commit_message=old.commit_message if is_certain else None,
        author_name=old.author_name if is_certain else None,
        author_email=old.author_email if is_certain else None,
        repository=old.repository,
        retry_of=deployment_id,
        trigger=Trigger.ROLLBACK if old.trigger is Trigger.ROLLBACK else Trigger.RETRY,
        release_id=old.release_id if old.trigger is Trigger.ROLLBACK else None,
        approved_by=old.approved_by,
        approved_at=old.approved_at,
        ignores_windows=old.ignores_windows,
    )
    return "; the deployment is run again by itself", rerun


def _has_newer(connection: sa.Connection, project_id: str) -> bool:
    found = connection.scalar(
        sa.select(sa.literal(1)).where(
            _deployments.c.status == QUEUED,
            _deployments.c.project_id == project_id,
        )
    )
    return found is not None


def _in_a_row(connection: sa.Connection, deployment_id: str) -> int:
    """How many reruns, each of the one before, this deployment is the last of. A person's retry begins anew.
    Where one of them is no longer kept, there may have been any number."""
    count = 0
    earlier: str | None = deployment_id
    while earlier is not None and count < MOST_IN_A_ROW:
        row = connection.execute(
            sa.select(_deployments.c.trigger, _deployments.c.triggered_by, _deployments.c.retry_of).where(
                _deployments.c.id == earlier
            )
        ).first()
        if row is None:
            return MOST_IN_A_ROW
        if row.trigger not in (Trigger.RETRY, Trigger.ROLLBACK) or row.triggered_by is not None:
            break
        count += 1
        earlier = row.retry_of
    return count


def _gives_way(connection: sa.Connection, project_id: str) -> bool:
    strategy = connection.scalar(sa.select(_projects.c.strategy).where(_projects.c.id == project_id))
    if strategy is Strategy.RELEASE:
        return True
    first = connection.scalar(
        sa.select(_steps.c.command).where(_steps.c.project_id == project_id).order_by(_steps.c.position).limit(1)
    )
    return not git.pulls_itself(first or "") or git.only_pulls(first or "")
