"""What a deployment will run: Deployer's own commands, and the project's steps."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from deployer import clock
from deployer.commands import git, health_check
from deployer.config import Config
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.deployments.queue import COMMIT_NEEDS_BARE_PULL
from deployer.errors import GitError, InvalidTransition
from deployer.models.deployment import Command, CommandKind, Deployment, Trigger
from deployer.models.project import Phase, Project, Step, Strategy
from deployer.models.release import Release
from deployer.runner.commit import Repository

RUN_HERE = frozenset((CommandKind.FETCH, CommandKind.SEND))
"""What runs on the daemon's host also for a project of another server: only this host talks to the forge."""

_COMMAND_IDS = uuid.UUID("6d0c5f5e-3f3b-4bb1-9a8e-5f1d1a1c7a11")


def plan(
    deployment: Deployment,
    working_copy: Repository | None,
    config: Config,
    skipped: Mapping[int, str] = MappingProxyType({}),
    kept: Release | None = None,
) -> list[PlannedCommand]:
    """The commands in their order. Their ids follow from deployment and position, so that whoever plans again after
    a crash finds the same run directories.

    ``working_copy`` is None where it lies on a server, which is not asked while planning. ``skipped`` are those of
    the project's steps (counted from 0) that need not run, and why. ``kept`` is a release that is gone back to and
    need not be built. Raises GitError where a certain commit cannot take the place of the project's own pull,
    InvalidTransition for a way back in a project that has no releases any more.
    """
    if deployment.trigger is Trigger.ROLLBACK and deployment.project.strategy is not Strategy.RELEASE:
        raise InvalidTransition("The project has no releases any more: its strategy was changed meanwhile.")
    if kept:
        wanted = _return_to(deployment.project, kept, config)
    elif deployment.project.strategy is Strategy.RELEASE:
        wanted = _release(deployment, config)
    else:
        wanted = _checkout(deployment, working_copy, config, skipped)
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
        phase=command.phase,
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


def _bring(project: Project, config: Config) -> Iterator[dict[str, Any]]:
    """The commits to where they are deployed."""
    yield _built_in(CommandKind.FETCH, f"git fetch {project.repository_url}", config)
    if project.server:
        yield _built_in(CommandKind.SEND, f"git push {project.server.name}", config)


def _built_in(kind: CommandKind, line: str, config: Config) -> dict[str, Any]:
    return {"kind": kind, "name": str(kind), "line": line, "timeout_s": config.git.timeout}


def _health(project: Project) -> Iterator[dict[str, Any]]:
    """The project's health check, where it has one."""
    asked = project.health_url or project.health_command
    if asked:
        yield {
            "kind": CommandKind.HEALTH,
            "name": "health check",
            "line": f"GET {asked}" if project.health_url else asked,
            # It ends by itself, in words; a command that hangs is ended.
            "timeout_s": project.health_deadline_s + health_check.LONGEST_TRY_S + 5,
        }


def _checkout(
    deployment: Deployment, working_copy: Repository | None, config: Config, skipped: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    """One working copy, brought to the commit."""
    project, branch = deployment.project, deployment.branch_or_tag
    yield from _bring(project, config)
    gives_way = False
    if not pulls_itself(project):
        yield _built_in(CommandKind.CHECKOUT, f"git checkout {branch}", config)
    elif is_of_certain_commit(deployment):
        own = project.steps[0].command
        gives_way = git.only_pulls(own)
        if gives_way:
            sha = deployment.commit_sha
            line = f"git checkout {sha[:12] if sha else branch}  # instead of: {own}"
            yield _built_in(CommandKind.CHECKOUT, line, config)
        elif 0 not in skipped:
            raise GitError(COMMIT_NEEDS_BARE_PULL)
    elif working_copy is None or not working_copy.is_on_branch(branch):
        yield _built_in(CommandKind.CLONE, f"git clone --branch {branch} {project.repository_url}", config)
    yield from _variables_file(project, config)
    for index, step in enumerate(project.steps):
        if index or not gives_way:
            yield {**_facts(step, config), "kind": CommandKind.STEP, "skipped_because": skipped.get(index)}
    yield from _health(project)


def _variables_file(project: Project, config: Config) -> Iterator[dict[str, Any]]:
    """The variables into a file, where the project wants that: to be run where the commit is, before the steps."""
    if project.variables_file:
        yield _built_in(CommandKind.VARIABLES, f"write the variables into {project.variables_file}", config)


def _release(deployment: Deployment, config: Config) -> Iterator[dict[str, Any]]:
    """A directory beside what is live, switched to when it is built."""
    project = deployment.project
    yield from _bring(project, config)
    is_rollback = deployment.trigger is Trigger.ROLLBACK
    line = (
        "make the release again, whose directory is gone"
        if is_rollback
        else f"make a release of {deployment.branch_or_tag}"
    )
    yield _built_in(CommandKind.RELEASE, line, config)
    yield from _variables_file(project, config)
    yield from _steps_of(project, config, Phase.BUILD)
    yield _built_in(CommandKind.SWITCH, "switch current to the release", config)
    yield from _steps_of(project, config, Phase.ACTIVATE)
    yield from _health(project)
    yield _built_in(CommandKind.PRUNE, f"keep {project.keep_releases} releases", config)


def _return_to(project: Project, release: Release, config: Config) -> Iterator[dict[str, Any]]:
    """A release that is there."""
    yield _built_in(CommandKind.SWITCH, f"switch current to {release.name}", config)
    yield from _activation(release)
    yield from _health(project)


def back_to(release: Release, config: Config) -> Iterator[dict[str, Any]]:
    """The former release, from a deployment that failed after it had switched to its own."""
    yield _built_in(CommandKind.BACK, f"switch current back to {release.name}", config)
    yield from _activation(release)


def _activation(release: Release) -> Iterator[dict[str, Any]]:
    """The steps that activated a release when it was built."""
    for facts in json.loads(release.activate_steps):
        yield {**facts, "kind": CommandKind.STEP, "phase": Phase.ACTIVATE}


def activation(project: Project, config: Config) -> str:
    """The steps that activate a release, as they are kept with it."""
    return json.dumps([_facts(step, config) for step in project.steps if step.phase is Phase.ACTIVATE])


def _steps_of(project: Project, config: Config, phase: Phase) -> Iterator[dict[str, Any]]:
    for step in project.steps:
        if step.phase is phase:
            yield {**_facts(step, config), "kind": CommandKind.STEP, "phase": phase}


def _facts(step: Step, config: Config) -> dict[str, Any]:
    return {
        "name": step.name,
        "line": step.command,
        "timeout_s": step.timeout_s or config.runner.default_timeout,
        "retries": step.retries,
        "retry_wait_s": step.retry_wait_s,
    }


def is_of_certain_commit(deployment: Deployment) -> bool:
    """Whether it has to be this very commit: a person asked for it, it is checked, or it is of a tag or of another
    branch than a project's own pull brings. Ask before the fetch: then a tip is written down too."""
    if deployment.project.is_exact:
        return True
    is_elsewhere = deployment.branch != deployment.project.branch
    is_asked_for = deployment.trigger in (Trigger.MANUAL, Trigger.RETRY)
    return deployment.commit_sha is not None and (is_elsewhere or is_asked_for)


def pulls_itself(project: Project) -> bool:
    """Whether the project's own first step brings the commit."""
    return (
        project.strategy is Strategy.CHECKOUT and bool(project.steps) and git.pulls_itself(project.steps[0].command)
    )
