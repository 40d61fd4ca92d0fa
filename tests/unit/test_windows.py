"""Windows: the times of the week at which a project may be deployed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer import windows

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    """A moment in UTC; 2026-11-23 is a Monday, and Berlin is an hour ahead."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment", "is_open"),
    [
        ("Mon-Fri 09:00-17:00", "2026-11-23T08:00", True),
        ("Mon-Fri 09:00-17:00", "2026-11-23T07:59:59.999", False),
        ("Mon-Fri 09:00-17:00", "2026-11-23T15:59", True),
        ("Mon-Fri 09:00-17:00", "2026-11-23T16:00", False),
        ("Mon-Fri 09:00-17:00", "2026-11-28T12:00", False),
        ("Sat,Sun 22:00-02:00", "2026-11-30T00:30", True),
        ("Sat,Sun 22:00-02:00", "2026-11-30T01:00", False),
        ("Sat-Mon 10:00-11:00", "2026-11-29T09:30", True),
        ("daily 20:00-24:00", "2026-11-23T22:59", True),
        ("daily 20:00-24:00", "2026-11-23T23:00", False),
        ("daily 00:00-00:00", "2026-11-23T23:00", True),
        ("monday 9:00-10:00\n\n tue 9:00 – 10:00 \n", "2026-11-24T08:30", True),
        ("Mon–Fri 09:00–17:00", "2026-11-23T08:00", True),
        ("", "2026-11-23T08:00", True),
    ],
)
def test_a_window_is_open_by_the_clocks_of_its_zone(text, moment, is_open):
    assert windows.parse(text, BERLIN).is_open(at(moment)) is is_open


def test_the_next_opening_is_told_over_the_weekend_and_over_a_change_of_the_clocks():
    week = windows.parse("Mon-Fri 09:00-17:00", BERLIN)

    assert week.opens_after(at("2026-11-27T16:00")) == at("2026-11-30T08:00")
    assert week.opens_after(at("2026-10-23T16:00")) == at("2026-10-26T08:00")
    assert week.opens_after(at("2026-10-22T16:00")) == at("2026-10-23T07:00")
    assert windows.parse("", BERLIN).opens_after(at("2026-11-27T16:00")) is None


def test_a_window_in_the_hour_that_the_clocks_leave_out_opens_a_week_later():
    hour = windows.parse("Sun 02:00-03:00", BERLIN)

    assert hour.opens_after(at("2026-03-24T12:00")) == at("2026-04-05T00:00")
    assert not hour.is_open(at("2026-03-29T01:00"))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(
        ["Mon-Fri 09:00-17:00", "Sun 02:00-03:30", "daily 23:00-01:00", "Sat 22:00-02:00\nWed 1:00-2:00"]
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_what_is_closed_is_closed_until_the_next_opening_and_open_from_then_on(text, moment):
    found, now = windows.parse(text, BERLIN), moment.replace(tzinfo=UTC)
    opens_at = found.opens_after(now)

    assert found.is_open(opens_at)
    if not found.is_open(now):
        assert not found.is_open(opens_at - timedelta(seconds=1))
        assert not found.is_open(now + (opens_at - now) / 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("always", "'always' is not understood. Write a window as Mon-Fri 09:00-17:00"),
        ("Mon 09:00", "'Mon 09:00' is not understood"),
        ("Mon-Foo 09:00-17:00", "'Foo' in 'Mon-Foo 09:00-17:00' is no day of the week"),
        ("Mon,,Tue 09:00-17:00", "is no day of the week"),
        ("Mon 09:60-17:00", "09:60 in 'Mon 09:60-17:00' is no time of the day."),
        ("Mon 09:00-25:00", "25:00"),
        ("Mon 24:00-02:00", "begins at 24:00"),
        ("\n".join(["Mon 09:00-17:00"] * 51), "at most 50 windows"),
    ],
)
def test_what_is_no_window_is_refused_in_words(text, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        windows.parse(text, BERLIN)
