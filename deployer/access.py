"""A visit to a repository: whether it can be reached, what branches it has, and what lies in it.

Short questions that a person waits for, within 15 s altogether.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer import scratch
from deployer.commands import git, git_look
from deployer.config import Config
from deployer.errors import GitError
from deployer.installation import DataDir
from deployer.project_secrets import ProjectSecrets
from deployer.security.redaction import Redactor
from deployer.suggestions import Contents

TIMEOUT_S = 15
MAX_FILE_BYTES = 64 * 1024 * 1024
"""What a call may write into one file: its answer, or the pack that it fetches."""

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_PACKAGE_BYTES = 1024 * 1024
_SHOWN_OUTPUT = 2000


@dataclass(frozen=True)
class Branches:
    """The tips of the branches by their names, and the name of the one that the repository calls its own (HEAD)."""

    tips: dict[str, str]
    default: str | None


@contextmanager
def visit(url: str, secrets: ProjectSecrets | None, *, config: Config, data_dir: DataDir) -> Iterator[Visit]:
    """A visit to a repository with a project's credential, or with none. ``url`` has passed `git.url_problem`."""
    with scratch.held(data_dir.scratch, "visit-") as folder:
        yield Visit(url, secrets, folder, config)


class Visit:
    """Its questions raise GitError with git's own words, redacted, and what to do."""

    def __init__(self, url: str, secrets: ProjectSecrets | None, folder: Path, config: Config) -> None:
        self._url = url
        self._folder = folder
        self._deadline = time.monotonic() + TIMEOUT_S
        self._redactor = Redactor(secrets.to_redact() if secrets else [])
        key = secrets.deploy_key if secrets else None
        self._has_deploy_key = key is not None
        key_path = folder / "deploy_key"
        if key:
            with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(key)
        credential = git.Credential(
            secrets.https_token if secrets else None, str(key_path) if key else None, config.git.known_hosts
        )
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            **git.environment(url, credential),
        }

    def branches(self) -> Branches:
        said = self._ask(git.list_branches(self._url)).decode("utf-8", "replace")
        tips: dict[str, str] = {}
        default = None
        for line in said.splitlines():
            value, _, ref = line.partition("\t")
            if ref == "HEAD" and value.startswith("ref: refs/heads/"):
                default = value.removeprefix("ref: refs/heads/")
            elif ref.startswith("refs/heads/"):
                tips[ref.removeprefix("refs/heads/")] = value
        return Branches(tips, default if default in tips else None)

    def tip(self, branch: str) -> str | None:
        """The commit that a branch is at; None where there is no such branch. ``branch`` has passed
        `git.branch_problem`, so that nothing in it is a pattern."""
        said = self._ask(git_look.tip(self._url, branch)).decode("utf-8", "replace")
        lines = (line.partition("\t") for line in said.splitlines())
        sha = next((value for value, _, ref in lines if ref == f"refs/heads/{branch}"), None)
        if sha is not None and not _SHA.match(sha):
            raise GitError("The repository answered with something else than a commit's id.")
        return sha

    def contents(self, branch: str) -> Contents:
        """What lies in the root at a branch's tip; fetched without history and, where it can be, without files."""
        copy = self._folder / "copy"
        for argv in git_look.begin_look(copy, self._url):
            self._ask(argv)
        try:
            self._ask(git_look.look(copy, branch, without_files=True))
        except GitError as error:
            if "not supported" not in str(error):
                raise
            self._ask(git_look.look(copy, branch, without_files=False))
        names = frozenset(self._ask(git_look.names_in_root(copy)).decode("utf-8", "replace").split("\0")) - {""}
        package = None
        if "package.json" in names:
            package = self._ask(git_look.file_in_root(copy, "package.json"))[:_MAX_PACKAGE_BYTES]
        return Contents(names, package)

    def _ask(self, argv: Sequence[str]) -> bytes:
        """What a git call answers. It is ended with its helpers (ssh, https) when it takes too long or too much."""
        answer, words = self._folder / "answer", self._folder / "words"
        try:
            with answer.open("wb") as stdout, words.open("wb") as stderr:
                asked = subprocess.Popen(
                    argv,
                    env=self._environment,
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
        except OSError as error:
            raise GitError(f"git could not be started: {error.strerror}.", hint="Install git.") from error
        with asked:
            # It has to reach the network first, so it has written nothing yet.
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(asked.pid, resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
            try:
                code = asked.wait(max(0.1, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                os.killpg(asked.pid, signal.SIGKILL)
                raise GitError(
                    f"The repository did not answer within {TIMEOUT_S} s.",
                    hint="Check the address and the network.",
                    is_unreachable=True,
                ) from error
        if code:
            raise self._complaint(code, words)
        with answer.open("rb") as file:
            return file.read(_MAX_ANSWER_BYTES)

    def _complaint(self, code: int, words: Path) -> GitError:
        margin = self._redactor.longest
        with words.open("rb") as file:
            start = max(0, words.stat().st_size - _SHOWN_OUTPUT - margin)
            file.seek(start)
            end = file.read()
        # Cut where no secret is cut in two: its second half could not be told from other text.
        end = end[self._redactor.cut_after(end, margin) :] if start else end
        said = self._redactor.whole(end).decode("utf-8", "replace").strip()
        if any(file.lstat().st_size >= MAX_FILE_BYTES for file in self._folder.rglob("*")):
            return GitError(f"The repository holds more than {MAX_FILE_BYTES // 1024 // 1024} MiB.")
        return GitError(
            said or f"git exited with {code}.",
            hint=git.advice(said, has_deploy_key=self._has_deploy_key),
            is_unreachable=git.is_unreachable(said),
        )
