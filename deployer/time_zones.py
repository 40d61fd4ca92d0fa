"""Time zones by their names in the world's table of them (IANA): ``Europe/Berlin``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MAX_NAME = 64

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*\Z")
_NOT_A_ZONE = ("posix/", "right/")


def problem(name: str) -> str | None:
    """Why ``name`` is no time zone, in words; None if it is one."""
    if not name:
        return "give a time zone, for example Europe/Berlin or UTC"
    if len(name) > MAX_NAME or not _NAME.match(name) or name.startswith(_NOT_A_ZONE):
        return "this is no name of a time zone; give one such as Europe/Berlin or UTC"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: a folder of the table, such as Europe.
        return f"there is no time zone {name}; give one such as Europe/Berlin or UTC"
    return None


def words(moment: datetime, zone: str, now: datetime) -> str:
    """A moment near ``now`` on the zone's clocks, as people say it: ``Mon 09:00``, or with its date where it is more
    than six days away."""
    local, today = moment.astimezone(ZoneInfo(zone)), now.astimezone(ZoneInfo(zone)).date()
    if abs((local.date() - today).days) <= 6:
        return f"{_DAYS[local.weekday()]} {local:%H:%M}"
    return with_date(moment, zone)


def with_date(moment: datetime, zone: str) -> str:
    """A moment on the zone's clocks: ``Mon 2026-11-23 03:00``. In UTC, which it then says, where this host does not
    know the zone any more."""
    is_known = problem(zone) is None
    local = moment.astimezone(ZoneInfo(zone) if is_known else UTC)
    return f"{_DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}{'' if is_known else ' UTC'}"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
