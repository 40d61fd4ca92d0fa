"""The scene of a promise, as the long form has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos import scene
from tests.chaos.scene import Scene
from tests.support.ssh_server import require_sshd


@pytest.fixture
def made(tmp_path: Path, place: str) -> Iterator[Scene]:
    """Steps run ``here`` or ``there``, as the test's ``place`` says."""
    if place == "there":
        require_sshd()
    with scene.at(place, tmp_path / "scene") as made:
        yield made
