"""Where a project's working copy lies: in a folder of Deployer's own, or in a directory that a person chose."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer.config import Config
from deployer.errors import InvalidInput
from deployer.installation import DataDir
from deployer.models.project import Project, Strategy
from deployer.models.server import Server

MAX_PATH_BYTES = 4096
"""Linux's PATH_MAX, its closing NUL included."""

SERVER_CHECKOUTS = "~/.deployer/checkouts"
"""Where working copies lie on a server, unless a person chose another place; ``~`` is the home of its user."""


def path_problem(path: str, config: Config, *, is_on_server: bool) -> str | None:
    """Why a person cannot choose ``path``, in words; None if they can. On a server ``~/`` may stand in front."""
    if not path:
        return None
    if is_on_server:
        return _problem_on_server(path)
    if not _is_absolute(path):
        return "Give an absolute path, beginning with a slash."
    if one_spelling(path) == "/":
        return "Give a directory of its own, not the root of the file system."
    if _is_in_data_folder(path, config):
        return "Give a directory apart from Deployer's own data folder, or none."
    return None


def _problem_on_server(path: str) -> str | None:
    is_in_home = path.startswith("~/")
    if not _is_absolute(path[1:] if is_in_home else path):
        return "Give an absolute path there, or one that begins with ~/ for the home directory."
    spelled = one_spelling(path)
    if spelled in ("/", "~", "~/"):
        return "Give a directory of its own, not a whole home directory or file system."
    if any(part == ".deployer" for part in PurePosixPath(spelled).parts):
        return "Give a directory apart from Deployer's own (~/.deployer), or none."
    return None


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and path.isprintable() and len(path.encode()) < MAX_PATH_BYTES


def _is_in_data_folder(path: str, config: Config) -> bool:
    """A working copy of one's own choice there could be the database's folder, or another project's copy."""
    data_dir = DataDir(config.data_dir)
    if data_dir.owns(one_spelling(path)):
        return False
    # Where a link leads counts, and so does a directory that has the data folder inside it.
    real, root = Path(os.path.realpath(one_spelling(path))), Path(os.path.realpath(data_dir.root))
    return real.is_relative_to(root) or root.is_relative_to(real)


def one_spelling(path: str) -> str:
    """Of the ways to write a path, the one to compare and to keep. Two slashes in front mean one on Linux, but POSIX
    lets them mean more, so ``normpath`` leaves them."""
    if path.startswith("~/"):
        return "~" + os.path.normpath("/" + path[1:].lstrip("/")).rstrip("/")
    return os.path.normpath("/" + path.lstrip("/"))


def own_path(name: str, strategy: str, server: Server | None, data_dir: DataDir) -> str:
    """Where Deployer makes a working copy, or releases, for a project of this name."""
    folder = _folder(name, strategy)
    return str(data_dir.checkouts / folder) if server is None else f"{SERVER_CHECKOUTS}/{folder}"


def _folder(name: str, strategy: str) -> str:
    """What was there before a project changed from one strategy to the other is not in the way."""
    return f"{name}.releases" if strategy == Strategy.RELEASE else name


def is_own(project: Project, data_dir: DataDir) -> bool:
    """Whether the working copy was made by Deployer in a folder of its own."""
    if project.server_id is None:
        return data_dir.owns(project.path)
    return project.path.startswith(f"{SERVER_CHECKOUTS}/")


def is_of_another_host(project: Project, path: str) -> bool:
    """Whether a path is the project's in the data folder of the host that it is on, which may lie elsewhere there."""
    return path == project.path and path.endswith(f"/checkouts/{_folder(project.name, project.strategy)}")


def refuse_shared(session: Session, project: Project) -> None:
    """Raises InvalidInput where another project of the same server, or of the same host, works in the same place."""
    is_there = Project.server_id.is_not_distinct_from(project.server_id)
    if project.server_id is None:
        is_there &= Project.host_id.is_not_distinct_from(project.host_id)
    with session.no_autoflush:
        others = session.execute(
            sa.select(Project.name, Project.path).where(Project.id != project.id, is_there)
        ).all()
    own = PurePosixPath(project.path)
    for name, path in others:
        if own.is_relative_to(path) or PurePosixPath(path).is_relative_to(own):
            raise InvalidInput(
                {"path": f"The project {name} already uses this directory, or one inside or around it."}
            )
