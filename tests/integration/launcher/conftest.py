"""A launching under each shell that is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.launching import SHELLS, Launching, available_shells


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    found = available_shells()
    if request.param not in found:
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
            pytest.fail(f"{request.param} is required, but not installed")
        pytest.skip(f"{request.param} is not installed")
    return found[request.param]


@pytest.fixture
def make_launching(tmp_path: Path, shell: list[str]) -> Iterator[Callable[..., Launching]]:
    made: list[Launching] = []

    def make(name: str = "run", folder: Path | None = None) -> Launching:
        made.append(Launching(folder or tmp_path, shell, name))
        return made[-1]

    yield make
    for launching in made:
        launching.close()


@pytest.fixture
def launching(make_launching: Callable[..., Launching]) -> Launching:
    return make_launching()
