"""Counters: numbers of what is not worth a row each time it happens."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from deployer.models.base import table_of
from deployer.models.delivery import Counter

_counters = table_of(Counter)


def add(connection: sa.Connection, name: str, by: int) -> None:
    """Add to the counter of that name, which begins at 0."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(_counters).values(name=name, value=by)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[_counters.c.name], set_={"value": _counters.c.value + statement.excluded.value}
        )
    )
