"""What the commands share: the configuration and the installation, loaded when they are needed."""

from __future__ import annotations

import functools
import getpass
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from deployer import config_file
from deployer.config import Config

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from deployer.installation import Installation


class Context:
    def __init__(self, config_file: Path | None) -> None:
        self._config_file = config_file

    @functools.cached_property
    def config(self) -> Config:
        return config_file.load(self._config_file)

    @functools.cached_property
    def installation(self) -> Installation:
        from deployer.installation import Installation

        return Installation.open(self.config)

    @property
    def actor(self) -> str:
        """Who acts, as deployments record it."""
        try:
            return f"{getpass.getuser()} (command line)"
        except (KeyError, OSError):
            return "command line"

    def changing(self, action: str, subject: str = "", detail: str | None = None) -> AbstractContextManager[Session]:
        """A write transaction for what the command asks for, noted in the audit log."""
        from deployer import audit

        return audit.changing(self.installation.database, audit.Actor(self.actor), action, subject, detail)
