"""``user create``, ``list``, ``invite``, ``role``, ``remove``, ``reset-password`` and ``reset-2fa``"""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy.orm import Session

from deployer import accounts, invitations, logins, sessions
from tests.support import authenticator

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.usefixtures("operator")


def test_a_user_is_made_with_a_password_from_standard_input(shell, operator):
    done = shell("user", "create", "ada", "--email", "a@example.com", "--admin", "--password-stdin", given=PASSWORD)

    assert done.stdout.startswith("ada can log in at http://127.0.0.1:")
    assert done.stdout.endswith("/login\n")
    assert logins.check_password(operator.database, "ada", PASSWORD, address="")


def test_only_the_first_line_is_the_password_and_its_end_is_not(shell, operator):
    shell("user", "create", "ada", "--email", "a@b", "--password-stdin", given=f"{PASSWORD}\r\nmore\n")

    assert logins.check_password(operator.database, "ada", PASSWORD, address="")


@pytest.mark.parametrize(
    ("name", "email", "password", "words"),
    [
        ("a b", "a@b", PASSWORD, "username: Use letters, digits and . _ @ -, beginning with a letter or digit."),
        ("ada", "nobody", PASSWORD, "email: Give an e-mail address."),
        ("ada", "a@b", "short", "password: Use at least 10 characters."),
        ("ada", "a@b", "", "password: Use at least 10 characters."),
    ],
)
def test_input_that_cannot_be_used_is_told_in_one_line(shell, name, email, password, words):
    done = shell("user", "create", name, "--email", email, "--password-stdin", given=password, code=1)

    assert (done.stdout, done.stderr) == ("", f"Error: {words}\n")


def test_a_name_that_is_taken_is_told(shell):
    shell("user", "create", "ada", "--email", "a@b", "--password-stdin", given=PASSWORD)

    done = shell("user", "create", "ada", "--email", "a@b", "--password-stdin", given=PASSWORD, code=1)

    assert done.stderr == "Error: username: There is already a user of this name.\n"


def test_a_password_that_is_no_text_is_told(shell):
    done = shell("user", "create", "ada", "--email", "a@b", "--password-stdin", given=b"\xff" * 12 + b"\n", code=1)

    assert done.stderr.startswith("Error: ")


def test_a_user_made_here_ends_the_set_up_link(shell, operator):
    with operator.database.write() as connection:
        token = accounts.new_setup_token(connection)

    shell("user", "create", "ada", "--email", "a@b", "--password-stdin", given=PASSWORD)

    with operator.database.read() as connection:
        assert not accounts.is_setup_token(connection, token)


@pytest.fixture
def add(operator):
    def add(name: str, *, is_admin: bool = True) -> str:
        user = accounts.new_user(name, f"{name}@example.com", PASSWORD, is_admin=is_admin)
        with operator.database.write_session() as session:
            accounts.add(session, user)
        return user.id

    return add


def found(operator, name: str):
    with Session(operator.database.engine) as session:
        return accounts.find(session, name)


@pytest.mark.parametrize(("words", "is_admin"), [(("--admin",), True), ((), False)])
def test_a_user_is_a_member_unless_made_an_admin(shell, operator, words, is_admin):
    shell("user", "create", "ada", "--email", "a@b", *words, "--password-stdin", given=PASSWORD)

    assert found(operator, "ada").is_admin is is_admin


def test_the_list_names_role_and_two_factor(shell, operator, add):
    assert "There is no user yet." in shell("user", "list").stdout
    add("ada")
    add("grace", is_admin=False)
    authenticator.switch_on(operator.installation, "grace")

    header, ada, grace = shell("user", "list").stdout.splitlines()

    assert header.split() == ["NAME", "ROLE", "TWO-FACTOR", "LAST", "LOGIN", "E-MAIL"]
    assert ada.split() == ["ada", "admin", "off", "never", "ada@example.com"]
    assert grace.split() == ["grace", "member", "on", "never", "grace@example.com"]
    documents = json.loads(shell("user", "list", "--json").stdout)
    assert [(one["name"], one["role"], one["two_factor"]) for one in documents] == [
        ("ada", "admin", False),
        ("grace", "member", True),
    ]


@pytest.mark.parametrize(("words", "is_admin"), [(("--admin",), True), ((), False)])
def test_an_invitation_is_printed_as_a_link(shell, operator, words, is_admin):
    link = shell("user", "invite", "--email", "new@example.com", *words).stdout.strip()

    address, _, token = link.partition("/join?token=")
    assert address.startswith("http://127.0.0.1:")
    with Session(operator.database.engine) as session:
        invitation = invitations.of_token(session, token)
        assert invitation is not None
        assert (invitation.email, invitation.is_admin) == ("new@example.com", is_admin)
        assert invitation.invited_by.endswith("(command line)")


def test_an_invitation_of_nobody_is_told(shell):
    done = shell("user", "invite", "--email", "nobody", code=1)

    assert done.stderr == "Error: email: Give an e-mail address.\n"


def test_a_role_is_changed_but_not_the_last_administrators(shell, operator, add):
    add("ada")
    add("grace", is_admin=False)

    refused = shell("user", "role", "ada", "member", code=1)
    assert refused.stderr.startswith("Error: ada is the only administrator.")
    assert shell("user", "role", "grace", "admin").stdout == "grace is an admin now.\n"
    assert shell("user", "role", "ada", "member").stdout == "ada is a member now.\n"

    assert (found(operator, "ada").is_admin, found(operator, "grace").is_admin) == (False, True)


def test_a_user_is_removed_but_not_the_last_administrator(shell, operator, add):
    add("ada")
    add("grace", is_admin=False)

    assert "only administrator" in shell("user", "remove", "ada", "--yes", code=1).stderr
    assert shell("user", "remove", "grace", given="n\n", code=1)
    assert shell("user", "remove", "grace", "--yes").stdout == "grace is removed.\n"

    assert [one["name"] for one in json.loads(shell("user", "list", "--json").stdout)] == ["ada"]


def test_a_new_password_ends_the_users_sessions(shell, operator, add):
    user_id = add("ada")
    with operator.database.write_session() as session:
        user = accounts.find(session, user_id)
        token = sessions.begin(session, user, days=1, address="192.0.2.1", agent="a browser")

    shell("user", "reset-password", "ada", "--password-stdin", given="battery staple horse\n")

    assert logins.check_password(operator.database, "ada", "battery staple horse", address="")
    with Session(operator.database.engine) as session:
        assert sessions.user_of(session, token) is None


def test_a_new_password_that_is_too_short_is_told(shell, add):
    add("ada")

    done = shell("user", "reset-password", "ada", "--password-stdin", given="short\n", code=1)

    assert done.stderr == "Error: new_password: Use at least 10 characters.\n"


def test_two_factor_is_reset(shell, operator, add):
    add("ada")
    authenticator.switch_on(operator.installation, "ada")

    shell("user", "reset-2fa", "ada")

    assert found(operator, "ada").totp_secret is None


@pytest.mark.parametrize(
    "words", [("remove", "nobody", "--yes"), ("role", "nobody", "admin"), ("reset-2fa", "nobody")]
)
def test_nobody_of_that_name_is_told(shell, words):
    assert shell("user", *words, code=1).stderr == "Error: User not found\n"


def test_a_new_set_up_link_is_printed_until_there_is_a_user(shell, operator):
    first, second = shell("link").stdout, shell("link").stdout
    token = re.fullmatch(r"Deployer is ready\. Set it up: http://127\.0\.0\.1:\d+/setup\?token=(\S{20,})\n", second)
    assert token, second
    assert first != second
    with operator.database.read() as connection:
        assert accounts.is_setup_token(connection, token[1])

    shell("user", "create", "ada", "--email", "a@b", "--admin", "--password-stdin", given=PASSWORD)

    assert re.fullmatch(r"Deployer is ready: http://127\.0\.0\.1:\d+\n", shell("link").stdout)
