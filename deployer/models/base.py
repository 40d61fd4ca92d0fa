"""What all tables share: the declarative base, naming of constraints, and the type of a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase


class Moment(sa.types.TypeDecorator[datetime]):
    """A moment in UTC, stored as whole milliseconds since 1970: it sorts, indexes and compares as a number."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        if value is None:
            return None
        # Rounded: the float of a moment cut to milliseconds may lie a hair below it.
        return round(value.timestamp() * 1000)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


class Base(DeclarativeBase):
    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment}  # noqa: RUF012 (SQLAlchemy's own name and shape)


def table_of(model: type[Base]) -> sa.Table:
    """A model's table, for statements that need no objects."""
    table = model.__table__
    assert isinstance(table, sa.Table)
    return table


def partial(condition: str) -> dict[str, Any]:
    """Arguments of an index over the rows that meet ``condition`` (SQL), for either database."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
