"""Windows: the times of the week at which a project may be deployed, by the clocks of a time zone.

As text, one a line: ``Mon-Fri 09:00-17:00``, ``Sat,Sun 22:00-02:00`` (over midnight), ``daily 12:00-13:00``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MAX_LINES = 50

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LINE = re.compile(r"(?P<days>\S.*?)\s+(?P<start>[0-9]{1,2}:[0-9]{2})-(?P<end>[0-9]{1,2}:[0-9]{2})\Z")
_DAY_MINUTES = 24 * 60
_FORM = "Write a window as Mon-Fri 09:00-17:00, Sat,Sun 10:00-12:00 or daily 22:00-02:00, one a line."


@dataclass(frozen=True)
class Window:
    """``days`` count from Monday, which is 0; ``start`` and ``end`` are minutes of the day. An end that is not after
    the start is on the next day."""

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True)
class Windows:
    """All windows of a project; none: it may be deployed at any time."""

    windows: tuple[Window, ...]
    zone: str

    def is_open(self, at: datetime) -> bool:
        return not self.windows or any(begin <= at < end for begin, end in self._spans(at, range(-1, 1)))

    def opens_after(self, at: datetime) -> datetime | None:
        """When it opens next, in UTC; None where it is always open."""
        # Two weeks: one that lies in the hour that clocks leave out does not open then.
        spans = self._spans(at, range(16))
        return min((begin for begin, end in spans if at < begin < end), default=None)

    def _spans(self, at: datetime, days: range) -> Iterator[tuple[datetime, datetime]]:
        """The windows that begin on days around ``at``: 0 is its own. One of the day before may last until now."""
        today = at.astimezone(ZoneInfo(self.zone)).date()
        for offset in days:
            day = today + timedelta(days=offset)
            for one in self.windows:
                if day.weekday() in one.days:
                    last = day if one.end > one.start else day + timedelta(days=1)
                    yield self._at(day, one.start), self._at(last, one.end)

    def _at(self, day: date, minute: int) -> datetime:
        # 24:00 is the next day's beginning.
        day += timedelta(days=minute // _DAY_MINUTES)
        hours, minutes = divmod(minute % _DAY_MINUTES, 60)
        return datetime.combine(day, time(hours, minutes), ZoneInfo(self.zone)).astimezone(UTC)


def parse(text: str, zone: str) -> Windows:
    """Raises ValueError, which says in a sentence what is wrong. ``zone`` has passed `time_zones.problem`."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_LINES:
        raise ValueError(f"A project has at most {MAX_LINES} windows.")
    return Windows(tuple(_window(line) for line in lines), zone)


def _window(line: str) -> Window:
    # People type, and editors make, longer dashes.
    plain = re.sub(r"\s*[-\u2010-\u2015\u2212]\s*", "-", line)
    match = _LINE.match(re.sub(r"\s*,\s*", ",", plain))
    if not match:
        raise ValueError(f"'{line}' is not understood. {_FORM}")
    start, end = _minute(match["start"], line), _minute(match["end"], line)
    if start == _DAY_MINUTES:
        raise ValueError(f"'{line}' begins at 24:00: write 00:00 of the next day.")
    return Window(_days(match["days"], line), start, end)


def _days(text: str, line: str) -> frozenset[int]:
    if text.lower() in ("daily", "every day"):
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin = _day(first, line)
        end = _day(last, line) if dash else begin
        # Sat-Mon goes over the end of the week.
        found.update((begin + offset) % 7 for offset in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(word: str, line: str) -> int:
    # Whole names too: Monday.
    short = word.strip().lower()[:3]
    if short not in _DAYS or not word.strip().isalpha():
        raise ValueError(f"'{word}' in '{line}' is no day of the week. {_FORM}")
    return _DAYS.index(short)


def _minute(text: str, line: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError(f"{text} in '{line}' is no time of the day.")
    return hours * 60 + minutes
