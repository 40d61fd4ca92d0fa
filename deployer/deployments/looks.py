"""Looks: what the commit means that a project's branch was seen at on its remote, without a delivery telling of it.

Deployer's newest word about a branch is the commit that a delivery named last, that a look saw, or that was deployed,
whichever came last. Only a commit that differs from it is news. So what failed, was cancelled or was skipped on
purpose is not run again by looking; and a branch that was put back to an older commit is followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum, auto
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from deployer import clock
from deployer.deployments import filters, queue, reading
from deployer.deployments.lifecycle import NewDeployment
from deployer.models.base import table_of
from deployer.models.delivery import Delivery, Verdict
from deployer.models.deployment import Deployment, Status, Trigger, reference
from deployer.models.project import HAS_SOMETHING_TO_DO, Project

_projects = table_of(Project)
_deployments = table_of(Deployment)
_deliveries = table_of(Delivery)

NO_ROOM = "It has a new commit, but as many deployments wait as runner.max_queued allows."


class Why(Enum):
    """What a look was for, in the words of the deployment that it led to."""

    START = "seen as the runner started; no delivery had told of it"
    AWAKE = "seen as the host was awake again; no delivery had told of it"
    BACK = "seen as the network was back; no delivery had told of it"
    REGULAR = "seen by a look now and then; no delivery had told of it"
    POLL = "seen by looking every {}"

    def words(self, poll_minutes: int | None) -> str:
        return self.value.format("minute" if poll_minutes == 1 else f"{poll_minutes} minutes")


@dataclass(frozen=True)
class Followed:
    """A project whose branch is compared with its remote. ``polled_at`` is when that answered last; ``is_known`` says
    that a delivery or a deployment has named a commit."""

    id: str
    name: str
    repository_url: str
    branch: str
    updated_at: datetime
    poll_minutes: int | None
    polled_at: datetime | None
    polled_sha: str | None
    is_known: bool


@dataclass(frozen=True)
class Look:
    """What a look saw: that of ``project``, as it was read before, the branch was at ``tip`` after ``asked_at``."""

    project: Followed
    asked_at: datetime
    tip: str
    why: Why


class Outcome(Enum):
    """What became of a look."""

    NEWS = auto()  # a deployment waits
    KNOWN = auto()  # nothing that Deployer did not know
    FIRST = auto()  # nothing was known of the branch; from now on it is
    OPEN = auto()  # while it was asked, something else happened that decides: look again
    VOID = auto()  # another runner looked, or the project is another one by now
    NO_ROOM = auto()  # there is a new commit, but no room in the queue: look again


@dataclass(frozen=True)
class Finding:
    """``ref`` is the deployment's short name where there is one."""

    outcome: Outcome
    ref: str = ""


# A delivery that could not be taken (the queue was full) leaves its commit to be found, and one that came again says
# nothing new.
_TELLING = (Verdict.DEPLOYED, Verdict.IGNORED)
# What a person sent from here is no word of the forge.
_IS_OF_FORGE = _deliveries.c.asked_by.is_(None)

_WAS_DEPLOYED = (
    sa.select(sa.literal(1))
    .where(_deployments.c.project_id == _projects.c.id, _deployments.c.commit_sha.is_not(None))
    .exists()
)
_WAS_NAMED = (
    sa.select(sa.literal(1))
    .where(_deliveries.c.project_id == _projects.c.id, _deliveries.c.commit_sha.is_not(None), _IS_OF_FORGE)
    .exists()
)
_FOLLOWED = (
    sa.select(
        _projects.c.id,
        _projects.c.name,
        _projects.c.repository_url,
        _projects.c.branch,
        _projects.c.updated_at,
        _projects.c.poll_minutes,
        _projects.c.polled_at,
        _projects.c.polled_sha,
        sa.or_(_WAS_DEPLOYED, _WAS_NAMED),
        *filters.LABELLED,
    )
    .where(
        _projects.c.auto_deploy,
        HAS_SOMETHING_TO_DO,
        sa.or_(
            _projects.c.poll_minutes.is_not(None),
            _projects.c.connected_at.is_not(None),
            _projects.c.polled_sha.is_not(None),
            _WAS_DEPLOYED,
        ),
    )
    .order_by(_projects.c.name)
)


def followed(connection: sa.Connection) -> Sequence[Followed]:
    """The projects to compare: those that deploy each push to their own branch, and have a webhook, a polling
    interval or a history. One that was just made is nobody's to deploy for the first time."""
    return list(_followed(connection, _FOLLOWED))


def _followed(connection: sa.Connection, wanted: sa.Select[Any]) -> Iterator[Followed]:
    for row in connection.execute(wanted):
        if filters.of_row(row).takes_branch(row.branch):
            yield Followed(*row[: len(fields(Followed))])


def record(connection: sa.Connection, look: Look, max_queued: int) -> Finding:
    """Decide about a look, enqueue what it asks for, and remember it, all in the caller's transaction."""
    project = next(_followed(connection, _FOLLOWED.where(_projects.c.id == look.project.id)), None)
    if project is None or _place(project) != _place(look.project):
        return Finding(Outcome.VOID)
    outcome = _decide(connection, look, project)
    if outcome is Outcome.OPEN:
        return Finding(outcome)
    new = _new_deployment(look) if outcome is Outcome.NEWS else None
    savepoint = connection.begin_nested()
    try:
        if not _remember(connection, look):
            savepoint.rollback()
            return Finding(Outcome.VOID)
        if new and not queue.take_in(connection, new, max_queued):
            savepoint.rollback()
            note_error(connection, project.id, NO_ROOM)
            return Finding(Outcome.NO_ROOM)
    except IntegrityError:
        # The index on queued pushes: a delivery has just come.
        savepoint.rollback()
        return Finding(Outcome.OPEN)
    savepoint.commit()
    return Finding(outcome, _reference(connection, new.id) if new else "")


def note_error(connection: sa.Connection, project_id: str, error: str) -> None:
    """Say on the project's page why it could not be looked at, until a look succeeds."""
    connection.execute(_projects.update().where(_projects.c.id == project_id).values(poll_error=error))


def _place(project: Followed) -> tuple[str, str]:
    return project.repository_url, project.branch


def _decide(connection: sa.Connection, look: Look, project: Followed) -> Outcome:
    delivered = _last_delivered(connection, project)
    # What seems to come from the future was received before the clock was put back.
    is_meanwhile = delivered is not None and look.asked_at <= delivered.received_at <= clock.now()
    if is_meanwhile and delivered.commit_sha != look.tip:
        return Outcome.OPEN
    mine = sa.and_(_deployments.c.project_id == project.id, _deployments.c.branch == project.branch)
    is_active = _deployments.c.status.in_((Status.QUEUED, Status.RUNNING))
    is_of_tip = sa.or_(_deployments.c.commit_sha == look.tip, _deployments.c.deployed_sha == look.tip)
    if _any(connection, mine, is_active, is_of_tip) or look.tip == reading.live_sha(connection, project.id):
        return Outcome.KNOWN
    if _any(connection, mine, is_active, _deployments.c.commit_sha.is_(None)):
        # Somebody asked for the newest commit, and which one that is shows after the fetch.
        return Outcome.OPEN
    words = [(delivered.received_at, delivered.commit_sha)] if delivered else []
    if project.polled_at and project.polled_sha:
        words.append((project.polled_at, project.polled_sha))
    begun_at = sa.func.max(sa.func.coalesce(_deployments.c.started_at, _deployments.c.queued_at))
    deployed_at = connection.scalar(sa.select(begun_at).where(mine, is_of_tip))
    if deployed_at is not None:
        words.append((deployed_at, look.tip))
    if words:
        return Outcome.KNOWN if max(words)[1] == look.tip else Outcome.NEWS
    return Outcome.NEWS if _any(connection, mine, _deployments.c.commit_sha.is_not(None)) else Outcome.FIRST


def _last_delivered(connection: sa.Connection, project: Followed) -> Any:
    """When a delivery last named a commit of the branch, and which."""
    return connection.execute(
        sa.select(_deliveries.c.received_at, _deliveries.c.commit_sha)
        .where(
            _deliveries.c.project_id == project.id,
            _deliveries.c.ref == f"refs/heads/{project.branch}",
            _deliveries.c.commit_sha.is_not(None),
            _deliveries.c.verdict.in_(_TELLING),
            _IS_OF_FORGE,
        )
        .order_by(_deliveries.c.received_at.desc(), _deliveries.c.id.desc())
        .limit(1)
    ).first()


def _any(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> bool:
    return connection.scalar(sa.select(_deployments.c.id).where(*conditions).limit(1)) is not None


def _new_deployment(look: Look) -> NewDeployment:
    return NewDeployment(
        id=clock.new_id(),
        project_id=look.project.id,
        trigger=Trigger.POLL,
        triggered_by=look.why.words(look.project.poll_minutes),
        branch=look.project.branch,
        commit_sha=look.tip,
    )


def _remember(connection: sa.Connection, look: Look) -> bool:
    """Of several runners that looked, one writes; it is the one that saw the project as it still is."""
    mine = connection.execute(
        _projects.update()
        .where(
            _projects.c.id == look.project.id,
            _projects.c.polled_at.is_not_distinct_from(look.project.polled_at),
        )
        .values(polled_at=look.asked_at, polled_sha=look.tip, poll_error=None)
        .returning(_projects.c.id)
    )
    return mine.first() is not None


def _reference(connection: sa.Connection, deployment_id: str) -> str:
    number = connection.scalar(sa.select(_deployments.c.number).where(_deployments.c.id == deployment_id))
    assert number is not None
    return reference(number)
