"""The releases of a project, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer.deployments import releases
from deployer.models.deployment import QUEUED, RUNNING, Deployment
from deployer.models.project import Project, Strategy
from deployer.models.release import Release

SHOWN_RELEASES = 20


@dataclass(frozen=True)
class ShownRelease:
    """``built_by`` is the deployment that made it, as long as that is kept."""

    release: Release
    built_by: Deployment | None
    is_current: bool


@dataclass(frozen=True)
class Shown:
    """What a project's page says of its releases. ``former`` is the one before the current; ``waiting_sha`` is the
    commit that is to be deployed next."""

    current: ShownRelease | None
    all: list[ShownRelease]
    former: Release | None
    waiting_sha: str | None


def shown(session: Session, project: Project) -> Shown | None:
    """None of a project without them."""
    if project.strategy is not Strategy.RELEASE:
        return None
    found = releases.listed(session.connection(), project.id, SHOWN_RELEASES)
    live = releases.current(session.connection(), project.id)
    if live and live.id not in {one.id for one in found}:
        found.append(live)
    wanted = [one.deployment_id for one in found]
    built = {one.id: one for one in session.scalars(sa.select(Deployment).where(Deployment.id.in_(wanted)))}
    rows = [ShownRelease(one, built.get(one.deployment_id), bool(live and one.id == live.id)) for one in found]
    return Shown(
        current=next((one for one in rows if one.is_current), None),
        all=rows,
        former=releases.former(session.connection(), project.id),
        waiting_sha=_waiting(session, project.id),
    )


def _waiting(session: Session, project_id: str) -> str | None:
    return session.scalar(
        sa.select(Deployment.commit_sha)
        .where(Deployment.project_id == project_id, Deployment.status.in_([QUEUED, RUNNING]))
        .where(Deployment.commit_sha.is_not(None))
        .order_by(Deployment.number.desc())
        .limit(1)
    )
