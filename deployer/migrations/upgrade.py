"""``python -m deployer.migrations.upgrade DATABASE``: bring a database to the newest revision."""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command

from deployer.migrations import settings

if __name__ == "__main__":
    command.upgrade(settings(Path(sys.argv[1])), "head")
