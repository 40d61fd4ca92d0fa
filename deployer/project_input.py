"""What a person enters for a project, and whether it can be used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from deployer import mail_addresses, working_copies
from deployer.commands import git, health_check, release_dir
from deployer.config import Config
from deployer.errors import InvalidInput, as_sentence
from deployer.models.project import Phase, Strategy

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

THIS_HOST = ("", "local")
"""What is entered as the server of a project that runs here."""

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
    problem = working_copies.path_problem(given.path, config, is_on_server=given.server not in THIS_HOST)
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


def step_name(command: str) -> str:
    """A step's name where none is given: the first line of its command, shortened."""
    first = command.strip().splitlines()[0]
    return first if len(first) <= 60 else first[:59] + "…"
