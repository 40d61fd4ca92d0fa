"""Use cases of projects: making, changing and deleting them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, mail_addresses, project_secrets, servers, working_copies
from deployer.commands import git, health_check, release_dir
from deployer.config import Config
from deployer.deployments import releases
from deployer.errors import InvalidInput, InvalidTransition, NotFound, as_sentence
from deployer.installation import DataDir
from deployer.models.delivery import Counter
from deployer.models.deployment import RUNNING, Deployment
from deployer.models.notification import BY_MAIL
from deployer.models.project import Phase, Project, Step, Strategy
from deployer.models.server import Server
from deployer.security.vault import Vault

MAX_STEPS = 100
MAX_COMMAND_BYTES = 100 * 1024
MAX_STEP_NAME = 200
MAX_TIMEOUT_S = 7 * 86400
MAX_RETRIES = 10
MAX_RETRY_WAIT_S = 3600

LIMITS = {
    "poll_minutes": (1, 1440, "minutes"),
    "keep_deployments": (1, 100_000, "deployments"),
    "keep_days": (1, 36_500, "days"),
    "keep_releases": (1, 100, "releases"),
    "health_status": (100, 599, "an HTTP status"),
    "health_tries": (1, 100, "tries"),
    "health_interval_s": (1, 300, "seconds"),
    "health_deadline_s": (1, 3600, "seconds"),
}
"""Numbers that a project may have: the least, the most, and of what."""

DEFAULTS = {
    "keep_releases": 5,
    "health_status": 200,
    "health_tries": 10,
    "health_interval_s": 2,
    "health_deadline_s": 60,
}
"""What those of the numbers mean that a person leaves out, and that mean something."""

RETRIES_PROBLEM = f"the number of retries is from 0 to {MAX_RETRIES}."

_THIS_HOST = ("", "local")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class StepInput:
    """A step as it is entered; ``retries`` says how often it is tried again, each time after ``retry_wait_s``."""

    command: str
    name: str = ""
    timeout_s: int | None = None
    retries: int = 0
    retry_wait_s: int = 0
    phase: Phase = Phase.BUILD


@dataclass(frozen=True)
class ProjectInput:
    """What a person enters.

    ``server`` is a server's name or id; empty or ``local``: this host. An empty ``path`` means a working copy in a
    folder of Deployer's own there. ``poll_minutes`` None: the remote is never looked at; ``keep_deployments`` and
    ``keep_days`` None: as the configuration says; the other numbers None: as in `DEFAULTS`. ``shared_paths`` has a
    path a line.
    """

    name: str
    repository_url: str
    branch: str
    steps: Sequence[StepInput] = field(default_factory=tuple)
    server: str = ""
    path: str = ""
    strategy: str = Strategy.CHECKOUT
    keep_releases: int | None = None
    shared_paths: str = ""
    health_url: str = ""
    health_command: str = ""
    health_status: int | None = None
    health_tries: int | None = None
    health_interval_s: int | None = None
    health_deadline_s: int | None = None
    shell: str = "sh"
    auto_deploy: bool = True
    cancel_running: bool = False
    rerun_interrupted: bool = False
    poll_minutes: int | None = None
    keep_deployments: int | None = None
    keep_days: int | None = None
    mail_on_success: bool = False
    mail_on_failure: bool = True
    mail_on_recovery: bool = True
    mail_on_interruption: bool = True
    mail_to: str = ""


def validate(given: ProjectInput, config: Config) -> None:
    """Raises InvalidInput with an error for each field that cannot be used."""
    errors: dict[str, str] = {}
    if not _NAME.match(given.name):
        errors["name"] = "Use letters, digits, dots, dashes and underscores, beginning with a letter or digit."
    problem = git.url_problem(given.repository_url, allow_file=config.git.allow_file)
    if problem:
        errors["repository_url"] = as_sentence(problem)
    problem = git.branch_problem(given.branch)
    if problem:
        errors["branch"] = as_sentence(problem)
    problem = working_copies.path_problem(given.path, config, is_on_server=given.server not in _THIS_HOST)
    if problem:
        errors["path"] = problem
    if given.strategy not in list(Strategy):
        errors["strategy"] = "Choose checkout or release."
    elif given.strategy == Strategy.RELEASE:
        errors |= _release_problems(given)
    errors |= _health_problems(given)
    if given.shell not in ("sh", "bash"):
        errors["shell"] = "Choose sh or bash."
    if len(given.steps) > MAX_STEPS:
        errors["steps"] = f"A project has at most {MAX_STEPS} steps."
    for number, step in enumerate(given.steps, 1):
        problem = _step_problem(step)
        if problem:
            errors["steps"] = f"Step {number}: {problem}"
            break
    for name, (least, most, _) in LIMITS.items():
        number = getattr(given, name)
        if number is not None and not least <= number <= most:
            errors[name] = number_problem(name)
    try:
        mail_addresses.split(given.mail_to)
    except ValueError as error:
        errors["mail_to"] = str(error)
    if errors:
        raise InvalidInput(errors)


def _release_problems(given: ProjectInput) -> dict[str, str]:
    problems = {}
    paths = shared_paths(given.shared_paths)
    for path in paths:
        around = next((one for one in paths if path.rstrip("/").startswith(f"{one.rstrip('/')}/")), None)
        if problem := release_dir.shared_problem(path):
            problems["shared_paths"] = f"{problem}."
        elif around:
            problems["shared_paths"] = f"'{path}' lies inside '{around}', which is shared as a whole; leave it out."
    if given.steps and git.pulls_itself(given.steps[0].command):
        problems["steps"] = "Step 1: leave this out; with releases the commit is there before the first step."
    return problems


def _health_problems(given: ProjectInput) -> dict[str, str]:
    if given.health_url and given.health_command:
        return {"health_url": "Give either an address or a command to check."}
    if given.health_url and (problem := health_check.url_problem(given.health_url)):
        return {"health_url": problem}
    if problem := _command_problem(given.health_command):
        return {"health_command": as_sentence(problem)}
    return {}


def shared_paths(entered: str) -> list[str]:
    """The paths of a text with one a line."""
    return [line.strip() for line in entered.splitlines() if line.strip()]


def number_problem(name: str) -> str:
    """What is to be entered for one of the numbers in `LIMITS`."""
    least, most, what = LIMITS[name]
    return f"Give a number of {what} from {least} to {most}, or nothing."


def _step_problem(step: StepInput) -> str | None:
    if not step.command.strip():
        return "give a command."
    if not git.is_text(step.name):
        return "a command and its name are valid Unicode."
    if len(step.name.strip()) > MAX_STEP_NAME:
        return f"a name is at most {MAX_STEP_NAME} characters long."
    if problem := _command_problem(step.command):
        return problem
    if step.timeout_s is not None and not 1 <= step.timeout_s <= MAX_TIMEOUT_S:
        return f"the timeout is between 1 and {MAX_TIMEOUT_S} seconds."
    if not 0 <= step.retries <= MAX_RETRIES:
        return RETRIES_PROBLEM
    if not 0 <= step.retry_wait_s <= MAX_RETRY_WAIT_S:
        return f"the wait between tries is at most {MAX_RETRY_WAIT_S} seconds."
    return None


def _command_problem(command: str) -> str | None:
    if "\0" in command:
        return "a command cannot hold a NUL."
    if not git.is_text(command):
        return "a command and its name are valid Unicode."
    if len(command.encode()) > MAX_COMMAND_BYTES:
        return f"a command is at most {MAX_COMMAND_BYTES // 1024} KiB long."
    return None


def create(session: Session, given: ProjectInput, *, config: Config, data_dir: DataDir, vault: Vault) -> Project:
    """A new project with a webhook secret of its own. Raises InvalidInput."""
    validate(given, config)
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
    validate(given, config)
    _refuse_taken_name(session, given.name, project.id)
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
    if given.server in _THIS_HOST:
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
    project.shared_paths = "\n".join(shared_paths(given.shared_paths))
    project.health_url = given.health_url or None
    project.health_command = given.health_command.replace("\r\n", "\n").strip() or None
    project.shell = given.shell
    project.auto_deploy = given.auto_deploy
    project.cancel_running = given.cancel_running
    project.rerun_interrupted = given.rerun_interrupted
    for name in LIMITS:
        number = getattr(given, name)
        setattr(project, name, DEFAULTS.get(name) if number is None else number)
    for occasion in BY_MAIL:
        setattr(project, f"mail_on_{occasion}", getattr(given, f"mail_on_{occasion}"))
    project.mail_to = ", ".join(mail_addresses.split(given.mail_to)) or None
    project.steps.extend(
        Step(
            id=clock.new_id(),
            position=position,
            name=step.name.strip() or step_name(step.command),
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


def step_name(command: str) -> str:
    """A step's name where none is given: the first line of its command, shortened."""
    first = command.strip().splitlines()[0]
    return first if len(first) <= 60 else first[:59] + "…"


def _refuse_taken_name(session: Session, name: str, own_id: str | None) -> None:
    taken = session.scalar(sa.select(Project.id).where(Project.name == name))
    if taken and taken != own_id:
        raise InvalidInput({"name": "Another project has this name."})


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
        **{name: getattr(project, name) for name in LIMITS},
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
