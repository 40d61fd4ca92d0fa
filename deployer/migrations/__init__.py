"""The schema's history (Alembic), applied at start.

A revision's id is the number its file begins with, so that whether a database is behind can be told without loading
Alembic.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from deployer.config import Config
from deployer.db import reason
from deployer.errors import ConfigError

if TYPE_CHECKING:
    import alembic.config

_HERE = Path(__file__).parent


def head() -> str:
    """The newest revision."""
    return max(path.name[:4] for path in (_HERE / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def is_behind(config: Config) -> bool:
    """Whether the database is missing or older than this program.

    Raises ConfigError where it is newer, or cannot be opened.
    """
    if not config.has_shared_database and not config.database_path.exists():
        return True
    name = config.database_name
    try:
        present = _revision(config)
    except DBAPIError as error:
        if type(error.orig).__name__ == "DatabaseError":
            # SQLite's word for a file that is none of its own.
            raise ConfigError(
                f"{name} is damaged: {reason(error.orig)}.", hint="Restore it from a backup."
            ) from error
        hint = "Start its server, or correct storage.database_url." if config.has_shared_database else ""
        raise ConfigError(f"{name} cannot be opened: {reason(error.orig)}.", hint=hint) from error
    if present and present > head():
        raise ConfigError(
            f"{name} was made by a newer version of Deployer (schema {present}).",
            hint="Install that version again, or restore a backup.",
        )
    return not present or present < head()


def _revision(config: Config) -> str | None:
    """The database's revision; None where it has no tables yet."""
    engine = sa.create_engine(config.database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def upgrade(config: Config) -> None:
    """Bring the database to the newest revision. The caller holds the lock.

    In a process of its own: Alembic takes memory that a daemon would keep for its whole life. Raises ConfigError.
    """
    done = subprocess.run(
        [sys.executable, "-m", "deployer.migrations.upgrade"],
        cwd=_HERE.parent.parent,
        # Not as an argument, which every user could see: it may hold a password.
        input=config.database_url,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"{config.database_name} could not be brought up to date: {done.stderr.strip()[-2000:]}")


def settings(url: str) -> alembic.config.Config:
    """Alembic's configuration for the database at ``url``."""
    import alembic.config

    config = alembic.config.Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["database_url"] = url
    return config
