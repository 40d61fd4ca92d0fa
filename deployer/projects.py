"""Use cases of projects: making, changing and deleting them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, mail_addresses, project_input, project_secrets, servers, working_copies
from deployer.commands import git, release_dir
from deployer.config import Config
from deployer.deployments import releases
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.installation import DataDir
from deployer.models.delivery import Counter
from deployer.models.deployment import RUNNING, Deployment
from deployer.models.notification import BY_MAIL
from deployer.models.project import Phase, Project, Step, Strategy
from deployer.models.server import Server
from deployer.project_input import ProjectInput, StepInput
from deployer.security.vault import Vault


def create(session: Session, given: ProjectInput, *, config: Config, data_dir: DataDir, vault: Vault) -> Project:
    """A new project with a webhook secret of its own. Raises InvalidInput."""
    project_input.validate(given, config)
    _refuse_taken_name(session, given.name, None)
    server = _chosen_server(session, given)
    project_id = clock.new_id()
    now = clock.now()
    project = Project(
        id=project_id,
        name=given.name,
        server_id=server.id if server else None,
        host_id=data_dir.host_id if config.has_shared_database else None,
        path=working_copies.one_spelling(given.path)
        if given.path
        else working_copies.own_path(given.name, given.strategy, server, data_dir),
        created_at=now,
        updated_at=now,
        webhook_secret=project_secrets.sealed_webhook_secret(project_id, vault),
    )
    _apply(project, given)
    working_copies.refuse_shared(session, project)
    session.add(project)
    session.flush()
    return project


def update(session: Session, project: Project, given: ProjectInput, *, config: Config, data_dir: DataDir) -> None:
    """Change a project. A deployment that runs keeps the steps it began with. Raises InvalidInput."""
    project_input.validate(given, config)
    _refuse_taken_name(session, given.name, project.id)
    _refuse_to_share(project.variables_file, given)
    if project.is_exact and given.steps and git.pulls_more(given.steps[0].command):
        words = (
            "Step 1: this does more than git pull, so a commit that was checked or approved cannot take its place."
        )
        raise InvalidInput({"steps": f"{words} Move the rest into a step of its own."})
    server = _chosen_server(session, given)
    # "local" is this very host; an empty choice leaves a project on the host that it is on.
    host_id = data_dir.host_id if config.has_shared_database else None
    comes_here = given.server == "local" and project.host_id != host_id
    is_moved = comes_here or (server.id if server else None) != project.server_id
    is_changed = given.strategy != project.strategy
    if (is_moved or is_changed) and running_deployment(session, project) is not None:
        field, what = ("server", "server") if is_moved else ("strategy", "strategy")
        raise InvalidInput({field: f"A deployment is running. Wait for its end, then choose another {what}."})
    former_path = project.path
    if given.path and not (comes_here and working_copies.is_of_another_host(project, given.path)):
        project.path = working_copies.one_spelling(given.path)
    elif is_moved or is_changed or not working_copies.is_own(project, data_dir):
        project.path = working_copies.own_path(given.name, given.strategy, server, data_dir)
    is_elsewhere = is_moved or is_changed or project.path != former_path
    # What runs would make a release current that is not there.
    if is_elsewhere and project.strategy is Strategy.RELEASE and running_deployment(session, project) is not None:
        raise InvalidInput({"path": "A deployment is running. Wait for its end, then choose another directory."})
    if is_elsewhere:
        releases.leave(session.connection(), project.id)
        project.current_release_id = None
    project.server_id = server.id if server else None
    if comes_here or project.host_id is None:
        project.host_id = host_id
    if project.https_token and git.host_of(given.repository_url) != git.host_of(project.repository_url):
        # It was given for that host, and is not handed to another.
        project.https_token = None
    if (given.repository_url, given.branch) != (project.repository_url, project.branch):
        # What another branch was last seen at says nothing about this one.
        project.polled_at = project.polled_sha = project.poll_error = None
    # Old rows go before new ones come: their positions are unique.
    project.steps.clear()
    session.flush()
    _apply(project, given)
    working_copies.refuse_shared(session, project)
    project.updated_at = clock.now()


def _chosen_server(session: Session, given: ProjectInput) -> Server | None:
    if given.server in project_input.THIS_HOST:
        return None
    try:
        return servers.find(session, given.server)
    except NotFound as error:
        raise InvalidInput({"server": str(error)}) from error


def _apply(project: Project, given: ProjectInput) -> None:
    project.name = given.name
    project.repository_url = given.repository_url
    project.branch = given.branch
    project.strategy = Strategy(given.strategy)
    project.shared_paths = "\n".join(project_input.shared_paths(given.shared_paths))
    project.health_url = given.health_url or None
    project.health_command = given.health_command.replace("\r\n", "\n").strip() or None
    project.shell = given.shell
    project.auto_deploy = given.auto_deploy
    project.cancel_running = given.cancel_running
    project.rerun_interrupted = given.rerun_interrupted
    for name in project_input.LIMITS:
        number = getattr(given, name)
        setattr(project, name, project_input.DEFAULTS.get(name) if number is None else number)
    for occasion in BY_MAIL:
        setattr(project, f"mail_on_{occasion}", getattr(given, f"mail_on_{occasion}"))
    project.mail_to = ", ".join(mail_addresses.split(given.mail_to)) or None
    project.steps.extend(
        Step(
            id=clock.new_id(),
            position=position,
            name=step.name.strip() or project_input.step_name(step.command),
            command=step.command.replace("\r\n", "\n").strip(),
            timeout_s=step.timeout_s,
            retries=step.retries,
            retry_wait_s=step.retry_wait_s,
            phase=step.phase,
        )
        for position, step in enumerate(_in_order(given))
    )


def _in_order(given: ProjectInput) -> Sequence[StepInput]:
    """The steps as they run: with releases what builds comes first, without them there is nothing to activate."""
    if given.strategy == Strategy.RELEASE:
        return sorted(given.steps, key=lambda step: step.phase is Phase.ACTIVATE)
    return [replace(step, phase=Phase.BUILD) for step in given.steps]


def _refuse_taken_name(session: Session, name: str, own_id: str | None) -> None:
    taken = session.scalar(sa.select(Project.id).where(Project.name == name))
    if taken and taken != own_id:
        raise InvalidInput({"name": "Another project has this name."})


def _refuse_to_share(variables_file: str | None, given: ProjectInput) -> None:
    """What is written anew into each release cannot be shared by them."""
    if variables_file is None or given.strategy != Strategy.RELEASE:
        return
    if shared := release_dir.shared_with(variables_file, project_input.shared_paths(given.shared_paths)):
        words = f"'{shared}': the variables are written into {variables_file} of each release. Leave it out."
        raise InvalidInput({"shared_paths": words})


def as_input(project: Project, data_dir: DataDir) -> ProjectInput:
    """What a person would have entered to get this project."""
    return ProjectInput(
        name=project.name,
        repository_url=project.repository_url,
        branch=project.branch,
        server=project.server_id or "",
        path="" if working_copies.is_own(project, data_dir) else project.path,
        strategy=project.strategy,
        shared_paths=project.shared_paths,
        health_url=project.health_url or "",
        health_command=project.health_command or "",
        shell=project.shell,
        auto_deploy=project.auto_deploy,
        cancel_running=project.cancel_running,
        rerun_interrupted=project.rerun_interrupted,
        **{name: getattr(project, name) for name in project_input.LIMITS},
        **{f"mail_on_{occasion}": getattr(project, f"mail_on_{occasion}") for occasion in BY_MAIL},
        mail_to=project.mail_to or "",
        steps=[
            StepInput(step.command, step.name, step.timeout_s, step.retries, step.retry_wait_s, step.phase)
            for step in project.steps
        ],
    )


def delete(session: Session, project: Project, data_dir: DataDir) -> list[Path]:
    """Delete a project with its history; the directories that are no longer needed are returned for `remove_files`.

    Raises InvalidTransition while a deployment runs. What waits is deleted with it.
    """
    if running_deployment(session, project) is not None:
        raise InvalidTransition(
            f"A deployment of {project.name} is running.",
            hint="Cancel it or wait for its end, then delete the project.",
        )
    folders = [data_dir.mirror(project.id)]
    if project.server_id is None and working_copies.is_own(project, data_dir):
        folders.append(Path(project.path))
    session.execute(sa.delete(Counter).where(Counter.name.endswith(project.id)))
    session.delete(project)
    session.flush()
    return folders


def running_deployment(session: Session, project: Project) -> int | None:
    """The number of the project's deployment that runs."""
    return session.scalar(
        sa.select(Deployment.number).where(Deployment.project_id == project.id, Deployment.status == RUNNING)
    )


def remove_files(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def find(session: Session, name_or_id: str) -> Project:
    """Raises NotFound."""
    project = session.scalar(
        sa.select(Project)
        .where((Project.name == name_or_id) | (Project.id == name_or_id))
        .order_by(Project.id != name_or_id)
        .limit(1)
    )
    if project is None:
        raise NotFound("Project not found")
    return project
