"""Whether a project's repository can be reached: a short question that a person waits for."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deployer.commands import git
from deployer.config import Config
from deployer.errors import GitError
from deployer.installation import DataDir
from deployer.models.project import Project
from deployer.projects import ProjectSecrets
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
        try:
            done = subprocess.run(
                git.list_branches(project.repository_url),
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise GitError(
                f"The repository did not answer within {TIMEOUT_S} s.", hint="Check the address and the network."
            ) from error
        except OSError as error:
            raise GitError(f"git could not be started: {error.strerror}.", hint="Install git.") from error
    if done.returncode:
        words = redactor.whole(done.stderr[-_SHOWN_OUTPUT:]).decode("utf-8", "replace").strip()
        raise GitError(words or f"git exited with {done.returncode}.", hint=advice(words, project))
    lines = (line.partition("\t") for line in done.stdout.decode("utf-8", "replace").splitlines())
    tips = {ref: sha for sha, _, ref in lines}
    return Access(len(tips), tips.get(f"refs/heads/{project.branch}"))


def advice(words: str, project: Project) -> str:
    """What to do about git's complaint."""
    if "Host key verification failed" in words or "No matching host key" in words:
        return "This host's key is not pinned: add it to the file that git.known_hosts names, after comparing it."
    if "Permission denied" in words or "publickey" in words:
        if project.deploy_key_public:
            return "Add the deploy key shown on the project's page to the repository."
        return "Make a deploy key on the project's page and add it to the repository."
    if "Authentication failed" in words or "could not read Username" in words or "403" in words:
        return "Give a token that may read this repository, or use the SSH address with a deploy key."
    if "not found" in words.lower() or "does not exist" in words or "does not appear to be" in words:
        return "Check the address; a private repository also says this to those who may not see it."
    if "Could not resolve" in words or "Connection" in words or "unable to access" in words:
        return "Check the address and this host's network."
    return ""
