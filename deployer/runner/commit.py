"""Which commit a deployment is about, asked of the project's mirror after the fetch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployer.commands import git
from deployer.executors.base import Answer, Executor

PROBE_TIMEOUT_S = 10.0
MAX_CANDIDATES = 16
"""Objects that are looked at for a shortened commit id; of seven digits hardly ever more than one."""


@dataclass(frozen=True)
class Finding:
    """``sha`` where the deployment goes on; else why it ends: as superseded, or as failed."""

    sha: str | None = None
    is_stale: bool = False
    cause: str = ""


class Repository:
    """Questions to a git directory, each a short read-only call."""

    def __init__(self, executor: Executor, directory: str) -> None:
        self._executor = executor
        self._directory = directory

    def settle(
        self, branch: str, wanted: str | None, live: str | None, superseded: Callable[[], Sequence[str]] = tuple
    ) -> Finding:
        """Decide for ``wanted``, a whole or shortened commit id (the branch's tip where it is None).

        ``live`` is the last commit deployed, given only where a push must not go behind it; ``superseded`` tells
        commits that made way for this one, of which one that contains it is deployed in its place.
        """
        tip = self.commit_of(f"refs/heads/{branch}")
        if tip is None:
            return Finding(cause=f"the branch {branch} has no commit")
        if wanted is None or wanted == tip:
            return Finding(tip)
        if len(wanted) < len(tip):
            found = [one for one in self._commits_from(wanted) if self._contains(one, tip)]
            if len(found) > 1:
                return Finding(cause=f"{wanted} is the beginning of several commits; give more digits of its id")
            wanted = found[0] if found else wanted
        if self.commit_of(wanted) is None or not self._contains(wanted, tip):
            return Finding(
                cause=f"commit {wanted[:7]} is not on the branch {branch}; give a commit of that branch or, "
                "if it was rewritten, deploy its newest"
            )
        for other in superseded():
            if self.commit_of(other) and self._contains(wanted, other) and self._contains(other, tip):
                wanted = other
        if live and self.commit_of(live) and self._contains(wanted, live):
            return Finding(is_stale=True, cause=f"what is live ({live[:7]}) already contains {wanted[:7]}")
        return Finding(wanted)

    def still_has(self, sha: str) -> Finding:
        """For a commit that was live once, whether or not a branch leads to it any more."""
        if self.commit_of(sha) is None:
            return Finding(cause=f"commit {sha[:7]} is not in the repository any more; deploy another one")
        return Finding(sha)

    def settle_tag(self, tag: str, wanted: str | None, superseded: Callable[[], Sequence[str]] = tuple) -> Finding:
        """Decide for ``wanted``, which the tag was set on: a commit, or the annotated tag that leads to one. A tag
        that was moved since is not what was asked for, unless the push of that came before (``superseded``)."""
        commit = self.commit_of(f"refs/tags/{tag}")
        if commit is None:
            return Finding(cause=f"the tag {tag} leads to no commit")
        asked = [wanted, *superseded()] if wanted else [commit]
        if commit in {self.commit_of(one) for one in asked}:
            return Finding(commit)
        return Finding(
            cause=f"the tag {tag} is at {commit[:7]} by now, not at {(wanted or '')[:7]}, which was asked for; "
            "push the tag again, or deploy a commit"
        )

    def describe(self, sha: str) -> dict[str, str]:
        """Author and message of a commit, as columns of a deployment."""
        parts = self._ask(git.describe(self._directory, sha)).output.split("\0", 2)
        if len(parts) != 3:
            return {}
        return {
            "author_name": parts[0][:255],
            "author_email": parts[1][:255],
            "commit_message": parts[2].strip()[:10_000],
        }

    def commit_of(self, ref: str) -> str | None:
        answer = self._ask(git.resolve(self._directory, ref))
        return answer.output.strip() if answer.code == 0 else None

    def _commits_from(self, prefix: str) -> list[str]:
        """The commits whose ids begin so."""
        ids = self._ask(git.begins_with(self._directory, prefix)).output.split()
        # An annotated tag leads to a commit too, but is none.
        return [one for one in ids[:MAX_CANDIDATES] if self.commit_of(one) == one]

    def is_on_branch(self, branch: str) -> bool:
        """Whether this is a working copy with ``branch`` checked out (not a detached HEAD)."""
        # What git symbolic-ref would say (gitrepository-layout(5)), without a process.
        head = self._executor.read_file(f"{self._directory}/.git/HEAD")
        return head is not None and head.decode("utf-8", "replace").strip() == f"ref: refs/heads/{branch}"

    def _contains(self, ancestor: str, descendant: str) -> bool:
        if ancestor == descendant:
            return True
        return self._ask(git.contains(self._directory, ancestor, descendant)).code == 0

    def _ask(self, argv: Sequence[str]) -> Answer:
        return self._executor.probe(argv, environment=git.environment(None), timeout_s=PROBE_TIMEOUT_S)
