"""What a deployment will run: Deployer's own git commands, then the project's steps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from deployer import clock
from deployer.commands import git
from deployer.config import Config
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.deployments.queue import COMMIT_NEEDS_BARE_PULL
from deployer.errors import GitError
from deployer.models.deployment import Command, CommandKind, Deployment, Trigger
from deployer.models.project import Project
from deployer.runner.commit import Repository

RUN_HERE = frozenset((CommandKind.FETCH, CommandKind.SEND))
"""What runs on the daemon's host also for a project of another server: only this host talks to the forge."""

_COMMAND_IDS = uuid.UUID("6d0c5f5e-3f3b-4bb1-9a8e-5f1d1a1c7a11")


def plan(
    deployment: Deployment,
    working_copy: Repository | None,
    config: Config,
    skipped: Mapping[int, str] = MappingProxyType({}),
) -> list[PlannedCommand]:
    """The commands in their order. Their ids follow from deployment and position, so that whoever plans again after
    a crash finds the same run directories.

    ``working_copy`` is None where it lies on a server, which is not asked while planning. ``skipped`` are those of
    the project's steps (counted from 0) that need not run, and why. Raises GitError where a certain commit cannot
    take the place of the project's own pull.
    """
    wanted = [*_built_in(deployment, working_copy, config, skipped), *_own(deployment, config, skipped)]
    return [
        PlannedCommand(id=command_id(deployment.id, position), position=position, nonce=uuid.uuid4().hex, **facts)
        for position, facts in enumerate(wanted)
    ]


def another_try(command: Command) -> PlannedCommand | None:
    """What follows a try that failed; None where it was the last."""
    if command.attempt > command.retries:
        return None
    attempt, wait_s = command.attempt + 1, command.retry_wait_s
    return PlannedCommand(
        id=command_id(command.deployment_id, command.position, attempt),
        position=command.position,
        kind=command.kind,
        name=command.name,
        line=command.line,
        timeout_s=command.timeout_s,
        nonce=uuid.uuid4().hex,
        attempt=attempt,
        retries=command.retries,
        retry_wait_s=wait_s,
        not_before=clock.now() + timedelta(seconds=wait_s) if wait_s else None,
    )


def command_id(deployment_id: str, position: int, attempt: int = 1) -> str:
    """The id of a try; that of the first is as it was before there were others."""
    name = f"{deployment_id}/{position}" if attempt == 1 else f"{deployment_id}/{position}/{attempt}"
    return str(uuid.uuid5(_COMMAND_IDS, name))


def _built_in(
    deployment: Deployment, working_copy: Repository | None, config: Config, skipped: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    """Deployer's own commands, which bring the commit."""
    project, branch = deployment.project, deployment.branch

    def one(kind: CommandKind, line: str) -> dict[str, Any]:
        return {"kind": kind, "name": str(kind), "line": line, "timeout_s": config.git.timeout}

    yield one(CommandKind.FETCH, f"git fetch {project.repository_url}")
    if project.server:
        yield one(CommandKind.SEND, f"git push {project.server.name}")
    if not pulls_itself(project):
        yield one(CommandKind.CHECKOUT, f"git checkout {branch}")
    elif is_of_certain_commit(deployment):
        own = project.steps[0].command
        if git.only_pulls(own):
            sha = deployment.commit_sha
            line = f"git checkout {sha[:12] if sha else branch}  # instead of: {own}"
            yield one(CommandKind.CHECKOUT, line)
        elif 0 not in skipped:
            raise GitError(COMMIT_NEEDS_BARE_PULL)
    elif working_copy is None or not working_copy.is_on_branch(branch):
        yield one(CommandKind.CLONE, f"git clone --branch {branch} {project.repository_url}")


def _own(deployment: Deployment, config: Config, skipped: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """The project's steps."""
    project = deployment.project
    gives_way = (
        is_of_certain_commit(deployment) and pulls_itself(project) and git.only_pulls(project.steps[0].command)
    )
    for index, step in enumerate(project.steps):
        if index == 0 and gives_way:
            continue
        yield {
            "kind": CommandKind.STEP,
            "name": step.name,
            "line": step.command,
            "timeout_s": step.timeout_s or config.runner.default_timeout,
            "retries": step.retries,
            "retry_wait_s": step.retry_wait_s,
            "skipped_because": skipped.get(index),
        }


def is_of_certain_commit(deployment: Deployment) -> bool:
    """Whether it has to be this very commit: a person asked for it, or it is checked. Ask before the fetch: then a
    tip is written down too."""
    is_asked_for = deployment.trigger in (Trigger.MANUAL, Trigger.RETRY) and deployment.commit_sha is not None
    return is_asked_for or deployment.project.is_exact


def pulls_itself(project: Project) -> bool:
    """Whether the project's own first step brings the commit."""
    return bool(project.steps) and git.pulls_itself(project.steps[0].command)
