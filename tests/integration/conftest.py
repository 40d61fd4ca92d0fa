"""Parts of the host that several of these tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with disk.small(tmp_path / "disk", "1m") as place:
        yield place


@pytest.fixture
def roomy_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB: a data folder has room on it."""
    with disk.small(tmp_path / "roomy", "8m") as place:
        yield place


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[disk.FailingDisk]:
    """A disk that turns read-only when it is told to."""
    with disk.failing(tmp_path / "failing", tmp_path / "failing.img") as made:
        yield made
