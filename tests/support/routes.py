"""The addresses that the application knows, and those that are open to strangers."""

from __future__ import annotations

import functools
import tempfile

from werkzeug.routing import Rule

from deployer.application import create_app
from deployer.config import Config, StorageSettings
from deployer.installation import Installation

OPEN = {"/login", "/login/code", "/setup", "/join", "/health", "/static/<path:filename>"}
"""What a stranger may ask for. A view that is added elsewhere must refuse them."""


@functools.cache
def rules() -> list[Rule]:
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation.open(Config(storage=StorageSettings(f"{folder}/data")))
        found = list(create_app(installation).url_map.iter_rules())
        installation.database.dispose()
    return found


def addresses() -> list[tuple[str, str]]:
    """Every method and address."""
    return [(method, rule.rule) for rule in rules() for method in sorted(rule.methods or ())]
