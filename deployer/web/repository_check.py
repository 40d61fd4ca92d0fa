"""The check of a repository in a project's form: what it said, and the steps that its files suggest.

What was seen is carried in the form itself, so that its buttons work without scripts and nothing is kept meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from werkzeug.datastructures import MultiDict

from deployer import access, project_secrets, suggestions
from deployer.commands import git
from deployer.errors import GitError, InvalidInput, as_sentence
from deployer.models.project import Project
from deployer.project_secrets import ProjectSecrets
from deployer.suggestions import Suggestion
from deployer.web.context import installation, orm

MAX_BRANCHES = 200
"""As many are offered in the branch field; more is no choice any more."""


@dataclass(frozen=True)
class Seen:
    """What a check said. ``branch`` is the one that was looked at, ``note`` why there are no suggestions."""

    is_well: bool
    message: str
    hint: str = ""
    branch: str = ""
    branches: list[str] = field(default_factory=list)
    suggested: list[Suggestion] = field(default_factory=list)
    note: str = ""


def look(form: MultiDict[str, str], project: Project | None) -> Seen:
    """Ask the repository that the form names. The session's snapshot is given up before: it may take seconds.

    Raises InvalidInput where the form names none.
    """
    parts = installation()
    url, wanted = form.get("repository_url", "").strip(), form.get("branch", "").strip()
    problem = git.url_problem(url, allow_file=parts.config.git.allow_file)
    if problem:
        raise InvalidInput({"repository_url": as_sentence(problem)})
    secrets = _secrets_for(url, project) if project else None
    orm.session().rollback()
    try:
        with access.visit(url, secrets, config=parts.config, data_dir=parts.data_dir) as visit:
            found = visit.branches()
            return _look_at(visit, found, _branch(wanted, found, is_new=project is None))
    except GitError as error:
        return Seen(False, str(error.args[0]), _with_way_in(error.hint, is_new=project is None))


def _secrets_for(url: str, project: Project) -> ProjectSecrets:
    """The project's credential; its token only for the host that it was given for."""
    secrets = project_secrets.read_secrets(orm.session(), project, installation().vault)
    there, here = urlsplit(project.repository_url), urlsplit(url)
    is_same_host = (there.scheme, there.netloc) == (here.scheme, here.netloc)
    return secrets if is_same_host else replace(secrets, https_token=None)


def _branch(wanted: str, found: access.Branches, *, is_new: bool) -> str:
    """The branch to look at: in a new form, where ``main`` is only a guess, the repository's own one instead."""
    is_guess = not wanted or (is_new and wanted == "main")
    return found.default if is_guess and wanted not in found.tips and found.default else wanted


def _look_at(visit: access.Visit, found: access.Branches, branch: str) -> Seen:
    branches = sorted(found.tips, key=lambda name: (name != found.default, name))[:MAX_BRANCHES]
    tip = found.tips.get(branch)
    if not found.tips:
        return Seen(False, "The repository answers, but it is empty.", "Push a commit first.")
    if tip is None or git.branch_problem(branch):
        message = f"The repository answers, but has no branch {branch}."
        return Seen(False, message, "Push that branch, or choose another one.", branch, branches)
    seen = Seen(True, f"The repository answers; {branch} is at {tip[:7]}.", "", branch, branches)
    try:
        suggested = suggestions.suggest(visit.contents(branch), branch)
    except GitError as error:
        return replace(seen, note=f"Its files could not be looked at: {error.args[0]}")
    if len(suggested) == 1:
        return replace(seen, suggested=suggested, note="No file in its root says how it is built: add those steps.")
    return replace(seen, suggested=suggested)


def _with_way_in(hint: str, *, is_new: bool) -> str:
    """A private repository opens with what the project's page makes, and that is there once the project is."""
    if not is_new:
        return hint
    more = (
        "If it is private, create the project first: its page makes the deploy key or takes the token, "
        "and checks again."
    )
    return f"{hint} {more}".strip() if "page" not in hint and "token" not in hint else more


def carried(form: MultiDict[str, str]) -> Seen | None:
    """What was seen by an earlier check, out of the form that carries it."""
    if "seen_message" not in form:
        return None
    return Seen(
        "seen_well" in form,
        form["seen_message"],
        form.get("seen_hint", ""),
        form.get("seen_branch", ""),
        form.getlist("seen_name")[:MAX_BRANCHES],
        [Suggestion(*one) for one in zip(form.getlist("seen_command"), form.getlist("seen_why"), strict=False)],
        form.get("seen_note", ""),
    )
