"""Settings that are changed in the dashboard."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from deployer.errors import InvalidInput
from deployer.models.base import table_of
from deployer.models.setting import Setting

_PATH = "path"
_settings = table_of(Setting)
_SELECT = sa.select(_settings.c.value).where(_settings.c.name == sa.bindparam("name"))


def get(connection: sa.Connection, name: str) -> str | None:
    return connection.scalar(_SELECT, {"name": name})


def put(connection: sa.Connection, name: str, value: str | None) -> None:
    """Store a setting; None removes it."""
    connection.execute(_settings.delete().where(_settings.c.name == name))
    if value is not None:
        connection.execute(_settings.insert().values(name=name, value=value))


def extra_path(connection: sa.Connection) -> list[str]:
    """Folders that come before the system's in every command's PATH."""
    return (get(connection, _PATH) or "").splitlines()


def set_extra_path(connection: sa.Connection, entries: Sequence[str]) -> None:
    """Raises InvalidInput unless each entry is an absolute folder."""
    put(connection, _PATH, "\n".join(checked_path(entries)) or None)


def checked_path(entries: Sequence[str]) -> list[str]:
    """The entries without white space and empty lines. Raises InvalidInput unless each is an absolute folder."""
    cleaned = [entry.strip() for entry in entries if entry.strip()]
    for entry in cleaned:
        if not entry.startswith("/") or ":" in entry or not entry.isprintable():
            raise InvalidInput({"path": f"{entry}: give absolute folders, one per line, without colons."})
    return cleaned
