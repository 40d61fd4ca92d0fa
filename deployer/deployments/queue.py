"""The queue: whether there is room in it, and what comes into it by a person's wish and by looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from deployer import clock
from deployer.commands import git
from deployer.deployments import lifecycle, verdicts, waiting
from deployer.deployments.lifecycle import NewDeployment
from deployer.errors import InvalidInput, NotFound, QueueFull, as_sentence
from deployer.models.base import table_of
from deployer.models.deployment import FOLLOWS_BRANCH, QUEUED, RUNNING, Deployment, Trigger
from deployer.models.project import HAS_SOMETHING_TO_DO, Project, Step, Strategy

COMMIT_NEEDS_BARE_PULL = (
    "The first step does more than git pull, so a certain commit cannot take its place. "
    "Move the rest of it into a step of its own."
)

_projects = table_of(Project)
_steps = table_of(Step)
_deployments = table_of(Deployment)

# Pushes come many a second, so what they need is built once.
_SELECT_QUEUED = sa.select(_deployments.c.project_id, _deployments.c.branch, _deployments.c.trigger).where(
    _deployments.c.status == QUEUED
)


class Room:
    """Whether more deployments may wait. A push that takes the place of a queued one needs no room."""

    def __init__(self, connection: sa.Connection, max_queued: int) -> None:
        rows = connection.execute(_SELECT_QUEUED).all()
        self._free = max_queued - len(rows)
        self._pushes = {(project, branch) for project, branch, trigger in rows if trigger.follows_branch}

    def take(self, places: Sequence[tuple[str, str] | None]) -> bool:
        """Room for each of these, or for none of them: the project and branch of a push, None of anything else."""
        pushes = {place for place in places if place is not None} - self._pushes
        needed = len(pushes) + sum(place is None for place in places)
        if needed > max(self._free, 0):
            return False
        self._free -= needed
        self._pushes |= pushes
        return True


def require_room(connection: sa.Connection, max_queued: int) -> None:
    """Raises QueueFull where what a person asks for cannot wait any more."""
    if not Room(connection, max_queued).take([None]):
        raise QueueFull(verdicts.QUEUE_FULL)


def deploy_by_hand(
    connection: sa.Connection,
    project_id: str,
    by: str,
    max_queued: int,
    commit: str | None = None,
    *,
    is_admin: bool = False,
    ignores_windows: bool = False,
) -> str:
    """Enqueue a manual deployment; its id. ``commit`` is a commit's id, whole or shortened; without one the branch's
    tip is deployed. The runner resolves either. What an administrator asks for needs no further approval, and may
    begin outside the project's windows where they say so.

    Raises NotFound, InvalidInput (``steps`` where there are none, ``commit`` where it cannot be deployed,
    ``ignores_windows`` where that is not for ``by`` to say), QueueFull.
    """
    if ignores_windows and not is_admin:
        raise InvalidInput({"ignores_windows": "Only an administrator may deploy outside the windows."})
    project = connection.execute(
        sa.select(_projects.c.branch, HAS_SOMETHING_TO_DO).where(_projects.c.id == project_id)
    ).first()
    if project is None:
        raise NotFound("Project not found")
    branch, has_something_to_do = project
    if not has_something_to_do:
        raise InvalidInput({"steps": "The project has no steps. Add one first."})
    if commit is not None:
        commit = commit.strip().lower()
        refuse_commit(connection, project_id, commit)
    require_room(connection, max_queued)
    new = NewDeployment(
        id=clock.new_id(),
        project_id=project_id,
        trigger=Trigger.MANUAL,
        triggered_by=by,
        branch=branch,
        commit_sha=commit,
        ignores_windows=ignores_windows,
        **approval(by, is_admin=is_admin),
    )
    lifecycle.enqueue(connection, [new])
    return new.id


def detail(commit: str | None, *, ignores_windows: bool) -> str | None:
    """What the audit log says of a deployment that a person asks for."""
    words = [commit or "", "outside the windows" if ignores_windows else ""]
    return " ".join(word for word in words if word) or None


def approval(by: str, *, is_admin: bool) -> dict[str, Any]:
    """By its columns, the approval of a deployment that a person asks for: an administrator gives it with that."""
    return {"approved_by": by, "approved_at": clock.now()} if is_admin else {}


def refuse_commit(connection: sa.Connection, project_id: str, commit: str) -> None:
    """Raises InvalidInput (``commit``) for what is no commit's id, or cannot be brought in this project."""
    problem = git.commit_problem(commit)
    if problem:
        raise InvalidInput({"commit": as_sentence(problem)})
    first_step = _first_step_that_may_pull(connection, project_id) or ""
    if git.pulls_itself(first_step) and not git.only_pulls(first_step):
        raise InvalidInput({"commit": COMMIT_NEEDS_BARE_PULL})


def _first_step_that_may_pull(connection: sa.Connection, project_id: str) -> str | None:
    """With releases none does: the commit is there before the first."""
    return connection.scalar(
        sa.select(_steps.c.command)
        .join(_projects, _projects.c.id == _steps.c.project_id)
        .where(_steps.c.project_id == project_id, _projects.c.strategy == Strategy.CHECKOUT)
        .order_by(_steps.c.position)
        .limit(1)
    )


def take_in(connection: sa.Connection, found: NewDeployment, max_queued: int) -> bool:
    """Enqueue what a look at a repository found, as a push of it would be; False where there is no room.

    What runs is never ended for it: whether the commit asks for no deployment is seen only when it has been fetched.
    """
    if not Room(connection, max_queued).take([(found.project_id, found.branch)]):
        return False
    lifecycle.enqueue(connection, [found])
    return True


def cancel_running(connection: sa.Connection, new: Sequence[NewDeployment]) -> None:
    """Where the project says so, a push also ends the running push of its branch (never a manual run), unless it is
    held back itself: then what runs is left alone."""
    pushes = [one for one in new if one.trigger.follows_branch]
    for project_id, branch in {(one.project_id, one.branch) for one in waiting.allowed(connection, pushes)}:
        running = connection.scalars(
            sa.select(_deployments.c.id).where(
                _deployments.c.project_id == project_id,
                _deployments.c.branch == branch,
                FOLLOWS_BRANCH,
                _deployments.c.status == RUNNING,
            )
        ).all()
        for deployment_id in running:
            lifecycle.request_cancel(connection, deployment_id, "a newer push")
