"""``python -m deployer.migrations.upgrade``: bring the database whose URL comes on stdin to the newest revision."""

from __future__ import annotations

import sys

from alembic import command

from deployer.migrations import settings

if __name__ == "__main__":
    command.upgrade(settings(sys.stdin.read().strip()), "head")
