"""Releases: made by a deployment, one of them current, the last of them kept, and gone back to without a build."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from deployer import clock
from deployer.commands import release_dir
from deployer.deployments import lifecycle, queue
from deployer.deployments.lifecycle import NewDeployment
from deployer.errors import InvalidTransition, LostClaim, NotFound
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, RUNNING, SUPERSEDED, Deployment, Status, Trigger
from deployer.models.project import Project, Strategy
from deployer.models.release import Release

_releases = table_of(Release)
_deployments = table_of(Deployment)
_projects = table_of(Project)


MAX_NAME = 17
"""Of a release's directory, in characters: its number has at most 9 digits."""


# What a deployment writes down -----------------------------------------------------------------------------------


def begin(connection: sa.Connection, deployment_id: str, runner_id: str, sha: str, activate_steps: str) -> Release:
    """The release that a running deployment makes, with the next number of its project. Raises LostClaim."""
    project_id = _claimed(connection, deployment_id, runner_id).project_id
    number = connection.scalar(sa.select(sa.func.max(_releases.c.number)).where(_of(project_id))) or 0
    release = Release(
        id=clock.new_id(),
        project_id=project_id,
        number=number + 1,
        commit_sha=sha,
        deployment_id=deployment_id,
        activate_steps=activate_steps,
        created_at=clock.now(),
    )
    connection.execute(
        _releases.insert().values({column.key: getattr(release, column.key) for column in _releases.c})
    )
    connection.execute(_deployments.update().where(_deployments.c.id == deployment_id).values(release_id=release.id))
    return release


def activate(connection: sa.Connection, deployment_id: str, runner_id: str) -> None:
    """A deployment has made its release the current one; which one that was before is kept with it."""
    deployment = _claimed(connection, deployment_id, runner_id)
    former = connection.scalar(
        sa.select(_projects.c.current_release_id).where(_projects.c.id == deployment.project_id)
    )
    if former != deployment.release_id:
        connection.execute(
            _deployments.update().where(_deployments.c.id == deployment_id).values(former_release_id=former)
        )
    _make_current(connection, deployment.project_id, deployment.release_id)


def go_back(connection: sa.Connection, deployment_id: str, runner_id: str) -> None:
    """A deployment that did not end well has made the former release the current one again. What it had made itself
    is none to go back to."""
    deployment = _claimed(connection, deployment_id, runner_id)
    is_its_own = sa.and_(_releases.c.id == deployment.release_id, _releases.c.deployment_id == deployment_id)
    connection.execute(_releases.update().where(is_its_own).values(activated_at=None))
    _make_current(connection, deployment.project_id, deployment.former_release_id)


def correct(connection: sa.Connection, deployment_id: str, runner_id: str, release_id: str) -> None:
    """A deployment has seen that another release is the current one than the one on record. Raises LostClaim."""
    _make_current(connection, _claimed(connection, deployment_id, runner_id).project_id, release_id)


def prune(connection: sa.Connection, project_id: str, kept: Collection[str], size_bytes: int | None) -> None:
    """The directories of all releases but those of ``kept`` (ids) are gone; and how large the current one is."""
    connection.execute(
        _releases.update()
        .where(_of(project_id), _releases.c.removed_at.is_(None), _releases.c.id.not_in(kept))
        .values(removed_at=clock.now())
    )
    if size_bytes is not None:
        is_current = (
            _releases.c.id
            == sa.select(_projects.c.current_release_id).where(_projects.c.id == project_id).scalar_subquery()
        )
        connection.execute(_releases.update().where(is_current).values(size_bytes=size_bytes))


def leave(connection: sa.Connection, project_id: str) -> None:
    """A project is deployed to another place from now on: none of its releases is there."""
    connection.execute(
        _releases.update().where(_of(project_id), _releases.c.removed_at.is_(None)).values(removed_at=clock.now())
    )


def build_again(connection: sa.Connection, release_id: str, activate_steps: str) -> None:
    """A release whose directory is gone is built once more, by the project's present steps."""
    connection.execute(_releases.update().where(_releases.c.id == release_id).values(activate_steps=activate_steps))


def _make_current(connection: sa.Connection, project_id: str, release_id: str | None) -> None:
    connection.execute(_projects.update().where(_projects.c.id == project_id).values(current_release_id=release_id))
    is_live = {"activated_at": clock.now(), "removed_at": None}
    connection.execute(_releases.update().where(_releases.c.id == release_id).values(is_live))


def _claimed(connection: sa.Connection, deployment_id: str, runner_id: str) -> Any:
    row = connection.execute(
        sa.select(_deployments.c.project_id, _deployments.c.release_id, _deployments.c.former_release_id).where(
            _deployments.c.id == deployment_id,
            _deployments.c.runner_id == runner_id,
            _deployments.c.status == RUNNING,
        )
    ).first()
    if row is None:
        raise LostClaim(f"Deployment {deployment_id} is no longer this runner's.")
    return row


# What is known of them -------------------------------------------------------------------------------------------


def find(connection: sa.Connection, release_id: str | None) -> Release | None:
    return _first(connection, sa.select(_releases).where(_releases.c.id == release_id))


def named(connection: sa.Connection, project_id: str, name: str) -> Release | None:
    """The one whose directory has that name; None where it is none of the project's."""
    if not release_dir.NAME.match(name) or len(name) > MAX_NAME:
        return None
    release = _numbered(connection, project_id, int(name.partition("-")[0]))
    return release if release and release.name == name else None


def current(connection: sa.Connection, project_id: str) -> Release | None:
    """The one that is live."""
    return find(
        connection,
        connection.scalar(sa.select(_projects.c.current_release_id).where(_projects.c.id == project_id)),
    )


def listed(connection: sa.Connection, project_id: str, most: int = 50) -> list[Release]:
    """Those that were live once, and the current one, the newest first."""
    rows = connection.execute(
        sa.select(_releases)
        .where(_of(project_id), _releases.c.activated_at.is_not(None))
        .order_by(_releases.c.number.desc())
        .limit(most)
    )
    return [Release(**row) for row in rows.mappings()]


def kept(connection: sa.Connection, project_id: str, count: int) -> list[Release]:
    """Those whose directories stay: the last ``count`` that were live, and the current one."""
    found = [one for one in listed(connection, project_id, count) if one.removed_at is None]
    live = current(connection, project_id)
    return found if live is None or live.id in {one.id for one in found} else [*found, live]


def former(connection: sa.Connection, project_id: str) -> Release | None:
    """The one before the current: what was live as that was built (what had been gone back from by then is none to
    go back to); where that is not known any more, the one with the next lower number that was live."""
    live = current(connection, project_id)
    built_by = _deployments.c.id == (live.deployment_id if live else None)
    before = find(connection, connection.scalar(sa.select(_deployments.c.former_release_id).where(built_by)))
    if before and before.activated_at is not None:
        return before
    return _first(
        connection,
        sa.select(_releases)
        .where(
            _of(project_id),
            _releases.c.activated_at.is_not(None),
            _releases.c.number < (live.number if live else 0),
        )
        .order_by(_releases.c.number.desc())
        .limit(1),
    )


def _numbered(connection: sa.Connection, project_id: str, number: int) -> Release | None:
    return _first(connection, sa.select(_releases).where(_of(project_id), _releases.c.number == number))


def _first(connection: sa.Connection, wanted: sa.Select[Any]) -> Release | None:
    row = connection.execute(wanted).mappings().first()
    return Release(**row) if row else None


def _of(project_id: str) -> sa.ColumnElement[bool]:
    return _releases.c.project_id == project_id


# Going back ------------------------------------------------------------------------------------------------------


def roll_back(connection: sa.Connection, project_id: str, by: str, max_queued: int, number: int | None = None) -> str:
    """Enqueue the way back to a release, to the one before the current where none is named; the deployment's id.

    It goes to the front of the queue, and supersedes pushes that wait. Raises NotFound, InvalidTransition where there
    is nothing to go back to, QueueFull.
    """
    project = connection.execute(
        sa.select(_projects.c.name, _projects.c.strategy, _projects.c.branch).where(_projects.c.id == project_id)
    ).first()
    if project is None:
        raise NotFound("Project not found")
    if project.strategy is not Strategy.RELEASE:
        raise InvalidTransition(
            f"The project {project.name} has no releases: its steps run in one working copy.",
            hint="Deploy an earlier commit again, or give the project the strategy 'release'.",
        )
    release = _wanted(connection, project_id, project.name, number)
    queue.require_room(connection, max_queued)
    new = NewDeployment(
        id=clock.new_id(),
        project_id=project_id,
        trigger=Trigger.ROLLBACK,
        triggered_by=by,
        branch=project.branch,
        commit_sha=release.commit_sha,
        release_id=release.id,
        **words_of(connection, release.deployment_id),
    )
    lifecycle.enqueue(connection, [new])
    return new.id


def number_of(word: str) -> int:
    """The number in what a person calls a release: ``12`` or ``12-1a2b3c4``. Raises NotFound."""
    number, _, sha = word.partition("-")
    if not number.isascii() or not number.isdigit() or len(number) > 9 or (sha and not release_dir.NAME.match(word)):
        raise NotFound(f"'{word}' is no release.", hint="Name one as 12 or 12-1a2b3c4.")
    return int(number)


def _wanted(connection: sa.Connection, project_id: str, name: str, number: int | None) -> Release:
    if number is None:
        release = former(connection, project_id)
        if release is None:
            raise InvalidTransition(
                f"The project {name} has no release before the current one.",
                hint="Deploy an earlier commit, or name a release.",
            )
        return release
    release = _numbered(connection, project_id, number)
    if release is None:
        raise NotFound(f"The project {name} has no release {number}.")
    if release.activated_at is None:
        raise InvalidTransition(f"The release {release.name} was never live.", hint="Choose one that was.")
    live = current(connection, project_id)
    if live and live.id == release.id and _ended_well(connection, project_id):
        raise InvalidTransition(f"The release {release.name} is the current one already.", hint="Choose another one.")
    return release


def _ended_well(connection: sa.Connection, project_id: str) -> bool:
    """Whether the project's last deployment with a release did. If not, it may not have activated what is current, or
    have lost sight of it."""
    last = connection.scalar(
        sa.select(_deployments.c.status)
        .where(_deployments.c.project_id == project_id, _deployments.c.release_id.is_not(None))
        .where(_deployments.c.status.not_in((QUEUED, SUPERSEDED)))
        .order_by(_deployments.c.number.desc())
        .limit(1)
    )
    return last in (RUNNING, Status.SUCCESS)


def words_of(connection: sa.Connection, deployment_id: str) -> dict[str, Any]:
    """What is known of the commit, from the deployment that built it."""
    columns: Sequence[str] = ("commit_message", "author_name", "author_email", "repository")
    row = (
        connection.execute(
            sa.select(*(_deployments.c[one] for one in columns)).where(_deployments.c.id == deployment_id)
        )
        .mappings()
        .first()
    )
    return dict(row) if row else {}


def branch_of(connection: sa.Connection, release: Release) -> str | None:
    """The branch, or the full ref of the tag, that it was built of; None where that is not known any more."""
    return connection.scalar(sa.select(_deployments.c.branch).where(_deployments.c.id == release.deployment_id))
