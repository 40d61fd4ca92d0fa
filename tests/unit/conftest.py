"""Projects of a repository that nobody fetches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployer.models import Project
from tests.support.operator import Operator


@pytest.fixture
def make_project(operator: Operator) -> Callable[..., Project]:
    """A project: ``make_project("step", "step", name=…, …)``."""

    def make(*steps: Any, url: str = "https://git.example.com/app.git", **given: Any) -> Project:
        return operator.make_project(url, steps or ("true",), **given)

    return make
