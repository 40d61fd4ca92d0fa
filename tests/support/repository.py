"""A real git repository to deploy from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Lovelace",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada Lovelace",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def git(*words: str, cwd: Path | str | None = None) -> str:
    """What git says, without the last newline."""
    done = subprocess.run(
        ["git", *words], cwd=cwd, env={**os.environ, **_IDENTITY}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done.stdout.removesuffix("\n")


class Repository:
    """A repository with a branch ``main``. ``url`` is how a project names it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        git("init", "--quiet", "--initial-branch=main", str(path))

    @property
    def url(self) -> str:
        return str(self.path)

    def commit(self, message: str = "change", **files: str) -> str:
        """A commit with these files' contents (``name_ext`` for ``name.ext``); its sha."""
        for name, content in files.items():
            (self.path / name.replace("_", ".")).write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.tip()

    def tip(self, ref: str = "HEAD") -> str:
        return self.git("rev-parse", ref)

    def git(self, *words: str) -> str:
        return git("-C", str(self.path), *words)
