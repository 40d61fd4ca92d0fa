"""What a person types into a project's form, and what is read from it."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from deployer.web import forms
from deployer.web.forms import StepRow


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("  ", None), ("90", 90), ("90s", 90), (" 90 S ", 90), ("10 min", 600), ("10m", 600), ("1h", 3600)],
)
def test_a_duration_is_read(text, seconds):
    assert forms.duration(text) == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "1.5 h", "1 d", "99999999", "1 h 5 min", "²"])
def test_a_duration_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError):
        forms.duration(text)


@pytest.mark.parametrize("seconds", [1, 59, 60, 90, 600, 3600, 5400, 86400])
def test_a_duration_that_is_shown_reads_back_as_it_was(seconds):
    assert forms.duration(forms.duration_text(seconds)) == seconds


def form_of(*rows: tuple[str, str, str]) -> MultiDict[str, str]:
    pairs = [pair for row in rows for pair in zip(("step_command", "step_name", "step_timeout"), row, strict=True)]
    return MultiDict(pairs)


def test_rows_are_read_in_their_order_with_what_belongs_together():
    rows = forms.step_rows(form_of(("one", "first", "1 min"), ("two", "", "")))

    assert rows == [StepRow("one", "first", "1 min"), StepRow("two")]


def test_rows_in_which_nothing_was_entered_are_left_out():
    rows = forms.step_rows(form_of(("", "", ""), ("one", "", ""), (" ", "\t", ""), ("", "only a name", "")))

    assert forms.filled(rows) == [StepRow("one"), StepRow("", "only a name")]


def test_a_form_without_rows_has_none():
    assert forms.step_rows(MultiDict()) == []


def test_a_form_that_knows_nothing_of_retries_is_read_as_well():
    rows = forms.step_rows(MultiDict([("step_command", "one"), ("step_command", "two"), ("step_retries", "3")]))

    assert rows == [StepRow("one", retries="3"), StepRow("two")]
