"""Scratch folders: each is held by whoever works in it, so that one that was left behind is told from one in use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(where: Path, prefix: str) -> Iterator[Path]:
    """A new folder (0700) in ``where``, which is gone at the end. Raises OSError."""
    fd = None
    while fd is None:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        # Who looks for what was left behind may have come between: then the next one.
        fd = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def remove(path: Path) -> None:
    """Remove what lies there, with all that is in it, unless somebody holds it or it is another user's."""
    with contextlib.suppress(OSError):
        if path.lstat().st_uid != os.getuid():
            return
        if not path.is_dir() or path.is_symlink():
            path.unlink()
            return
        fd = _hold(path)
        if fd is not None:
            try:
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)


def _hold(folder: Path) -> int | None:
    """The descriptor that holds a folder until it is closed, or its process ends; None where somebody else holds it,
    or it is gone."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(folder, follow_symlinks=False)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(fd)
        raise
    os.close(fd)
    return None
