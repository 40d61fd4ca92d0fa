"""Use cases of what keeps a project from harm: its lock, its windows, approval, and whose commits it deploys."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, signatures, time_zones, windows
from deployer.commands import git
from deployer.errors import InvalidInput, InvalidTransition, as_sentence
from deployer.installation import DataDir
from deployer.models.base import table_of
from deployer.models.deployment import QUEUED, Deployment, DeploymentEvent, Status, reference
from deployer.models.project import Project
from deployer.signatures import Signer

MAX_REASON = 500
MAX_WINDOWS_TEXT = 4000

APPROVED = "approved"
"""The event of a deployment that says so."""

_deployments = table_of(Deployment)
_events = table_of(DeploymentEvent)


def lock(project: Project, by: str, because: str) -> None:
    """Freeze a project: nothing queued begins until it is unlocked. What runs is left alone. A lock that is there
    gets another reason, and another owner. Raises InvalidInput (``because``)."""
    because = " ".join(because.split())
    if not because:
        raise InvalidInput({"because": "Say why, for whoever waits: “the shop's sale ends on Sunday”."})
    if len(because) > MAX_REASON or not because.isprintable():
        raise InvalidInput({"because": f"Give at most {MAX_REASON} characters of plain text."})
    project.locked_by, project.locked_because, project.locked_at = by, because, clock.now()


def unlock(project: Project) -> None:
    """Raises InvalidTransition where it is not locked."""
    if project.locked_at is None:
        raise InvalidTransition(f"{project.name} is not locked.")
    project.locked_by = project.locked_because = project.locked_at = None


def set_windows(project: Project, text: str, zone: str) -> None:
    """When it may be deployed; nothing: always. Raises InvalidInput (``windows``, ``windows_zone``)."""
    text = "\n".join(line.strip() for line in text.splitlines() if line.strip())
    zone = zone.strip()
    errors = {}
    if len(text) > MAX_WINDOWS_TEXT:
        errors["windows"] = f"Give at most {MAX_WINDOWS_TEXT} characters."
    if problem := time_zones.problem(zone):
        errors["windows_zone"] = as_sentence(problem)
    if not errors:
        try:
            windows.parse(text, zone)
        except ValueError as error:
            errors["windows"] = str(error)
    if errors:
        raise InvalidInput(errors)
    project.windows, project.windows_zone = text or None, zone


def windows_detail(text: str, zone: str) -> str:
    """What the audit log says of windows that were entered."""
    lines = "; ".join(line.strip() for line in text.splitlines() if line.strip())
    return f"{lines} {zone}"[:1000] if lines else "always"


def approve(session: Session, deployment_id: str, by: str) -> None:
    """Let a queued deployment begin that waits for a person's word. Raises InvalidTransition where it does not."""
    connection = session.connection()
    row = connection.execute(
        sa.select(_deployments.c.number, _deployments.c.status, Project.needs_approval)
        .join(Project, Project.id == _deployments.c.project_id)
        .where(_deployments.c.id == deployment_id)
    ).one()
    now = clock.now()
    is_done = (
        row.needs_approval
        and connection.execute(
            _deployments.update()
            .where(
                _deployments.c.id == deployment_id,
                _deployments.c.status == QUEUED,
                _deployments.c.approved_at.is_(None),
            )
            .values(approved_by=by, approved_at=now)
            .returning(_deployments.c.id)
        ).first()
    )
    if not is_done:
        ref = reference(row.number)
        if Status(row.status) is Status.QUEUED:
            raise InvalidTransition(f"{ref} needs no approval any more.")
        raise InvalidTransition(f"{ref} does not wait for approval: it is {row.status}.")
    connection.execute(_events.insert().values(deployment_id=deployment_id, event=APPROVED, at=now, detail=by))


@dataclass(frozen=True)
class SignersInput:
    """Whose commits are deployed: armored OpenPGP keys, and ssh's allowed signers (ssh-keygen(1)). Both empty:
    anybody's."""

    keys: str = ""
    signers: str = ""


@dataclass(frozen=True)
class Signers:
    """The same, read and found good."""

    keys: str | None
    signers: str | None
    in_words: str


def read_signers(given: SignersInput, data_dir: DataDir) -> Signers:
    """Raises InvalidInput (``signature_keys``, ``signature_signers``). Asks gpg, which may take a moment."""
    keys, signers = (text.replace("\r\n", "\n").strip() for text in (given.keys, given.signers))
    errors = {}
    found: list[Signer] = []
    if keys:
        try:
            found += signatures.read_keys(keys, data_dir)
        except ValueError as error:
            errors["signature_keys"] = str(error)
    if signers:
        try:
            found += signatures.read_signers(signers)
        except ValueError as error:
            errors["signature_signers"] = str(error)
    if errors:
        raise InvalidInput(errors)
    words = "; ".join(f"{one.name} {one.fingerprint}" for one in found) or "anybody"
    return Signers(keys or None, signers or None, words[:1000])


def set_signers(project: Project, read: Signers) -> None:
    """Raises InvalidInput (``signature_keys``) where the project's steps would bring commits that are not checked."""
    if read.keys or read.signers:
        _require_bare_pull(project, "signature_keys" if read.keys else "signature_signers")
    project.signature_keys, project.signature_signers = read.keys, read.signers


def set_approval(project: Project, *, is_needed: bool) -> None:
    """Whether an administrator approves each deployment. Raises InvalidInput (``needs_approval``), like signers."""
    if is_needed:
        _require_bare_pull(project, "needs_approval")
    project.needs_approval = is_needed


def _require_bare_pull(project: Project, field: str) -> None:
    if project.steps and git.pulls_more(project.steps[0].command):
        raise InvalidInput(
            {
                field: "The first step does more than git pull, so a commit that was checked cannot take its place. "
                "Move the rest of it into a step of its own first."
            }
        )
