"""Which pushes a project deploys: patterns of branches and tags, paths, and words in a commit's message."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from deployer.models.base import table_of
from deployer.models.project import Project

SKIP_MARKERS = "[skip deploy]\n[deploy skip]"
"""What keeps a commit from being deployed where a project does not say otherwise."""

NAMED_PATHS = 3
"""So many of the paths that changed are named where none of them matters."""

_LONGEST_NAMED = 80


@dataclass(frozen=True, slots=True)
class Filters:
    """A project's filters as they are stored: patterns and words, one a line.

    Without patterns of branches ``branch`` is deployed; with them, each branch that they match, and ``branch`` only
    if they match it too.
    """

    branch: str
    branches: str = ""
    tags: str = ""
    watched: str = ""
    ignored: str = ""
    markers: str = SKIP_MARKERS

    def takes_branch(self, name: str) -> bool:
        return matches(self.branches, name) if self.branches else name == self.branch

    def takes_tag(self, name: str) -> bool:
        return bool(self.tags) and matches(self.tags, name)

    def takes(self, branch: str, tag: str | None) -> bool:
        """Whether what was deployed as this branch or tag would be so today."""
        return branch == self.branch or (self.takes_branch(branch) if tag is None else self.takes_tag(tag))

    @property
    def branches_in_words(self) -> str:
        patterns = self.branches.splitlines()
        if not patterns:
            return f"the branch {self.branch}"
        return f"the branch{'es' if len(patterns) > 1 else ''} {_shortened(', '.join(patterns), 200)}"

    @property
    def tags_in_words(self) -> str:
        return f"the tags {_shortened(', '.join(self.tags.splitlines()), 200)}"

    @property
    def looks_at_paths(self) -> bool:
        return bool(self.watched or self.ignored)

    def nothing_changed(self, paths: Sequence[str]) -> str:
        """Why none of these paths is worth a deployment; empty where one is."""
        is_watched = _paths(self.watched) if self.watched else _everything
        is_ignored = _paths(self.ignored) if self.ignored else _nothing
        if any(is_watched(path) and not is_ignored(path) for path in paths):
            return ""
        named = ", ".join(_shortened(path, _LONGEST_NAMED) for path in paths[:NAMED_PATHS])
        more = f" and {len(paths) - NAMED_PATHS} more" if len(paths) > NAMED_PATHS else ""
        what = "No watched path changed" if self.watched else "Only ignored paths changed"
        return f"{what}: {named}{more}"

    def asks_to_be_skipped(self, message: str | None) -> bool:
        """Whether a commit's message asks for no deployment."""
        return self.marker_in(message) is not None

    def marker_in(self, message: str | None) -> str | None:
        """The marker by which a commit's message asks for no deployment."""
        if message is None:
            return None
        lowered = message.lower()
        return next((marker for marker in self.markers.splitlines() if marker.lower() in lowered), None)


COLUMNS = ("branch", "branch_patterns", "tag_patterns", "watched_paths", "ignored_paths", "skip_markers")
"""A project's columns that make its filters, in their order."""


_PREFIX = "project_"
LABELLED = tuple(table_of(Project).c[name].label(f"{_PREFIX}{name}") for name in COLUMNS)
"""The same beside columns of another table, for `of_row`."""


def of(project: Project) -> Filters:
    return Filters(*(getattr(project, name) for name in COLUMNS))


def of_row(row: Any) -> Filters:
    """The filters in a row that has `LABELLED`."""
    return Filters(*(getattr(row, f"{_PREFIX}{name}") for name in COLUMNS))


# Patterns -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _refs(patterns: str) -> tuple[tuple[bool, re.Pattern[str]], ...]:
    lines = patterns.splitlines()
    return tuple((not line.startswith("!"), re.compile(expression(line.removeprefix("!")))) for line in lines)


def matches(patterns: str, name: str) -> bool:
    """Whether patterns, one a line, take a branch or tag. The last that matches decides; ``!`` makes it say no."""
    return next((takes for takes, one in reversed(_refs(patterns)) if one.match(name)), False)


def expression(pattern: str) -> str:
    """A pattern of refs as a regular expression: ``*`` and ``?`` stop at a slash, ``**`` does not, ``[…]`` is a
    choice of letters. Raises ValueError in words."""
    found, rest = "", pattern
    while rest:
        if rest.startswith("**"):
            rest = rest.lstrip("*")
            found += ".*"
        elif rest[0] == "*":
            found, rest = found + "[^/]*", rest[1:]
        elif rest[0] == "?":
            found, rest = found + "[^/]", rest[1:]
        elif rest[0] == "[":
            choice, closed, rest = rest[1:].partition("]")
            if not closed or not choice.strip("!^"):
                raise ValueError("a [ needs its ], with letters between them")
            negated = "^/" if choice[0] in "!^" else ""
            found += f"[{negated}{_choice(choice.lstrip('!^') if negated else choice)}]"
        else:
            found, rest = found + re.escape(rest[0]), rest[1:]
    return rf"(?s:{found})\Z"


def _choice(letters: str) -> str:
    """The inside of a set: a dash makes a range, everything else is itself."""
    escaped = re.sub(r"[\\\[\]^&~|]", lambda letter: f"\\{letter[0]}", letters)
    try:
        if "--" in letters:
            raise ValueError
        re.compile(f"[{escaped}]")
    except (re.error, ValueError) as error:
        raise ValueError(f"[{letters}] is no choice of letters") from error
    return escaped


@lru_cache(maxsize=1024)
def _paths(patterns: str) -> Callable[[str], bool]:
    """Patterns of paths, one a line, as gitignore(5) has them."""
    # Loaded by the first project that has any: it takes 30 ms, which a start need not wait for.
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns.splitlines()).match_file


def _everything(_path: str) -> bool:
    return True


def _nothing(_path: str) -> bool:
    return False


def path_pattern_problem(pattern: str) -> str | None:
    """Why ``pattern`` is none of paths, in words; None if it is one."""
    from pathspec import GitIgnoreSpec

    try:
        (made,) = GitIgnoreSpec.from_lines([pattern]).patterns
        matches_something = made.include is not None
    except (ValueError, re.error):
        matches_something = False
    return None if matches_something else "this matches no path; write for example src/** or *.md"


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
