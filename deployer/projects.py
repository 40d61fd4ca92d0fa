"""Use cases of projects: making, changing and deleting them, and opening what they keep sealed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session, object_session

from deployer import clock, mail_addresses
from deployer.commands import git
from deployer.config import Config
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.executors.base import variable_problem
from deployer.installation import DataDir
from deployer.models.delivery import Counter
from deployer.models.deployment import RUNNING, Deployment
from deployer.models.notification import Occasion
from deployer.models.project import Project, Step, Variable
from deployer.security import deploy_keys
from deployer.security.redaction import MIN_SECRET_BYTES
from deployer.security.vault import Vault

MAX_STEPS = 100
MAX_COMMAND_BYTES = 100 * 1024
MAX_STEP_NAME = 200
MAX_PATH_BYTES = 4096
"""Linux's PATH_MAX, its closing NUL included."""

MAX_TIMEOUT_S = 7 * 86400

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class StepInput:
    command: str
    name: str = ""
    timeout_s: int | None = None


@dataclass(frozen=True)
class ProjectInput:
    """What a person enters. An empty ``path`` means a working copy in the data folder."""

    name: str
    repository_url: str
    branch: str
    steps: Sequence[StepInput] = field(default_factory=tuple)
    path: str = ""
    shell: str = "sh"
    auto_deploy: bool = True
    cancel_running: bool = False
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
        errors["repository_url"] = _sentence(problem)
    problem = git.branch_problem(given.branch)
    if problem:
        errors["branch"] = _sentence(problem)
    if given.path and not _is_absolute_path(given.path):
        errors["path"] = "Give an absolute path, beginning with a slash."
    elif given.path and _one_spelling(given.path) == "/":
        errors["path"] = "Give a directory of its own, not the root of the file system."
    elif given.path and _is_in_data_folder(given.path, config):
        errors["path"] = "Give a directory apart from Deployer's own data folder, or none."
    if given.shell not in ("sh", "bash"):
        errors["shell"] = "Choose sh or bash."
    if len(given.steps) > MAX_STEPS:
        errors["steps"] = f"A project has at most {MAX_STEPS} steps."
    for number, step in enumerate(given.steps, 1):
        problem = _step_problem(step)
        if problem:
            errors["steps"] = f"Step {number}: {problem}"
            break
    try:
        mail_addresses.split(given.mail_to)
    except ValueError as error:
        errors["mail_to"] = str(error)
    if errors:
        raise InvalidInput(errors)


def _is_absolute_path(path: str) -> bool:
    return path.startswith("/") and path.isprintable() and len(path.encode()) < MAX_PATH_BYTES


def _is_in_data_folder(path: str, config: Config) -> bool:
    """A working copy of one's own choice there could be the database's folder, or another project's copy."""
    data_dir = DataDir(config.data_dir)
    if data_dir.owns(_one_spelling(path)):
        return False
    # Where a link leads counts, and so does a directory that has the data folder inside it.
    real, root = Path(os.path.realpath(_one_spelling(path))), Path(os.path.realpath(data_dir.root))
    return real.is_relative_to(root) or root.is_relative_to(real)


def _one_spelling(path: str) -> str:
    """Of the ways to write an absolute path, the one to compare and to keep. Two slashes in front mean one on Linux,
    but POSIX lets them mean more, so ``normpath`` leaves them."""
    return os.path.normpath("/" + path.lstrip("/"))


def _step_problem(step: StepInput) -> str | None:
    if not step.command.strip():
        return "give a command."
    if "\0" in step.command:
        return "a command cannot hold a NUL."
    if not git.is_text(step.command + step.name):
        return "a command and its name are valid Unicode."
    if len(step.name.strip()) > MAX_STEP_NAME:
        return f"a name is at most {MAX_STEP_NAME} characters long."
    if len(step.command.encode()) > MAX_COMMAND_BYTES:
        return f"a command is at most {MAX_COMMAND_BYTES // 1024} KiB long."
    if step.timeout_s is not None and not 1 <= step.timeout_s <= MAX_TIMEOUT_S:
        return f"the timeout is between 1 and {MAX_TIMEOUT_S} seconds."
    return None


def _sentence(problem: str) -> str:
    return problem[0].upper() + problem[1:] + "."


def create(session: Session, given: ProjectInput, *, config: Config, data_dir: DataDir, vault: Vault) -> Project:
    """A new project with a webhook secret of its own. Raises InvalidInput."""
    validate(given, config)
    _refuse_taken_name(session, given.name, None)
    project_id = clock.new_id()
    now = clock.now()
    project = Project(
        id=project_id,
        name=given.name,
        path=_one_spelling(given.path) if given.path else str(data_dir.checkouts / given.name),
        created_at=now,
        updated_at=now,
        webhook_secret=vault.seal(new_webhook_secret(), place(project_id, "webhook_secret")),
    )
    _apply(project, given)
    _refuse_shared_path(session, project)
    session.add(project)
    session.flush()
    return project


def update(session: Session, project: Project, given: ProjectInput, *, config: Config, data_dir: DataDir) -> None:
    """Change a project. A deployment that runs keeps the steps it began with. Raises InvalidInput."""
    validate(given, config)
    _refuse_taken_name(session, given.name, project.id)
    if given.path:
        project.path = _one_spelling(given.path)
    elif not data_dir.owns(project.path):
        project.path = str(data_dir.checkouts / given.name)
    # Old rows go before new ones come: their positions are unique.
    project.steps.clear()
    session.flush()
    _apply(project, given)
    _refuse_shared_path(session, project)
    project.updated_at = clock.now()


def _apply(project: Project, given: ProjectInput) -> None:
    project.name = given.name
    project.repository_url = given.repository_url
    project.branch = given.branch
    project.shell = given.shell
    project.auto_deploy = given.auto_deploy
    project.cancel_running = given.cancel_running
    for occasion in Occasion:
        setattr(project, f"mail_on_{occasion}", getattr(given, f"mail_on_{occasion}"))
    project.mail_to = ", ".join(mail_addresses.split(given.mail_to)) or None
    project.steps.extend(
        Step(
            id=clock.new_id(),
            position=position,
            name=step.name.strip() or step_name(step.command),
            command=step.command.replace("\r\n", "\n").strip(),
            timeout_s=step.timeout_s,
        )
        for position, step in enumerate(given.steps)
    )


def step_name(command: str) -> str:
    """A step's name where none is given: the first line of its command, shortened."""
    first = command.strip().splitlines()[0]
    return first if len(first) <= 60 else first[:59] + "…"


def _refuse_taken_name(session: Session, name: str, own_id: str | None) -> None:
    taken = session.scalar(sa.select(Project.id).where(Project.name == name))
    if taken and taken != own_id:
        raise InvalidInput({"name": "Another project has this name."})


def _refuse_shared_path(session: Session, project: Project) -> None:
    with session.no_autoflush:
        others = session.execute(sa.select(Project.name, Project.path).where(Project.id != project.id)).all()
    own = Path(project.path)
    for name, path in others:
        if own.is_relative_to(path) or Path(path).is_relative_to(own):
            raise InvalidInput(
                {"path": f"The project {name} already uses this directory, or one inside or around it."}
            )


def as_input(project: Project, data_dir: DataDir) -> ProjectInput:
    """What a person would have entered to get this project."""
    return ProjectInput(
        name=project.name,
        repository_url=project.repository_url,
        branch=project.branch,
        path="" if data_dir.owns(project.path) else project.path,
        shell=project.shell,
        auto_deploy=project.auto_deploy,
        cancel_running=project.cancel_running,
        **{f"mail_on_{occasion}": getattr(project, f"mail_on_{occasion}") for occasion in Occasion},
        mail_to=project.mail_to or "",
        steps=[StepInput(step.command, step.name, step.timeout_s) for step in project.steps],
    )


def delete(session: Session, project: Project, data_dir: DataDir) -> list[Path]:
    """Delete a project with its history; the directories that are no longer needed are returned for `remove_files`.

    Raises InvalidTransition while a deployment runs. What waits is deleted with it.
    """
    running = session.scalar(
        sa.select(Deployment.number).where(Deployment.project_id == project.id, Deployment.status == RUNNING)
    )
    if running is not None:
        raise InvalidTransition(
            f"A deployment of {project.name} is running.",
            hint="Cancel it or wait for its end, then delete the project.",
        )
    folders = [data_dir.mirror(project.id)]
    if data_dir.owns(project.path):
        folders.append(Path(project.path))
    session.execute(sa.delete(Counter).where(Counter.name.endswith(project.id)))
    session.delete(project)
    session.flush()
    return folders


def remove_files(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def find(session: Session, name_or_id: str) -> Project:
    """Raises NotFound."""
    project = session.scalar(sa.select(Project).where((Project.name == name_or_id) | (Project.id == name_or_id)))
    if project is None:
        raise NotFound("Project not found")
    return project


# Secrets --------------------------------------------------------------------------------------------------------


def place(project_id: str, what: str) -> str:
    """Where a project's secret is stored, as the vault binds it."""
    return f"project:{project_id}:{what}"


def new_webhook_secret() -> bytes:
    return secrets.token_hex(32).encode()


def rotate_webhook_secret(project: Project, vault: Vault) -> None:
    project.webhook_secret = vault.seal(new_webhook_secret(), place(project.id, "webhook_secret"))
    project.connected_at = None
    project.updated_at = clock.now()


def make_deploy_key(project: Project, vault: Vault) -> None:
    """A new ed25519 key for this project alone; an earlier one is forgotten."""
    private, public = deploy_keys.generate(f"deployer:{project.name}")
    project.deploy_key_private = vault.seal(private, place(project.id, "deploy_key"))
    project.deploy_key_public = public
    project.updated_at = clock.now()


def set_https_token(project: Project, token: str, vault: Vault) -> None:
    """Store the token for HTTPS; an empty one removes it. Raises InvalidInput."""
    token = token.strip()
    if token and (len(token) < MIN_SECRET_BYTES or len(token) > 4096 or not token.isprintable() or " " in token):
        raise InvalidInput({"https_token": "This is not a usable token."})
    project.https_token = vault.seal(token.encode(), place(project.id, "https_token")) if token else None
    project.updated_at = clock.now()


def set_variable(project: Project, name: str, value: str, *, secret: bool, vault: Vault) -> None:
    """Give the project's commands ``name=value``; an earlier value is replaced. Raises InvalidInput."""
    problem = variable_problem(name, value)
    if problem:
        raise InvalidInput(
            {"variable_name" if "name" in problem or "shell" in problem else "value": _sentence(problem)}
        )
    if name.startswith(("DEPLOY_", "DEPLOYER_")):
        raise InvalidInput({"variable_name": "Names that begin with DEPLOY_ and DEPLOYER_ are Deployer's own."})
    if secret and len(value.encode("utf-8", "surrogateescape")) < MIN_SECRET_BYTES:
        raise InvalidInput(
            {"value": f"A secret has at least {MIN_SECRET_BYTES} bytes; a shorter one cannot be hidden in logs."}
        )
    project.variables[:] = [variable for variable in project.variables if variable.name != name]
    session = object_session(project)
    if session:
        session.flush()
    sealed = vault.seal(value.encode("utf-8", "surrogateescape"), place(project.id, f"variable:{name}"))
    project.variables.append(
        Variable(
            id=clock.new_id(),
            name=name,
            plain_value=None if secret else value,
            secret_value=sealed if secret else None,
        )
    )
    project.updated_at = clock.now()


def remove_variable(project: Project, variable_id: str) -> None:
    project.variables[:] = [variable for variable in project.variables if variable.id != variable_id]


@dataclass(frozen=True, repr=False)
class ProjectSecrets:
    """A project's secrets, opened. Never shown by repr."""

    webhook_secret: bytes
    https_token: str | None
    deploy_key: bytes | None
    variables: dict[str, str]
    secret_variables: frozenset[str]

    def to_redact(self) -> list[bytes]:
        """Everything that must not appear in a log. What is too short to hide was refused when it was entered."""
        found = [self.webhook_secret]
        if self.https_token:
            found.append(self.https_token.encode())
        if self.deploy_key:
            found.append(self.deploy_key)
        found += [self.variables[name].encode("utf-8", "surrogateescape") for name in self.secret_variables]
        return found


def open_secrets(project: Project, vault: Vault) -> ProjectSecrets:
    """Raises SecretUnreadable when the key file is not the one that they were sealed with."""

    def opened(sealed: bytes | None, what: str) -> bytes | None:
        return None if sealed is None else vault.open(sealed, place(project.id, what))

    token = opened(project.https_token, "https_token")
    variables = {}
    for variable in project.variables:
        secret = opened(variable.secret_value, f"variable:{variable.name}")
        variables[variable.name] = (
            variable.plain_value or "" if secret is None else secret.decode("utf-8", "surrogateescape")
        )
    return ProjectSecrets(
        webhook_secret=vault.open(project.webhook_secret, place(project.id, "webhook_secret")),
        https_token=token.decode() if token else None,
        deploy_key=opened(project.deploy_key_private, "deploy_key"),
        variables=variables,
        secret_variables=frozenset(variable.name for variable in project.variables if variable.is_secret),
    )
