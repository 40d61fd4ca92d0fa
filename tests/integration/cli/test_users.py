"""``user create``"""

from __future__ import annotations

import pytest

from deployer import accounts, logins

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
