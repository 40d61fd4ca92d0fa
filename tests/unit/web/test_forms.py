"""What a person types into a project's form, and what is read from it."""

from __future__ import annotations

import pytest
from werkzeug.datastructures import MultiDict

from deployer.errors import InvalidInput
from deployer.web import forms


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


def test_empty_rows_are_left_out_and_do_not_count():
    form = MultiDict([("step_command", "one"), ("step_command", " "), ("step_command", ""), ("name", "app")])
    for _ in range(3):
        form.add("step_name", "")
        form.add("step_timeout", "")

    assert [step.command for step in forms.project_input(form).steps] == ["one"]


def test_a_row_without_a_command_is_named_by_its_number_among_the_filled():
    form = MultiDict([("step_command", ""), ("step_command", ""), ("step_name", ""), ("step_name", "only a name")])
    form.setlist("step_timeout", ["", ""])

    with pytest.raises(InvalidInput, match="Step 1: give a command"):
        forms.project_input(form)


def test_an_empty_form_is_an_empty_project():
    wanted = forms.project_input(MultiDict())

    assert (wanted.name, wanted.repository_url, wanted.branch, list(wanted.steps)) == ("", "", "", [])
    assert (wanted.auto_deploy, wanted.cancel_running) == (False, False)
