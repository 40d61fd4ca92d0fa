"""Use cases of where a project's pushes come from, and which of them deploy."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from sqlalchemy.orm import Session

from deployer import clock, project_secrets
from deployer.commands import git
from deployer.deployments import filters
from deployer.deployments.queue import COMMIT_NEEDS_BARE_PULL
from deployer.errors import InvalidInput, as_sentence
from deployer.models.project import Project, Strategy
from deployer.providers import generic, gitlab
from deployer.providers.base import Provider
from deployer.providers.known import PROVIDERS, provider
from deployer.security.vault import Vault

MAX_LINES = 30
MAX_LINE = 200
MIN_MARKER = 4
MIN_SECRET = 16
MAX_SECRET = 255
"""Bitbucket's secrets are no longer than that; no forge takes less."""

_HOOK = ("hook_header", "hook_prefix", "hook_ref", "hook_commit")
_SECRET = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True)
class PushSettings:
    """What a person enters. Patterns and markers stand one a line; those of branches and tags also with commas
    between. The ``hook_…`` are those of a generic sender."""

    provider: str = "github"
    hook_header: str = generic.DEFAULT.header
    hook_prefix: str = generic.DEFAULT.prefix
    hook_ref: str = generic.DEFAULT.ref
    hook_commit: str = generic.DEFAULT.commit
    branch_patterns: str = ""
    tag_patterns: str = ""
    watched_paths: str = ""
    ignored_paths: str = ""
    skip_markers: str = filters.SKIP_MARKERS


def as_input(project: Project) -> PushSettings:
    """What a person would have entered to get these settings."""
    return PushSettings(**{one.name: getattr(project, one.name) for one in fields(PushSettings)})


def provider_of(project: Project) -> Provider:
    return provider(project.provider, generic.Settings(*(getattr(project, name) for name in _HOOK)))


def change(session: Session, project: Project, given: PushSettings) -> None:
    """Raises InvalidInput with an error for each field that cannot be used."""
    wanted = _one_spelling(given)
    errors = _provider_problems(wanted) | _filter_problems(wanted)
    if any((wanted.branch_patterns, wanted.tag_patterns)) and _pulls_and_does_more(project):
        name = "branch_patterns" if wanted.branch_patterns else "tag_patterns"
        errors.setdefault(name, COMMIT_NEEDS_BARE_PULL)
    if errors:
        raise InvalidInput(errors)
    if wanted.provider != project.provider:
        # What the former sender proved says nothing about this one.
        project.connected_at = None
    for one in fields(PushSettings):
        setattr(project, one.name, getattr(wanted, one.name))
    project.updated_at = clock.now()
    session.flush()


def set_secret(project: Project, secret: str, vault: Vault) -> None:
    """Take a webhook secret that was made elsewhere. Raises InvalidInput (``webhook_secret``)."""
    secret = secret.strip()
    problem = _secret_problem(secret)
    if problem:
        raise InvalidInput({"webhook_secret": as_sentence(problem)})
    project_secrets.set_webhook_secret(project, secret.encode(), vault)


def _secret_problem(secret: str) -> str | None:
    if not MIN_SECRET <= len(secret) <= MAX_SECRET or not _SECRET.match(secret):
        return f"a secret has {MIN_SECRET} to {MAX_SECRET} letters, digits and signs, without spaces"
    if secret.startswith(gitlab.SIGNING):
        return gitlab.signing_problem(secret)
    return None


def _one_spelling(given: PushSettings) -> PushSettings:
    def lines(text: str, *, commas: bool) -> str:
        pieces = re.split(r"[\n,]" if commas else r"\n", text.replace("\r", "\n"))
        return "\n".join(dict.fromkeys(piece.strip() for piece in pieces if piece.strip()))

    return PushSettings(
        provider=given.provider.strip(),
        hook_header=given.hook_header.strip(),
        hook_prefix=given.hook_prefix.strip(),
        hook_ref=given.hook_ref.strip(),
        hook_commit=given.hook_commit.strip(),
        branch_patterns=lines(given.branch_patterns, commas=True),
        tag_patterns=lines(given.tag_patterns, commas=True),
        watched_paths=lines(given.watched_paths, commas=False),
        ignored_paths=lines(given.ignored_paths, commas=False),
        skip_markers=lines(given.skip_markers, commas=False),
    )


def _provider_problems(wanted: PushSettings) -> dict[str, str]:
    if wanted.provider not in PROVIDERS:
        return {"provider": f"Choose one of {', '.join(PROVIDERS)}."}
    problems = {
        "hook_header": generic.header_problem(wanted.hook_header),
        "hook_prefix": generic.prefix_problem(wanted.hook_prefix),
        "hook_ref": generic.pointer_problem(wanted.hook_ref),
        "hook_commit": generic.pointer_problem(wanted.hook_commit),
    }
    if not problems["hook_ref"] and not problems["hook_commit"]:
        problems["hook_commit"] = generic.pointers_problem(wanted.hook_ref, wanted.hook_commit)
    return {name: as_sentence(problem) for name, problem in problems.items() if problem}


def _filter_problems(wanted: PushSettings) -> dict[str, str]:
    found = {}
    for name, problem_of in (
        ("branch_patterns", _ref_problem),
        ("tag_patterns", _ref_problem),
        ("watched_paths", filters.path_pattern_problem),
        ("ignored_paths", filters.path_pattern_problem),
        ("skip_markers", _marker_problem),
    ):
        lines = getattr(wanted, name).splitlines()
        problem = _line_problem(lines)
        if problem is None and name != "skip_markers" and lines and lines[0].startswith("!"):
            problem = f"'{lines[0]}' takes away from what stands before it, so it cannot be the first"
        for line in lines if problem is None else ():
            if what := problem_of(line):
                problem = f"'{line}': {what}"
                break
        if problem:
            found[name] = as_sentence(problem)
    return found


def _line_problem(lines: list[str]) -> str | None:
    if len(lines) > MAX_LINES:
        return f"these are more than {MAX_LINES}"
    if any(len(line) > MAX_LINE or not line.isprintable() or not git.is_text(line) for line in lines):
        return f"each has at most {MAX_LINE} letters, all of them printable"
    return None


def _ref_problem(pattern: str) -> str | None:
    try:
        filters.expression(pattern.removeprefix("!"))
    except ValueError as error:
        return str(error)
    if pattern.removeprefix("!").startswith(("refs/", "/")) or pattern.endswith("/"):
        return "give the name alone, for example main, release/* or v*"
    if any(letter in pattern for letter in " ~^:\\") or ".." in pattern:
        return "no branch or tag has such a name"
    return None


def _marker_problem(marker: str) -> str | None:
    return None if len(marker) >= MIN_MARKER else f"at least {MIN_MARKER} letters, lest it is met by chance"


def _pulls_and_does_more(project: Project) -> bool:
    if project.strategy is not Strategy.CHECKOUT or not project.steps:
        return False
    first = project.steps[0].command
    return git.pulls_itself(first) and not git.only_pulls(first)
