"""``demo``: the whole job in a terminal. A throw-away repository and project, a really signed push, a live log."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path

import click

from deployer.cli.follow import follow
from deployer.config import Config, GitSettings, ServerSettings, StorageSettings

_APP = Path(__file__).resolve().parent.parent.parent / "app.py"
_STEPS = (
    "git pull origin main",
    'for part in html css images; do echo "building $part"; sleep 0.4; done',
    'echo "$(cat greeting.txt) — $DEPLOY_REF by $DEPLOY_AUTHOR"',
)


def show() -> int:
    """Returns 0 when the deployment succeeded."""
    with tempfile.TemporaryDirectory(prefix="deployer-demo-") as folder:
        root = Path(folder)
        repository = root / "greeter"
        _heading("A repository with one commit")
        _commit(repository, "Hello, world", first=True)
        config = Config(
            server=ServerSettings(bind=f"127.0.0.1:{_free_port()}"),
            storage=StorageSettings(str(root / "data")),
            git=GitSettings(allow_file=True),
        )
        _heading("Deployer starts on a fresh data folder")
        daemon = subprocess.Popen(
            [sys.executable, str(_APP), "serve"],
            env=_environment(config),
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert daemon.stdout is not None
            click.echo(daemon.stdout.readline().rstrip())
            return _push_and_watch(config, repository)
        finally:
            daemon.terminate()
            daemon.wait(timeout=20)
            assert daemon.stdout is not None
            daemon.stdout.close()


def _push_and_watch(config: Config, repository: Path) -> int:
    from deployer import project_secrets, projects
    from deployer.installation import Installation
    from deployer.project_input import ProjectInput, StepInput

    installation = Installation.open(config)
    with installation.database.write_session() as session:
        wanted = ProjectInput("greeter", str(repository), "main", [StepInput(step) for step in _STEPS])
        project = projects.create(
            session, wanted, config=config, data_dir=installation.data_dir, vault=installation.vault
        )
        secret = project_secrets.webhook_secret(project, installation.vault)
        url = f"{config.public_url}/webhook/{project.id}"
    _heading("A push, signed as GitHub signs it")
    sha = _commit(repository, "Hello, Deployer")
    request = _signed_push(url, secret, sha)
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (our own daemon on loopback)
        click.echo(f"POST {url}\n{answer.status} {answer.read().decode()}")
        deployment_id = answer.headers["X-Deployment-Id"]
    _heading("The deployment, live")
    status = follow(installation.database, deployment_id)
    click.echo("\nThat was all. Start it for real: make run")
    return 0 if status == "success" else 1


def _signed_push(url: str, secret: bytes, sha: str) -> urllib.request.Request:
    payload = {
        "ref": "refs/heads/main",
        "after": sha,
        "deleted": False,
        "head_commit": {"id": sha, "message": "Hello, Deployer", "author": {"name": "You", "email": "you@localhost"}},
        "pusher": {"name": "you"},
        "repository": {"full_name": "you/greeter"},
    }
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
    }
    return urllib.request.Request(url, data=body, headers=headers)  # noqa: S310


def _commit(repository: Path, greeting: str, *, first: bool = False) -> str:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=You", "-c", "user.email=you@localhost", "-c", "commit.gpgsign=false")
        argv = ["git", "-C", str(repository), *identity, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    if first:
        repository.mkdir()
        git("init", "--quiet")
        git("symbolic-ref", "HEAD", "refs/heads/main")
    (repository / "greeting.txt").write_text(greeting + "\n")
    git("add", "greeting.txt")
    git("commit", "--quiet", "-m", greeting)
    sha = git("rev-parse", "HEAD")
    click.echo(f"{sha[:7]} {greeting}")
    return sha


def _environment(config: Config) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEPLOYER_")}
    return {
        **kept,
        "DEPLOYER_SERVER_BIND": config.server.bind,
        "DEPLOYER_STORAGE_DATA_DIR": config.storage.data_dir,
        "DEPLOYER_GIT_ALLOW_FILE": "true",
        "DEPLOYER_LOGS_LEVEL": "warning",
    }


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True, fg="cyan"))
