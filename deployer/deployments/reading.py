"""Looking at deployments: one by its name, lists for pages, their state for a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from deployer.deployments import waiting
from deployer.errors import NotFound
from deployer.models.audit import AuditEvent
from deployer.models.base import table_of
from deployer.models.delivery import Delivery, Verdict
from deployer.models.deployment import QUEUED, RUNNING, Deployment, DeploymentEvent, Status, last_success
from deployer.models.project import Project
from deployer.models.release import Release
from deployer.models.server import Server

# No more digits than the number's column holds: a longer one is nobody's.
_REFERENCE = re.compile(r"DEP-0*([1-9][0-9]{0,8})\Z", re.IGNORECASE)


def find(session: Session, id_or_ref: str) -> Deployment:
    """By id or reference (``DEP-0042``). Raises NotFound."""
    match = _REFERENCE.match(id_or_ref)
    is_it = Deployment.number == int(match[1]) if match else Deployment.id == id_or_ref
    deployment = session.scalar(sa.select(Deployment).where(is_it).options(joinedload(Deployment.project)))
    if deployment is None:
        raise NotFound("Deployment not found")
    return deployment


def retries_of(session: Session, deployment: Deployment) -> Sequence[Deployment]:
    """The deployments that run a deployment's commit again, in their order."""
    return session.scalars(
        sa.select(Deployment)
        .where(
            Deployment.project_id == deployment.project_id,
            Deployment.number > deployment.number,
            Deployment.retry_of == deployment.id,
        )
        .order_by(Deployment.number)
    ).all()


def retried_by(session: Session, deployment: Deployment) -> Deployment | None:
    """The one whose commit a deployment runs again; None where it is none such, or where that one is gone."""
    if deployment.retry_of is None:
        return None
    return session.scalar(sa.select(Deployment).where(Deployment.id == deployment.retry_of))


def active(session: Session) -> Sequence[Deployment]:
    """What runs and what waits, in the order of the queue."""
    # Each by its own partial index; a condition with "or" would look at every deployment there ever was.
    numbers = sa.union_all(
        *(sa.select(Deployment.number).where(Deployment.status == one) for one in (RUNNING, QUEUED))
    )
    return session.scalars(
        sa.select(Deployment)
        .where(Deployment.number.in_(numbers))
        .order_by(Deployment.status.desc(), Deployment.number)
        .options(joinedload(Deployment.project))
    ).all()


def of_project(session: Session, project_id: str, limit: int) -> Sequence[Deployment]:
    """The newest of a project."""
    return session.scalars(
        sa.select(Deployment)
        .where(Deployment.project_id == project_id)
        .order_by(Deployment.number.desc())
        .limit(limit)
    ).all()


def newest_pushed(session: Session, project_id: str, branch: str) -> str | None:
    """The commit that the forge named last for a branch, whatever became of it; None where it never named one."""
    return session.scalar(
        sa.select(Delivery.commit_sha)
        .where(
            Delivery.project_id == project_id,
            Delivery.ref == f"refs/heads/{branch}",
            Delivery.commit_sha.is_not(None),
            Delivery.verdict != Verdict.UNVERIFIED,
            Delivery.asked_by.is_(None),
        )
        .order_by(Delivery.received_at.desc())
        .limit(1)
    )


def led_to(session: Session, deliveries: Sequence[Delivery]) -> dict[str, Deployment]:
    """The deployments that deliveries led to, by their ids."""
    wanted = [delivery.deployment_id for delivery in deliveries if delivery.deployment_id]
    found = session.scalars(sa.select(Deployment).where(Deployment.id.in_(wanted)))
    return {deployment.id: deployment for deployment in found}


def last_right_delivery(session: Session, project_id: str) -> datetime | None:
    """When the forge last sent a delivery whose signature was right; None where it never did."""
    return session.scalar(
        sa.select(Delivery.received_at)
        .where(
            Delivery.project_id == project_id,
            Delivery.verdict != Verdict.UNVERIFIED,
            Delivery.asked_by.is_(None),
        )
        .order_by(Delivery.received_at.desc())
        .limit(1)
    )


MOST_SUPERSEDED = 100
"""Of a project's deployments so many are looked at, the newest, for those whose place another one took."""


def superseded_shas(connection: sa.Connection, deployment: Deployment) -> list[str]:
    """The commits of those that were superseded by a deployment, or by one that was; the newest first."""
    rows = connection.execute(
        sa.select(Deployment.id, Deployment.commit_sha, Deployment.superseded_by)
        .where(Deployment.project_id == deployment.project_id, Deployment.number < deployment.number)
        .order_by(Deployment.number.desc())
        .limit(MOST_SUPERSEDED)
    )
    winners = {deployment.id}
    found: dict[str | None, None] = {}
    for row in rows:
        if row.superseded_by in winners:
            winners.add(row.id)
            found[row.commit_sha] = None
    return [sha for sha in found if sha]


def live_sha(connection: sa.Connection, project_id: str) -> str | None:
    """The commit that is live in a project: that of its current release, or what the last successful deployment
    left."""
    is_current = Release.id == sa.select(Project.current_release_id).where(Project.id == project_id).scalar_subquery()
    return connection.scalar(sa.select(Release.commit_sha).where(is_current)) or connection.scalar(
        sa.select(Deployment.deployed_sha).where(Deployment.number == last_success(project_id).scalar_subquery())
    )


def live_sha_of(connection: sa.Connection, project_id: str, branch: str) -> str | None:
    """The same of one branch: what is live where it is of that branch, else what the branch's last successful
    deployment left."""
    is_current = Release.id == sa.select(Project.current_release_id).where(Project.id == project_id).scalar_subquery()
    is_of_branch = sa.and_(Deployment.id == Release.deployment_id, Deployment.branch == branch)
    return connection.scalar(
        sa.select(Release.commit_sha).join(Deployment, is_of_branch).where(is_current)
    ) or connection.scalar(
        sa.select(Deployment.deployed_sha).where(
            Deployment.number == last_success(project_id, branch).scalar_subquery()
        )
    )


def changes(session: Session) -> str:
    """A word that differs after each change of a deployment's status, and of what a person changed."""
    newest = [sa.select(sa.func.max(column)).scalar_subquery() for column in (DeploymentEvent.id, AuditEvent.id)]
    return ".".join(str(number or 0) for number in session.execute(sa.select(*newest)).one())


def servers_given_up(connection: sa.Connection, since: datetime) -> Sequence[str]:
    """The servers of deployments that were interrupted or cancelled since then: the runner may have been out of
    contact with them."""
    return connection.scalars(
        sa.select(Server.id)
        .join(Project, Project.server_id == Server.id)
        .join(Deployment, Deployment.project_id == Project.id)
        .where(
            Deployment.status.in_((Status.INTERRUPTED, Status.CANCELLED)),
            Deployment.finished_at > since,
        )
        .distinct()
    ).all()


def newest_of_each(session: Session) -> dict[str, Deployment]:
    """Each project's last deployment that was not merely superseded, by the project's id."""
    # Backwards through each project's own; to group all of them would take as long as there are deployments.
    newest = (
        sa.select(Deployment.number)
        .where(Deployment.project_id == Project.id, Deployment.status != Status.SUPERSEDED)
        .order_by(Deployment.number.desc())
        .limit(1)
        .correlate(Project)
        .scalar_subquery()
    )
    found = session.scalars(
        sa.select(Deployment).where(Deployment.number.in_(sa.select(newest).select_from(Project)))
    )
    return {deployment.project_id: deployment for deployment in found}


def _is_here(project: Any) -> sa.ColumnElement[bool]:
    """Whether a project's lane is one that this host opens, as claims have it."""
    return sa.or_(project.server_id.is_not(None), project.host_id.is_(None), project.host_id == sa.bindparam("host"))


_running = table_of(Deployment).alias()
_at_work = table_of(Project).alias()
_WAITS_FOR_NOTHING = (
    sa.select(sa.literal(1))
    .select_from(Deployment)
    .join(Project, Project.id == Deployment.project_id)
    .where(
        Deployment.status == QUEUED,
        _is_here(Project),
        # What people hold back waits for them.
        waiting.IS_ALLOWED,
        ~sa.select(sa.literal(1))
        .where(
            _running.c.status == RUNNING,
            _at_work.c.id == _running.c.project_id,
            _at_work.c.server_id.is_not_distinct_from(Project.server_id),
            _is_here(_at_work.c),
        )
        .correlate(Project)
        .exists(),
    )
    .limit(1)
)
_NEWEST_START = (
    sa.select(DeploymentEvent.deployment_id)
    .join(Deployment, Deployment.id == DeploymentEvent.deployment_id)
    .join(Project, Project.id == Deployment.project_id)
    .where(DeploymentEvent.event == Status.RUNNING, _is_here(Project))
    .order_by(DeploymentEvent.id.desc())
    .limit(1)
)


def standstill(connection: sa.Connection, host_id: str | None = None) -> str | None:
    """Where something waits though nothing runs where it is to: what began last, which should be another one soon.
    Of hosts that share a database it is that of this one: what waits for another's runner is not its affair."""
    given = {"host": host_id, "closed": waiting.closed_projects(connection)}
    if connection.scalar(_WAITS_FOR_NOTHING, given) is None:
        return None
    return connection.scalar(_NEWEST_START, {"host": host_id}) or ""
