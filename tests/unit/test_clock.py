"""Time and identity."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import clock
from deployer.models.base import Moment


def test_now_is_aware_in_utc_and_cut_to_milliseconds():
    moment = clock.now()

    assert moment.tzinfo is UTC
    assert moment.microsecond % 1000 == 0
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 1, 15, 10, 30, tzinfo=UTC), "2025-01-15T10:30:00.000Z"),
        (datetime(2025, 1, 15, 10, 30, 59, 999999, tzinfo=UTC), "2025-01-15T10:30:59.999Z"),
        (datetime(2025, 1, 15, 10, 30, 0, 7000, tzinfo=timezone(timedelta(hours=2))), "2025-01-15T08:30:00.007Z"),
        (None, None),
    ],
)
def test_a_moment_is_written_in_utc_with_milliseconds(moment, text):
    assert clock.iso(moment) == text


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_a_moment_comes_back_from_the_database_as_it_went(naive):
    moment = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)

    stored = Moment().process_bind_param(moment, None)

    assert Moment().process_result_value(stored, None) == moment


def test_ids_are_uuids_of_version_seven_that_sort_by_time():
    before = clock.new_id()
    deadline = clock.now()
    while clock.now() <= deadline:
        pass
    after = clock.new_id()

    assert before < after
    for text in (before, after):
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, text)


def test_ids_do_not_repeat():
    assert len({clock.new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "40 ms"),
        (0.4, "400 ms"),
        (0.9996, "1 s"),
        (1.44, "1.4 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (90000, "25 h"),
    ],
)
def test_a_duration_is_said_in_words(seconds, words):
    assert clock.duration_words(seconds) == words
