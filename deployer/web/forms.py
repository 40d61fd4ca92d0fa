"""From form fields to the input of a use case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from werkzeug.datastructures import MultiDict

from deployer.errors import InvalidInput
from deployer.models.notification import BY_MAIL
from deployer.models.project import Phase, Strategy
from deployer.project_input import LIMITS, RETRIES_PROBLEM, ProjectInput, StepInput, number_problem

_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_DURATION = re.compile(r"\s*(\d{1,7})\s*(s|sec|m|min|h)?\s*\Z", re.IGNORECASE)
MAIL_SWITCHES = tuple(f"mail_on_{occasion}" for occasion in BY_MAIL)
"""The project form's boxes of what is told by mail."""

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


@dataclass
class StepRow:
    """One row of the step list as it was entered."""

    command: str = ""
    name: str = ""
    timeout: str = ""
    retries: str = ""
    retry_wait: str = ""
    phase: str = ""


def duration(text: str) -> int | None:
    """Seconds of ``90``, ``90s``, ``10 min`` or ``1h``; None for an empty text. Raises ValueError."""
    if not text.strip():
        return None
    match = _DURATION.match(text)
    if not match:
        raise ValueError(text)
    return int(match[1]) * _SECONDS[(match[2] or "s").lower()]


def duration_text(seconds: int | None) -> str:
    """The shortest form that `duration` reads back."""
    if seconds is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def step_rows(form: MultiDict[str, str]) -> list[StepRow]:
    """As many as there are commands; what a row lacks is empty."""
    count = len(form.getlist("step_command"))
    columns = ([*form.getlist(f"step_{one.name}"), *[""] * count][:count] for one in fields(StepRow))
    return [StepRow(*row) for row in zip(*columns, strict=True)]


def filled(rows: Sequence[StepRow]) -> list[StepRow]:
    """The rows in which something was entered. Errors count these."""
    return [row for row in rows if "".join(value for name, value in vars(row).items() if name != "phase").strip()]


def rearrange(rows: Sequence[StepRow], action: str) -> list[StepRow]:
    """The rows after a button of the step list: ``add``, ``remove:2``, ``up:2``, ``down:2``."""
    rows = list(rows)
    verb, _, text = action.partition(":")
    index = int(text) if re.fullmatch(r"[0-9]{1,4}", text) else -1
    if verb == "add":
        rows.append(StepRow())
    elif 0 <= index < len(rows):
        if verb == "remove":
            del rows[index]
        elif verb == "up" and index > 0:
            rows[index - 1], rows[index] = rows[index], rows[index - 1]
        elif verb == "down" and index + 1 < len(rows):
            rows[index + 1], rows[index] = rows[index], rows[index + 1]
    return rows


def project_input(form: MultiDict[str, str]) -> ProjectInput:
    """Raises InvalidInput where a step or a number cannot be read. Empty rows are left out."""
    errors = {
        name: number_problem(name) for name in LIMITS if form.get(name, "").strip() and _number(form, name) is None
    }
    steps: list[StepInput] = []
    try:
        steps = _steps(form)
    except InvalidInput as error:
        errors |= error.fields
    if errors:
        raise InvalidInput(errors)
    return replace(project_without_steps(form), steps=steps)


def _number(form: MultiDict[str, str], name: str) -> int | None:
    """None where there is none."""
    text = form.get(name, "").strip()
    return int(text) if _NUMBER.match(text) else None


def _steps(form: MultiDict[str, str]) -> list[StepInput]:
    steps = []
    for number, row in enumerate(filled(step_rows(form)), 1):
        if not row.command.strip():
            raise InvalidInput({"steps": f"Step {number}: give a command."})
        try:
            timeout_s = duration(row.timeout)
        except ValueError as error:
            raise InvalidInput({"steps": f"Step {number}: give the timeout as 90 s, 10 min or 1 h."}) from error
        retries = row.retries.strip() or "0"
        if not _NUMBER.match(retries):
            raise InvalidInput({"steps": f"Step {number}: {RETRIES_PROBLEM}"})
        try:
            wait_s = duration(row.retry_wait) or 0
        except ValueError as error:
            raise InvalidInput({"steps": f"Step {number}: give the wait between tries as 30 s or 2 min."}) from error
        # A list without a choice has only what builds.
        phase = Phase.ACTIVATE if row.phase == Phase.ACTIVATE else Phase.BUILD
        steps.append(StepInput(row.command, row.name, timeout_s, int(retries), wait_s, phase))
    return steps


def project_without_steps(form: MultiDict[str, str]) -> ProjectInput:
    """Also without the numbers that cannot be read."""
    more: dict[str, Any] = {name: name in form for name in MAIL_SWITCHES}
    more |= {name: _number(form, name) for name in LIMITS}
    return ProjectInput(
        name=form.get("name", "").strip(),
        repository_url=form.get("repository_url", "").strip(),
        branch=form.get("branch", "").strip(),
        server=form.get("server", ""),
        path=form.get("path", "").strip(),
        strategy=form.get("strategy", Strategy.CHECKOUT),
        shared_paths=form.get("shared_paths", ""),
        health_url=form.get("health_url", "").strip(),
        health_command=form.get("health_command", "").strip(),
        shell=form.get("shell", "sh"),
        auto_deploy="auto_deploy" in form,
        cancel_running="cancel_running" in form,
        rerun_interrupted="rerun_interrupted" in form,
        **more,
        mail_to=form.get("mail_to", "").strip(),
    )
