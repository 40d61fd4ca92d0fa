"""Projects of a repository that nobody fetches, and changes without a process around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deployer.installation import Installation
from deployer.models import Project
from tests.support.operator import Operator


@pytest.fixture
def make_project(operator: Operator) -> Callable[..., Project]:
    """A project: ``make_project("step", "step", name=…, …)``."""

    def make(*steps: Any, url: str = "https://git.example.com/app.git", **given: Any) -> Project:
        return operator.make_project(url, steps or ("true",), **given)

    return make


@pytest.fixture
def write(installation: Installation) -> Callable[..., Any]:
    """Call a function with a write transaction's connection first."""

    def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with installation.database.write() as connection:
            return function(connection, *arguments, **named)

    return call
