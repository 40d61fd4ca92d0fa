"""``audit``, and that every command that changes something is in it."""

from __future__ import annotations

import getpass
import json

import pytest

PASSWORD = "correct horse battery"
URL = "https://github.com/grace/app.git"
pytestmark = pytest.mark.usefixtures("operator")


def test_without_changes_there_is_nothing(shell):
    assert shell("audit").stdout == "Nothing was changed yet.\n"
    assert json.loads(shell("audit", "--json").stdout) == []


def test_every_command_that_changes_something_is_in_the_log_with_who_did_it(shell):
    shell("user", "create", "ada", "--email", "a@b", "--admin", "--password-stdin", given=PASSWORD)
    shell("user", "create", "grace", "--email", "a@b", "--password-stdin", given=PASSWORD)
    shell("user", "invite", "--email", "new@example.com")
    shell("user", "role", "grace", "admin")
    shell("user", "reset-password", "grace", "--password-stdin", given=PASSWORD)
    shell("user", "reset-2fa", "grace")
    shell("user", "remove", "grace", "--yes")
    shell("project", "create", "app", "--repo", URL, "--step", "true")
    shell("project", "edit", "app", "--name", "shop")
    shell("env", "set", "shop", "TOKEN", "--secret", given="squeamish")
    shell("env", "rm", "shop", "TOKEN")
    shell("deploy", "shop")
    shell("cancel", "DEP-0001")
    shell("project", "delete", "shop", "--yes")

    rows = json.loads(shell("audit", "--json").stdout)

    assert [(one["action"], one["subject"], one["detail"]) for one in reversed(rows)] == [
        ("user.created", "ada", "as admin"),
        ("user.created", "grace", "as member"),
        ("invitation.created", "new@example.com", "as member"),
        ("user.role_changed", "grace", "now admin"),
        ("user.password_reset", "grace", None),
        ("user.two_factor_reset", "grace", None),
        ("user.removed", "grace", None),
        ("project.created", "app", None),
        ("project.changed", "shop", "was app"),
        ("variable.set", "shop", "TOKEN"),
        ("variable.removed", "shop", "TOKEN"),
        ("deployment.requested", "shop", None),
        ("deployment.cancel_requested", "DEP-0001", None),
        ("project.deleted", "shop", None),
    ]
    assert {(one["actor"], one["address"]) for one in rows} == {(f"{getpass.getuser()} (command line)", None)}
    assert "squeamish" not in str(rows)


def test_what_fails_is_not_in_the_log(shell):
    shell("project", "create", "a b", "--repo", URL, "--step", "true", code=1)
    shell("user", "remove", "nobody", "--yes", code=1)

    assert json.loads(shell("audit", "--json").stdout) == []


def test_the_newest_come_first_and_no_more_than_asked_for(shell):
    for name in ("one", "two", "three"):
        shell("project", "create", name, "--repo", URL, "--step", "true")

    header, first, second = shell("audit", "--limit", "2").stdout.splitlines()

    assert header.split() == ["AT", "ACTOR", "ADDRESS", "ACTION", "SUBJECT", "DETAIL"]
    assert "project.created  three" in first
    assert "project.created  two" in second
