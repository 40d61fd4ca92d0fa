"""What ``project create`` and ``project edit`` take of where pushes come from, and which of them deploy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from deployer.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from deployer.models.project import Project

_SENDERS = "github, gitlab, gitea (also Forgejo), bitbucket, bitbucket-server or generic"
_NONE = "none"

_OPTIONS = (
    click.option("--provider", help=f"Who sends the pushes: {_SENDERS} (default: github)."),
    click.option("--branches", multiple=True, help="A pattern of branches whose pushes deploy, such as release/*."),
    click.option("--tags", multiple=True, help="A pattern of tags that deploy, such as v*."),
    click.option("--watch", multiple=True, help="A pattern of paths, such as src/**, one of which must change."),
    click.option("--ignore", multiple=True, help="A pattern of paths, such as *.md, that do not matter."),
    click.option(
        "--skip-marker",
        multiple=True,
        help="What in a commit's message keeps it from being deployed. Each of these five may come several times and "
        "replaces what was there; none for nothing.",
    ),
    click.option("--hook-header", help="Of a generic sender: the header with the signature (default: X-Signature)."),
    click.option("--hook-prefix", help="What stands before the signature (default: sha256=)."),
    click.option("--hook-ref", help="The JSON pointer to the ref (default: /ref)."),
    click.option("--hook-commit", help="The JSON pointer to the commit (default: /after)."),
)


@dataclass(frozen=True)
class GivenPushes:
    """The options as they were typed; None, and nothing, where nothing was."""

    provider: str | None
    branches: tuple[str, ...]
    tags: tuple[str, ...]
    watch: tuple[str, ...]
    ignore: tuple[str, ...]
    skip_marker: tuple[str, ...]
    hook_header: str | None
    hook_prefix: str | None
    hook_ref: str | None
    hook_commit: str | None

    def change(self, session: Session, project: Project) -> None:
        """Raises InvalidInput."""
        from deployer import pushes

        words = {
            "provider": self.provider,
            "hook_header": self.hook_header,
            "hook_prefix": self.hook_prefix,
            "hook_ref": self.hook_ref,
            "hook_commit": self.hook_commit,
        }
        lists = {
            "branch_patterns": self.branches,
            "tag_patterns": self.tags,
            "watched_paths": self.watch,
            "ignored_paths": self.ignore,
            "skip_markers": self.skip_marker,
        }
        given = {name: word for name, word in words.items() if word is not None}
        given |= {name: "" if lines == (_NONE,) else "\n".join(lines) for name, lines in lists.items() if lines}
        if not given:
            return
        wanted = replace(pushes.as_input(project), **given)
        for name in given:
            if name.startswith("hook_") and wanted.provider != "generic":
                raise InvalidInput({name: "This is of a generic sender: give --provider generic too."})
        pushes.change(session, project, wanted)


def taken(command: Callable[..., None]) -> Callable[..., None]:
    """Has a command take these options, and get them as its keyword ``pushes_given``."""

    @functools.wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> None:
        given = GivenPushes(**{field.name: kwargs.pop(field.name) for field in fields(GivenPushes)})
        command(*args, pushes_given=given, **kwargs)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
