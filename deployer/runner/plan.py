"""What a deployment will run: Deployer's own git commands, then the project's steps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from deployer.commands import git
from deployer.config import Config
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.deployments.queue import COMMIT_NEEDS_BARE_PULL
from deployer.errors import GitError
from deployer.models.deployment import CommandKind, Deployment, Trigger
from deployer.models.project import Project
from deployer.runner.commit import Repository

RUN_HERE = frozenset((CommandKind.FETCH, CommandKind.SEND))
"""What runs on the daemon's host also for a project of another server: only this host talks to the forge."""

_COMMAND_IDS = uuid.UUID("6d0c5f5e-3f3b-4bb1-9a8e-5f1d1a1c7a11")


def plan(deployment: Deployment, working_copy: Repository | None, config: Config) -> list[PlannedCommand]:
    """The commands in their order. Their ids follow from deployment and position, so that whoever plans again after
    a crash finds the same run directories.

    ``working_copy`` is None where it lies on a server, which is not asked while planning. Raises GitError where a
    certain commit cannot take the place of the project's own pull.
    """
    wanted = _wanted(deployment, working_copy, config)
    return [
        PlannedCommand(
            id=str(uuid.uuid5(_COMMAND_IDS, f"{deployment.id}/{position}")),
            position=position,
            kind=kind,
            name=name,
            line=line,
            timeout_s=timeout_s,
            nonce=uuid.uuid4().hex,
        )
        for position, (kind, name, line, timeout_s) in enumerate(wanted)
    ]


def _wanted(
    deployment: Deployment, working_copy: Repository | None, config: Config
) -> Iterator[tuple[CommandKind, str, str, int]]:
    project, branch, limit = deployment.project, deployment.branch, config.git.timeout
    url, steps = project.repository_url, list(project.steps)
    yield CommandKind.FETCH, "fetch", f"git fetch {url}", limit
    if project.server:
        yield CommandKind.SEND, "send", f"git push {project.server.name}", limit
    if not pulls_itself(project):
        yield CommandKind.CHECKOUT, "checkout", f"git checkout {branch}", limit
    elif is_of_certain_commit(deployment):
        own = steps.pop(0).command
        if not git.only_pulls(own):
            raise GitError(COMMIT_NEEDS_BARE_PULL)
        line = f"git checkout {(deployment.commit_sha or '')[:12]}  # instead of: {own}"
        yield CommandKind.CHECKOUT, "checkout", line, limit
    elif working_copy is None or not working_copy.is_on_branch(branch):
        yield CommandKind.CLONE, "clone", f"git clone --branch {branch} {url}", limit
    for step in steps:
        yield CommandKind.STEP, step.name, step.command, step.timeout_s or config.runner.default_timeout


def is_of_certain_commit(deployment: Deployment) -> bool:
    """Whether a person asked for this very commit. Ask before the fetch: then a tip is written down too."""
    return deployment.trigger in (Trigger.MANUAL, Trigger.RETRY) and deployment.commit_sha is not None


def pulls_itself(project: Project) -> bool:
    """Whether the project's own first step brings the commit."""
    return bool(project.steps) and git.pulls_itself(project.steps[0].command)
