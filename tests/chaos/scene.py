"""The scene: an installation with a repository, projects whose steps write down what they do, and who asks for what.

What was asked for, and what was answered, is kept here; `proof` compares it with what came of it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace

import sqlalchemy as sa

from deployer.models import Project
from deployer.models.deployment import Deployment, Status
from tests.support.daemon import Daemon
from tests.support.forge import Forge
from tests.support.operator import Operator
from tests.support.ordinary_user import ordinary_user
from tests.support.repository import Repository
from tests.support.ssh_server import SshServer

STEP = Path(__file__).with_name("step.py")
PYTHON = "python3 -I -S"
TOKEN = "a secret that nobody may read"


@dataclass(frozen=True)
class Part:
    """A project, and how each of its steps ends: ``0``, another exit code, or a signal's name."""

    project: Project
    endings: tuple[str, ...]

    @property
    def steps_run(self) -> int:
        """How many of its steps run, if nobody ends it."""
        failing = [number for number, ending in enumerate(self.endings, 1) if ending != "0"]
        return failing[0] if failing else len(self.endings)

    @property
    def status(self) -> Status:
        return Status.FAILED if any(ending != "0" for ending in self.endings) else Status.SUCCESS


@dataclass(frozen=True)
class Sent:
    """A push as it was posted. ``status`` is None where no answer came; it may be on record all the same."""

    guid: str
    project_id: str
    status: int | None
    deployment_id: str | None


@dataclass
class Asked:
    """What was asked for, as far as it was answered."""

    pushes: list[Sent] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)


class Scene:
    """``place`` is a folder that steps may write to; it and ``ssh`` are another host's where steps run there."""

    def __init__(self, folder: Path, place: Path, ssh: SshServer | None = None, *, home: Path | None = None) -> None:
        self.folder = folder
        self.place = place
        self.ssh = ssh
        self.home = home
        # One address from start to start, as a service has it; and all that ever was is there to be looked at.
        kept = {"retention_deployments": 0, "retention_days": 0, "retention_deliveries": 0}
        self.daemon = Daemon(folder / "daemon", ssh_reconnect_for=120, **kept)
        self.installation = self.daemon.installation
        self.operator = Operator(self.installation)
        self.asked = Asked()
        self.parts: dict[str, Part] = {}
        self.repository = Repository(folder / "origin")
        self.sha = self.repository.commit("first", README_md="hello\n")
        self._server = self.operator.make_server(ssh) if ssh else ""
        shutil.copy(STEP, place / STEP.name)
        (place / STEP.name).chmod(0o755)

    @property
    def spools(self) -> list[Path]:
        """Where run directories lie: here, and on the other host."""
        there = [self.home / ".deployer" / "spool"] if self.home else []
        return [self.installation.data_dir.spool, *there]

    def make_part(self, name: str, *steps: tuple[str, str]) -> Part:
        """A project; a step is what it prints (`step.KINDS`, ``any``) and how it ends."""
        lines = [
            f"exec {PYTHON} {self.place}/{STEP.name} {self.place} {number} {kind} {ending}"
            for number, (kind, ending) in enumerate(steps)
        ]
        project = self.operator.make_project(self.repository.url, lines, name=name, server=self._server)
        self.operator.set_variable(project, "TOKEN", TOKEN, secret=True)
        part = Part(project, tuple(ending for _, ending in steps))
        self.parts[project.id] = part
        return part

    # Asking

    def deploy(self, part: Part) -> str:
        deployment_id = self.operator.deploy(part.project)
        self.asked.by_hand.append(deployment_id)
        return deployment_id

    def push(self, part: Part, guid: str | None = None) -> Sent:
        guid = guid or str(uuid.uuid4())
        project_id = part.project.id
        forge = Forge(self.daemon, self.installed(project_id))
        try:
            answer = forge.push(guid=guid, after=self.sha)
            sent = Sent(guid, project_id, answer.status, answer.headers["X-Deployment-Id"])
        except (OSError, HTTPException):
            sent = Sent(guid, project_id, None, None)
        self.asked.pushes.append(sent)
        return sent

    def cancel(self, deployment_id: str) -> None:
        if self.operator.cancel(deployment_id):
            self.asked.cancelled.add(deployment_id)

    def installed(self, project_id: str) -> Project:
        return self.parts[project_id].project

    # Looking

    def active(self) -> list[SimpleNamespace]:
        """What is queued or running."""
        wanted = sa.select(*Deployment.__table__.columns).where(Deployment.status.in_(("queued", "running")))
        return self.operator.rows(wanted.order_by(Deployment.number))

    def close(self) -> None:
        self.daemon.close()


def at(place: str, folder: Path) -> AbstractContextManager[Scene]:
    """``here`` or ``there``: where the steps run."""
    return here(folder) if place == "here" else there(folder)


@contextmanager
def here(folder: Path) -> Iterator[Scene]:
    """Steps run on this host."""
    place = folder / "place"
    place.mkdir(parents=True)
    scene = Scene(folder, place)
    try:
        yield scene
    finally:
        scene.close()


@contextmanager
def there(folder: Path) -> Iterator[Scene]:
    """Steps run over SSH, as another user of a host that answers on loopback."""
    folder.mkdir(parents=True)
    with ordinary_user() as user, SshServer(user.folder / "sshd", home=user.home, user=user.name).running() as ssh:
        scene = Scene(folder, user.owns_folder("place"), ssh, home=user.home)
        try:
            yield scene
        finally:
            scene.close()
            # The user goes with their home; what is needed to look into it stays.
            for one in filter(Path.exists, (scene.place, user.home / ".deployer" / "spool")):
                shutil.copytree(one, folder / "there" / one.name, dirs_exist_ok=True, symlinks=True)
