"""Whether a project's repository can be reached: a short question that a person waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.commands import git
from deployer.config import Config
from deployer.errors import GitError
from deployer.installation import DataDir
from deployer.models.project import Project
from deployer.project_secrets import ProjectSecrets
from deployer.security.redaction import Redactor

TIMEOUT_S = 15
_SHOWN_OUTPUT = 2000


@dataclass(frozen=True)
class Access:
    """What the repository said: its branches, and the tip of the project's one (None where it is missing)."""

    branches: int
    tip: str | None


def check(project: Project, secrets: ProjectSecrets, *, config: Config, data_dir: DataDir) -> Access:
    """Ask the repository for its branches with the project's own credential, within 15 s.

    Raises GitError with git's own words, redacted, and what to do.
    """
    redactor = Redactor(secrets.to_redact())
    with tempfile.TemporaryDirectory(dir=data_dir.scratch) as folder:
        key_path = None
        if secrets.deploy_key:
            key_path = str(Path(folder) / "deploy_key")
            with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.deploy_key)
        credential = git.Credential(secrets.https_token, key_path, config.git.known_hosts)
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(Path.home()),
            "LANG": "C.UTF-8",
            **git.environment(project.repository_url, credential),
        }
        code, output, words = _ask(git.list_branches(project.repository_url), environment, folder)
    if code:
        said = redactor.whole(words[-_SHOWN_OUTPUT:]).decode("utf-8", "replace").strip()
        raise GitError(
            said or f"git exited with {code}.",
            hint=git.advice(said, has_deploy_key=project.deploy_key_public is not None),
        )
    lines = (line.partition("\t") for line in output.decode("utf-8", "replace").splitlines())
    tips = {ref: sha for sha, _, ref in lines}
    return Access(len(tips), tips.get(f"refs/heads/{project.branch}"))


def _ask(argv: Sequence[str], environment: dict[str, str], folder: str) -> tuple[int, bytes, bytes]:
    """Exit code and both outputs of a git call, ended with its helpers (ssh, https) when it takes too long."""
    try:
        asked = subprocess.Popen(
            argv,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise GitError(f"git could not be started: {error.strerror}.", hint="Install git.") from error
    with asked:
        try:
            output, words = asked.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            os.killpg(asked.pid, signal.SIGKILL)
            raise GitError(
                f"The repository did not answer within {TIMEOUT_S} s.", hint="Check the address and the network."
            ) from error
    return asked.returncode, output, words
