"""E-mail addresses as people type them."""

from __future__ import annotations

import pytest

from deployer import mail_addresses


@pytest.mark.parametrize(
    "text", ["a@b.example", "first.last+tag@sub.example.com", "o'neil@example.com", "root@localhost"]
)
def test_an_address_is_one(text):
    assert mail_addresses.is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "@b", "a@", "a@b@c", "a b@c", "a@b c", "<a@b>", "a@b\n", "a@b\r\nBcc: c@d", "a@-b", "a@b-.c"),
        *(
            "a..b@c",
            ".a@b",
            "a.@b",
            "a@b..c",
            "a@.b",
            '"a"@b',
            "a@[127.0.0.1]",
            "ä@b",
            "a@ü",
            "x" * 65 + "@b",
            "a\0@b",
        ),
    ],
)
def test_anything_else_is_none(text):
    assert not mail_addresses.is_address(text)


def test_a_list_is_split_at_commas_semicolons_and_spaces_and_holds_each_once():
    assert mail_addresses.split(" a@b, c@d;\r\ne@f a@b,, ") == ["a@b", "c@d", "e@f"]
    assert mail_addresses.split("") == []


def test_a_list_with_something_else_names_it():
    with pytest.raises(ValueError, match="'nobody' is not an e-mail address"):
        mail_addresses.split("a@b, nobody")
    with pytest.raises(ValueError, match="At most 20"):
        mail_addresses.split(",".join(f"a{number}@b" for number in range(21)))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a@b", ("", "a@b")),
        (" Deployer <a@b> ", ("Deployer", "a@b")),
        ('"Ops, the team" <a@b>', ("Ops, the team", "a@b")),
        ("<a@b>", ("", "a@b")),
    ],
)
def test_a_sender_is_an_address_with_or_without_a_name(text, found):
    assert mail_addresses.sender(text) == found


@pytest.mark.parametrize(
    "text", ["", "Deployer", "x <y>", "a@b <c@d", "a\r\nb <a@b>", "x" * 101 + " <a@b>", "a@b, c@d"]
)
def test_anything_else_is_no_sender(text):
    with pytest.raises(ValueError):
        mail_addresses.sender(text)
