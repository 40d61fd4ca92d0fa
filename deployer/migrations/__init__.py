"""The schema's history (Alembic), applied at start.

A revision's id is the number its file begins with, so that whether a database is behind can be told without loading
Alembic.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.errors import ConfigError

if TYPE_CHECKING:
    from alembic.config import Config

_HERE = Path(__file__).parent


def head() -> str:
    """The newest revision."""
    return max(path.name[:4] for path in (_HERE / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def is_behind(path: Path) -> bool:
    """Whether the database is missing or older than this program. Raises ConfigError where it is newer."""
    if not path.exists():
        return True
    connection = sqlite3.connect(path)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return True
        raise ConfigError(f"The database {path} cannot be opened: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"The database {path} is damaged: {error}.", hint="Restore it from a backup.") from error
    finally:
        connection.close()
    if row and row[0] > head():
        raise ConfigError(
            f"The database {path} was made by a newer version of Deployer (schema {row[0]}).",
            hint="Install that version again, or restore a backup.",
        )
    return not row or row[0] < head()


def upgrade(path: Path) -> None:
    """Bring the database at ``path`` to the newest revision. The caller holds the lock.

    In a process of its own: Alembic takes memory that a daemon would keep for its whole life. Raises ConfigError.
    """
    root = _HERE.parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "deployer.migrations.upgrade", str(path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(f"The database {path} could not be brought up to date: {done.stderr.strip()[-2000:]}")


def settings(path: Path) -> Config:
    """Alembic's configuration for the database at ``path``."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["database_path"] = path
    return config
