"""Settings: the PATH that commands get, and one's own password."""

from __future__ import annotations

import itertools

import pytest

from tests.support.browser import Browser
from tests.support.standing import PASSWORD, logged_in, make_user

NEW = "battery staple horse"
_numbers = itertools.count(1)


def test_the_path_reaches_a_steps_environment_ahead_of_the_systems(member, operator, make_project, tmp_path):
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "greet"
    tool.write_text("#!/bin/sh\necho found by PATH\n")
    tool.chmod(0o755)
    try:
        answer = member.post("/settings/path", {"path": f"  {tmp_path}/bin \r\n\r\n/opt/other"})
        assert (answer.status, answer.location) == (302, "/settings")
        assert member.get("/settings").page.value("path") == f"{tmp_path}/bin\n/opt/other"

        deployment = operator.wait_for_end(operator.deploy(make_project("greet; echo $PATH")))
    finally:
        member.post("/settings/path", {"path": ""})

    said = operator.step_output(deployment.id).decode()
    assert said.startswith(f"found by PATH\n{tmp_path}/bin:/opt/other:/")
    assert member.get("/settings").page.value("path") == ""


@pytest.mark.parametrize("entry", ["bin", "/a:/b", "~/bin", "$HOME/bin"])
def test_an_entry_that_is_no_absolute_folder_is_refused_at_the_field(member, entry):
    answer = member.post("/settings/path", {"path": f"/usr/local/bin\n{entry}"})

    assert answer.status == 400
    assert answer.page.error_at("path").startswith(f"{entry}: give absolute folders")
    assert answer.page.value("path") == f"/usr/local/bin\n{entry}"
    assert member.get("/settings").page.value("path") == ""


@pytest.fixture
def account(daemon) -> str:
    name = f"person-{next(_numbers)}"
    make_user(daemon, name)
    return name


def change(browser, present: str = PASSWORD, new: str = NEW, again: str | None = None):
    fields = {"present_password": present, "new_password": new, "new_password_again": new if again is None else again}
    return browser.post("/account/password", fields)


def test_a_changed_password_ends_every_other_session_and_keeps_this_one(daemon, account):
    here, there, elsewhere = (logged_in(daemon, account) for _ in range(3))

    assert change(here).status == 302

    assert here.get("/").status == 200
    assert [one.get("/").status for one in (there, elsewhere)] == [302, 302]
    assert Browser(daemon).log_in(account, NEW).status == 302


def test_a_changed_password_ends_nobody_elses_session(daemon, account, member):
    change(logged_in(daemon, account))

    assert member.get("/").status == 200


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"present": "wrong"}, "present_password", "This is not your current password."),
        ({"new": "short"}, "new_password", "Use at least 10 characters."),
        ({"new": "x" * 1025}, "new_password", "Use at most 1024 characters."),
        ({"again": "another one"}, "new_password_again", "The two passwords differ."),
    ],
)
def test_wrong_input_is_told_at_its_field_and_changes_nothing(daemon, account, given, field, words):
    here, there = logged_in(daemon, account), logged_in(daemon, account)

    answer = change(here, **given)

    assert (answer.status, answer.page.error_at(field)) == (400, words)
    assert PASSWORD not in answer.text
    assert there.get("/").status == 200
