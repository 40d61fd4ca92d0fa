"""The commit of an ended deployment once more: from the first step, or from the one at which it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from deployer import audit, clock
from deployer.audit import Actor
from deployer.commands import git
from deployer.db import Database
from deployer.deployments import filters, lifecycle, queue, releases
from deployer.deployments.lifecycle import NewDeployment
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.models.base import table_of
from deployer.models.deployment import Command, CommandKind, Deployment, Status, Trigger, reference, tag_of
from deployer.models.project import Project, Step, Strategy

FROM_THE_FIRST = "Retry it from the first step."

_deployments = table_of(Deployment)
_commands = table_of(Command)
_steps = table_of(Step)
_projects = table_of(Project)


@dataclass(frozen=True)
class Resumption:
    """Where a deployment can be gone on with: the step of that index (from 0) in the project's list, and its name.

    ``skipped`` says of the steps before it, by their indices, where each has succeeded.
    """

    from_step: int
    name: str
    skipped: Mapping[int, str] = field(default_factory=dict)


def ask(
    database: Database,
    actor: Actor,
    deployment: Deployment,
    max_queued: int,
    *,
    from_failed: bool = False,
    is_admin: bool = False,
) -> str:
    """Retry a deployment because a person asks for it, which the audit log notes; the new one's id.

    Raises what `retry` does.
    """
    how = "from the failed step" if from_failed else "from the first step"
    with audit.changing(database, actor, "deployment.retry_requested", deployment.ref, how) as session:
        return retry(
            session.connection(), deployment.id, actor.name, max_queued, from_failed=from_failed, is_admin=is_admin
        )


def retry(
    connection: sa.Connection,
    deployment_id: str,
    by: str,
    max_queued: int,
    *,
    from_failed: bool = False,
    is_admin: bool = False,
) -> str:
    """Enqueue the commit of an ended deployment again, or the way back that it was; the new one's id.

    ``from_failed`` leaves out the steps that succeeded. With an administrator's wish goes their approval. Raises
    NotFound, InvalidTransition where the deployment does not allow it, InvalidInput (``commit``, ``steps``) where the
    project does not, QueueFull.
    """
    old = _row(connection, deployment_id)
    ref = reference(old.number)
    if not Status(old.status).is_final:
        raise InvalidTransition(f"{ref} has not ended yet.", hint="Cancel it or wait for its end.")
    if old.trigger is Trigger.ROLLBACK and (release := releases.find(connection, old.release_id)):
        return releases.roll_back(connection, old.project_id, by, max_queued, release.number)
    sha = old.deployed_sha or old.commit_sha
    if sha is None:
        raise InvalidTransition(
            f"{ref} came to no commit that could be run again.", hint="Deploy the newest instead."
        )
    if not filters.of_row(old).takes(old.branch, tag_of(old.branch)):
        was = f"the tag {tag}" if (tag := tag_of(old.branch)) else f"the branch {old.branch}"
        raise InvalidTransition(
            f"{ref} was of {was}, but the project deploys {old.project_branch} by now.",
            hint="Deploy the newest instead.",
        )
    steps = _lines(connection, old.project_id)
    if not steps and old.strategy is not Strategy.RELEASE:
        raise InvalidInput({"steps": "The project has no steps. Add one first."})
    from_step = resumption(connection, deployment_id, steps).from_step if from_failed else 0
    if from_step == 0:
        queue.refuse_commit(connection, old.project_id, sha)
    queue.require_room(connection, max_queued)
    is_as_asked = sha == old.commit_sha
    new = NewDeployment(
        id=clock.new_id(),
        project_id=old.project_id,
        trigger=Trigger.RETRY,
        triggered_by=by,
        branch=old.branch,
        commit_sha=sha,
        commit_message=old.commit_message if is_as_asked else None,
        author_name=old.author_name if is_as_asked else None,
        author_email=old.author_email if is_as_asked else None,
        repository=old.repository,
        retry_of=deployment_id,
        from_step=from_step or None,
        **queue.approval(by, is_admin=is_admin),
    )
    lifecycle.enqueue(connection, [new])
    return new.id


def resumption(connection: sa.Connection, deployment_id: str, steps: Sequence[str]) -> Resumption:
    """Where a deployment can be gone on with, in a project whose present ``steps`` have these command lines.

    Raises NotFound, InvalidTransition where it cannot.
    """
    old = _row(connection, deployment_id)
    ref = reference(old.number)
    if old.strategy is Strategy.RELEASE:
        raise InvalidTransition(
            f"{ref} would get a release of its own, without what the last one built.", hint=FROM_THE_FIRST
        )
    rows = connection.execute(
        sa.select(_commands).where(_commands.c.deployment_id == deployment_id).order_by(*_ORDER)
    ).all()
    # Of each step its last try.
    done = list({row.position: row for row in rows if row.kind is CommandKind.STEP}.values())
    place = next((n for n, row in enumerate(done) if row.status in (Status.FAILED, Status.INTERRUPTED)), None)
    if place is None:
        raise InvalidTransition(f"No step of {ref} failed or was interrupted.", hint=FROM_THE_FIRST)
    # A project's own pull may have given way to a checkout, and has no command then.
    gave_way = any(row.kind is CommandKind.CHECKOUT for row in rows)
    before = 1 if gave_way and steps and git.pulls_itself(steps[0]) else 0
    wanted = [row.line for row in done[: place + 1]]
    if wanted != list(steps[before : before + len(wanted)]):
        raise InvalidTransition(
            f"The steps of the project have changed since {ref}, which ended at '{done[place].name}'.",
            hint=FROM_THE_FIRST,
        )
    if (later := _ran_since(connection, old)) is not None:
        raise InvalidTransition(
            f"{reference(later)} has run since, so the working copy is not as {ref} left it.", hint=FROM_THE_FIRST
        )
    skipped = {
        before + n: f"succeeded in {ref}" if row.status is Status.SUCCESS else row.cause
        for n, row in enumerate(done[:place])
    }
    return Resumption(before + place, done[place].name, skipped)


def skipped_steps(connection: sa.Connection, deployment: Deployment) -> Mapping[int, str]:
    """Which of its project's steps a deployment that is about to begin need not run, and why.

    Raises InvalidTransition where the project or its working copy has changed since it was asked for.
    """
    if not deployment.from_step or deployment.retry_of is None:
        return {}
    try:
        found = resumption(connection, deployment.retry_of, [step.command for step in deployment.project.steps])
    except NotFound as error:
        raise InvalidTransition("The deployment that this one goes on with is gone.", hint=FROM_THE_FIRST) from error
    if found.from_step != deployment.from_step:
        raise InvalidTransition("The steps of the project have changed meanwhile.", hint=FROM_THE_FIRST)
    return found.skipped


_ORDER = (_commands.c.position, _commands.c.attempt)


def _row(connection: sa.Connection, deployment_id: str) -> sa.Row[Any]:
    row = connection.execute(
        sa.select(_deployments, *filters.LABELLED, _projects.c.strategy)
        .join(_projects, _projects.c.id == _deployments.c.project_id)
        .where(_deployments.c.id == deployment_id)
    ).first()
    if row is None:
        raise NotFound("Deployment not found")
    return row


def _lines(connection: sa.Connection, project_id: str) -> list[str]:
    return list(
        connection.scalars(
            sa.select(_steps.c.command).where(_steps.c.project_id == project_id).order_by(_steps.c.position)
        )
    )


def _ran_since(connection: sa.Connection, old: sa.Row[Any]) -> int | None:
    """The number of another deployment of the project that did something in the working copy after this one's end.

    They run one after the other, in the order of their numbers; clocks may be set, and those of two hosts differ.
    """
    did_something = (
        sa.select(sa.literal(1))
        .where(
            _commands.c.deployment_id == _deployments.c.id,
            _commands.c.started_at.is_not(None),
            _commands.c.kind.not_in((CommandKind.FETCH, CommandKind.SEND)),
        )
        .exists()
    )
    return connection.scalar(
        sa.select(_deployments.c.number)
        .where(
            _deployments.c.project_id == old.project_id,
            _deployments.c.number > old.number,
            did_something,
        )
        .order_by(_deployments.c.number.desc())
        .limit(1)
    )
