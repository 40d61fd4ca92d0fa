"""Cron expressions: what they mean, when they are due, and what people are told of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer import cron, time_zones

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(expression: str, after: str, count: int, zone: str = BERLIN) -> list[str]:
    """When it is due after a moment in UTC, in UTC."""
    found, moment = [], at(after)
    for _ in range(count):
        moment = cron.parse(expression).next_after(moment, zone)
        found.append(moment.strftime("%m-%d %H:%M"))
    return found


def test_every_night_at_3_is_at_3_by_the_clocks_of_its_zone_in_summer_and_winter():
    assert times("0 3 * * *", "2026-03-27T12:00", 3) == ["03-28 02:00", "03-29 01:00", "03-30 01:00"]
    assert times("0 3 * * *", "2026-10-23T12:00", 3) == ["10-24 01:00", "10-25 02:00", "10-26 02:00"]


def test_a_time_that_a_day_does_not_have_is_due_an_hour_later_and_one_that_it_has_twice_is_due_twice():
    assert times("30 2 * * *", "2026-03-28T12:00", 2) == ["03-29 01:30", "03-30 00:30"]
    assert times("30 2 * * *", "2026-10-24T12:00", 3) == ["10-25 00:30", "10-25 01:30", "10-26 01:30"]


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        # Sunday is 0 and 7, Monday is 1.
        ("0 0 * * 0", ["10-25 00:00", "11-01 00:00"]),
        ("0 0 * * 7", ["10-25 00:00", "11-01 00:00"]),
        ("0 0 * * 1", ["10-26 00:00", "11-02 00:00"]),
        ("0 0 * * 5-7", ["10-23 00:00", "10-24 00:00", "10-25 00:00"]),
        ("0 0 * * sat,SUN", ["10-24 00:00", "10-25 00:00"]),
        ("*/20 6-7 * * *", ["10-23 06:00", "10-23 06:20", "10-23 06:40", "10-23 07:00"]),
        ("5/25 6 * * *", ["10-23 06:05", "10-23 06:30", "10-23 06:55"]),
        ("0 0 1 jan,MAR *", ["01-01 00:00", "03-01 00:00"]),
        # Where both days are restricted either is enough (crontab(5)).
        ("0 0 1 * 1", ["10-26 00:00", "11-01 00:00", "11-02 00:00"]),
        ("0 0 */31 * 1", ["02-01 00:00"]),
        ("0 0 29 2 *", ["02-29 00:00"]),
    ],
)
def test_an_expression_means_what_crontab_says(expression, due):
    assert times(expression, "2026-10-22T12:00", len(due), "UTC") == due


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 3 * * *", "every day at 03:00"),
        ("0 9,17 * * 1-5", "Monday to Friday at 09:00 and 17:00"),
        ("15 22 * * 0,6", "every Saturday and Sunday at 22:15"),
        ("30 4 1 * *", "on day 1 of every month at 04:30"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "every hour at minute 15"),
        ("*/5 * * * *", "every 5 minutes"),
        ("* * * * *", "every minute"),
        ("*/5 * * * 1-5", "Monday to Friday every 5 minutes"),
        # Uncommon ones are told by their next times.
        ("*/7 * * * *", ""),
        ("0 0 1 * 1", ""),
        ("0 3 * 6 *", ""),
        ("1,2 3 * * *", ""),
        ("0 3 1,15 * *", ""),
    ],
)
def test_common_expressions_are_told_in_plain_words(expression, words):
    assert cron.parse(expression).in_words() == words


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "Give five fields"),
        ("0 3 * *", "Give five fields"),
        ("0 0 3 * * *", "Give five fields"),
        ("@daily", "Give five fields"),
        ("60 * * * *", "The minute is from 0 to 59, but '60' says 60."),
        ("0 24 * * *", "The hour is from 0 to 23"),
        ("0 0 0 * *", "The day of the month is from 1 to 31"),
        ("0 0 * 13 *", "The month is from 1 to 12"),
        ("0 0 * * 8", "The day of the week is from 0 to 7"),
        ("0 0 * * mondy", "The day of the week: 'mondy' is not understood"),
        ("5-1 * * * *", "The minute: '5-1' goes backwards."),
        ("*/0 * * * *", "The minute: '*/0' goes on by 0."),
        ("1, * * * *", "is not understood"),
        ("-5 * * * *", "is not understood"),
        ("1--5 * * * *", "is not understood"),
        ("٣ * * * *", "is not understood"),
        ("0 0 31 2 *", "This is never due"),
        ("0 0 " + "1," * 200 + "1 * *", "at most 200 characters"),
    ],
)
def test_what_is_no_expression_is_refused_in_words(expression, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        cron.parse(expression)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["0 3 * * *", "*/15 * * * *", "30 2 * * 0", "0 0 1 * *"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    st.integers(0, 60 * 24 * 40),
)
def test_the_last_time_before_a_moment_is_the_one_after_which_none_comes_until_then(expression, then, minutes):
    read, now = cron.parse(expression), then.replace(tzinfo=UTC)
    first = read.next_after(now - timedelta(minutes=minutes), BERLIN)
    if first > now:
        return

    last = read.last_until(now, BERLIN, first)

    assert first <= last <= now < read.next_after(last, BERLIN)


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_time_zone_is_taken(name):
    assert time_zones.problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "Berlin", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\n", "UTC ", "right/UTC", "x" * 99],
)
def test_what_is_no_time_zone_is_refused(name):
    assert time_zones.problem(name)
