"""Pages of a list whose newest row comes first, and which stay where they are while new rows arrive.

A page is named by the row that it begins behind (keyset paging), never by a number of rows to skip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

M = TypeVar("M")
Key = tuple[Any, ...]
"""A row's place: the values of the columns that the list is sorted by."""


@dataclass(frozen=True)
class Place:
    """Where a page begins: with the rows older than ``before``, or with those newer than ``after``; neither is the
    first page."""

    before: Key | None = None
    after: Key | None = None


FIRST = Place()


@dataclass(frozen=True)
class Page(Generic[M]):
    """Rows, newest first. ``newer`` and ``older`` are the places of the neighbouring pages, where there are any."""

    rows: Sequence[M]
    is_first: bool
    newer: Place | None = None
    older: Place | None = None


def page(
    session: Session,
    wanted: sa.Select[M],
    columns: Sequence[sa.orm.InstrumentedAttribute[Any]],
    key_of: Callable[[M], Key],
    place: Place,
    limit: int,
) -> Page[M]:
    """The page at ``place`` of what is wanted, sorted by ``columns``, which together are unique."""
    if place.after is not None:
        newer = _rows(session, wanted.where(_beside(columns, place.after, is_newer=True)), columns, limit, asc=True)
        if len(newer) > limit:
            rows = newer[:limit][::-1]
            return Page(rows, False, Place(after=key_of(rows[0])), Place(before=key_of(rows[-1])))
        # What is left is less than a page: the first page shows all of it.
    if place.before is not None:
        wanted = wanted.where(_beside(columns, place.before, is_newer=False))
    found = _rows(session, wanted, columns, limit)
    rows = found[:limit]
    is_first = place.before is None
    return Page(
        rows,
        is_first,
        None if is_first else Place(after=key_of(rows[0])) if rows else FIRST,
        Place(before=key_of(rows[-1])) if len(found) > limit else None,
    )


def _beside(columns: Sequence[Any], key: Key, *, is_newer: bool) -> sa.ColumnElement[bool]:
    mine = sa.tuple_(*columns)
    given = sa.tuple_(*(sa.literal(value, column.type) for column, value in zip(columns, key, strict=True)))
    return mine > given if is_newer else mine < given


def _rows(
    session: Session, wanted: sa.Select[M], columns: Sequence[Any], limit: int, *, asc: bool = False
) -> Sequence[M]:
    """One more than a page holds, so that it is known whether there are more."""
    order = [column.asc() if asc else column.desc() for column in columns]
    return session.scalars(wanted.order_by(*order).limit(limit + 1)).all()


def count(session: Session, wanted: sa.Select[Any], limit: int) -> int:
    """How many rows are wanted; ``limit`` where they are that many or more."""
    counted = wanted.with_only_columns(sa.literal(1), maintain_column_froms=True).limit(limit).subquery()
    return session.scalar(sa.select(sa.func.count()).select_from(counted)) or 0
