"""Programs of the host that a test needs: found, or the test is skipped (or fails, where all of them have to be)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def program(name: str) -> str:
    """Its path."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    return path or _missing(name)


def postgresql() -> Path:
    """The folder of the newest PostgreSQL's programs, which Debian keeps out of the PATH."""
    versions = Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")
    newest = max(versions, key=lambda path: int(path.parts[-3]), default=None)
    return newest.parent if newest else _missing("PostgreSQL")


def _missing(name: str) -> NoReturn:
    if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
        pytest.fail(f"{name} is not installed (tests/parts.sh)")
    pytest.skip(f"{name} is not installed (tests/parts.sh)")
