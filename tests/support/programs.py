"""Programs of the host that a test needs: found, or the test is skipped (or fails, where all of them have to be)."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Its path."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
            pytest.fail(f"{name} is not installed (tests/parts.sh)")
        pytest.skip(f"{name} is not installed (tests/parts.sh)")
    return path
