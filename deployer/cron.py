"""Cron expressions of five fields, as crontab(5) has them, in a time zone.

When one is next due is APScheduler's word (`CronTrigger`), which goes by the clocks on the wall: a time that a day
does not have, because clocks go forward, is due as much later (02:30 at 03:30), and one that a day has twice is due
twice. APScheduler counts weekdays from Monday and wants day and weekday to match both; crontab(5) counts from Sunday,
and where both are restricted either is enough. Here it is as in crontab(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

MAX_LENGTH = 200
NEVER_AFTER = timedelta(days=9 * 366)
"""What is not due within so long never is: a 29th of February comes after eight years at the latest."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_NAMES = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NUMBER = re.compile(r"[0-9]{1,2}\Z")


@dataclass(frozen=True)
class _Field:
    """One of the five: its name for people, its least and greatest number, and names of numbers from ``least`` on."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> frozenset[int]:
        """The numbers that a list such as ``1,10-20/5`` stands for. Raises ValueError."""
        found: set[int] = set()
        for part in text.split(","):
            span, slash, step_text = part.partition("/")
            step = self._number(step_text, text) if slash else 1
            if step < 1:
                raise ValueError(f"The {self.name}: '{text}' goes on by 0.")
            if span == "*":
                first, last = self.least, self.most
            elif "-" in span:
                first, last = (self._value(one, text) for one in span.split("-", 1))
            else:
                first = self._value(span, text)
                last = self.most if slash else first
            if first > last:
                raise ValueError(f"The {self.name}: '{text}' goes backwards.")
            found.update(range(first, last + 1, step))
        return frozenset(found)

    def _value(self, word: str, text: str) -> int:
        if word.lower() in self.names:
            return self.least + self.names.index(word.lower())
        value = self._number(word, text)
        if not self.least <= value <= self.most:
            raise ValueError(f"The {self.name} is from {self.least} to {self.most}, but '{text}' says {value}.")
        return value

    def _number(self, word: str, text: str) -> int:
        if not _NUMBER.match(word):
            raise ValueError(
                f"The {self.name}: '{text}' is not understood; give numbers such as *, 5, 1-5, 1,3 or */2."
            )
        return int(word)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """An expression that was read. Weekdays count from Sunday, which is 0."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def is_by_either_day(self) -> bool:
        """Whether either day, of month or week, is enough: crontab(5), where neither begins with a star."""
        _, _, day, _, weekday = self.text.split()
        return not day.startswith("*") and not weekday.startswith("*")

    def next_after(self, moment: datetime, zone: str) -> datetime | None:
        """When it is due next after ``moment``, in UTC; None where it never is (the 31st of February)."""
        after = (moment + timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
        found = [one.get_next_fire_time(None, after) for one in self._triggers(zone, after + NEVER_AFTER)]
        return min((one.astimezone(UTC) for one in found if one is not None), default=None)

    def last_until(self, moment: datetime, zone: str, not_before: datetime) -> datetime:
        """When it was due last until ``moment``. It is known to have been at ``not_before``."""
        span = timedelta(hours=1)
        found = not_before
        while moment - span > not_before:
            begun = self.next_after(moment - span, zone)
            if begun is not None and begun <= moment:
                found = begun
                break
            span *= 2
        while (later := self.next_after(found, zone)) is not None and later <= moment:
            found = later
        return found

    def _triggers(self, zone: str, end: datetime) -> list[CronTrigger]:
        # Imported here: the web process asks seldom, and needs no more of APScheduler than this.
        from apscheduler.triggers.cron import CronTrigger

        def trigger(days: frozenset[int], weekdays: frozenset[int]) -> CronTrigger:
            return CronTrigger(
                month=_listed(self.months),
                day=_listed(days),
                day_of_week=",".join(_DAYS[day] for day in sorted(weekdays)),
                hour=_listed(self.hours),
                minute=_listed(self.minutes),
                second=0,
                end_date=end,
                timezone=ZoneInfo(zone),
            )

        if self.is_by_either_day:
            return [trigger(self.days, _EVERY_WEEKDAY), trigger(_EVERY_DAY, self.weekdays)]
        return [trigger(self.days, self.weekdays)]

    def in_words(self) -> str:
        """The expression in plain words; empty for an uncommon one, which its next times tell better."""
        when = self._time_in_words()
        day = self._day_in_words()
        if not when or not day or self.months != frozenset(range(1, 13)):
            return ""
        return when if day == "every day" and not when.startswith("at ") else f"{day} {when}"

    def _time_in_words(self) -> str:
        minute, hour, *_ = self.text.split()
        if len(self.minutes) == 1 and len(self.hours) <= 4:
            times = [f"{one:02d}:{min(self.minutes):02d}" for one in sorted(self.hours)]
            return f"at {_and(times)}"
        if hour == "*" and minute.isdigit():
            return "every hour" if int(minute) == 0 else f"every hour at minute {int(minute)}"
        if hour == "*" and minute == "*":
            return "every minute"
        if hour == "*" and re.fullmatch(r"\*/[0-9]+", minute) and 60 % int(minute[2:]) == 0:
            return f"every {int(minute[2:])} minutes"
        return ""

    def _day_in_words(self) -> str:
        any_day, any_weekday = self.days == _EVERY_DAY, self.weekdays == _EVERY_WEEKDAY
        if self.is_by_either_day:
            return ""
        if any_day and any_weekday:
            return "every day"
        if any_day and self.weekdays == frozenset(range(1, 6)):
            return "Monday to Friday"
        if any_day:
            # Weeks of people begin on Monday.
            return "every " + _and([_DAY_NAMES[day] for day in sorted(self.weekdays, key=lambda day: (day - 1) % 7)])
        if any_weekday and len(self.days) == 1:
            return f"on day {min(self.days)} of every month"
        return ""


_EVERY_DAY = frozenset(range(1, 32))
_EVERY_WEEKDAY = frozenset(range(7))


def parse(expression: str) -> Cron:
    """Raises ValueError, which says in a sentence what is wrong."""
    words = expression.split()
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"An expression has at most {MAX_LENGTH} characters.")
    if len(words) != len(_FIELDS):
        raise ValueError(
            "Give five fields: minute, hour, day of the month, month and day of the week. "
            "0 3 * * * is every night at 3."
        )
    minutes, hours, days, months, weekdays = (field.parse(word) for field, word in zip(_FIELDS, words, strict=True))
    # Sunday is 0 and 7.
    cron = Cron(" ".join(words), minutes, hours, days, months, frozenset(day % 7 for day in weekdays))
    if cron.next_after(datetime(2024, 1, 1, tzinfo=UTC), "UTC") is None:
        raise ValueError("This is never due: no such day is in these months.")
    return cron


def _listed(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
