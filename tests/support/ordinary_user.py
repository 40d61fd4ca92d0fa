"""An ordinary user of this host, with a home of their own and a login shell that talks too much."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOISE = 'echo "Welcome to this server!"; echo "a warning" >&2; printf "no newline at the end"\n'


_numbers = itertools.count(1)


@dataclass(frozen=True)
class OrdinaryUser:
    """``name`` is None where the tests run as an ordinary user; ``home`` then stands in for the real one."""

    name: str | None
    home: Path
    folder: Path

    def owns_folder(self, name: str) -> Path:
        """A folder in the user's home."""
        folder = self.home / name
        folder.mkdir()
        return self.owns(folder)

    def owns(self, path: Path) -> Path:
        """Give the user a path."""
        if self.name:
            shutil.chown(path, self.name)
        return path


@contextmanager
def ordinary_user() -> Iterator[OrdinaryUser]:
    # Not below pytest's own folder, which nobody else may enter.
    folder = Path(tempfile.mkdtemp(prefix="deployer-user-"))
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    (home / ".bashrc").write_text(NOISE)
    (home / ".profile").write_text(NOISE)
    name = f"deployer-t{os.getpid()}-{next(_numbers)}" if os.getuid() == 0 else None
    if name:
        # An asterisk is no password, but does not lock the account either.
        argv = [
            "useradd",
            "--no-create-home",
            "--home-dir",
            str(home),
            "--shell",
            "/bin/bash",
            "--password",
            "*",
            name,
        ]
        subprocess.run(argv, check=True)
    user = OrdinaryUser(name, home, folder)
    for path in (home, home / ".bashrc", home / ".profile"):
        user.owns(path)
    try:
        yield user
    finally:
        if name:
            subprocess.run(["pkill", "-KILL", "-u", name], check=False)
            subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def who(user: OrdinaryUser) -> str:
    return user.name or getpass.getuser()
