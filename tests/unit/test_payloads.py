"""Payloads: packed small and fast, and shown without secrets however JSON spells them."""

from __future__ import annotations

import json
import os
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.deployments import payloads
from deployer.security.redaction import MIN_SECRET_BYTES

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("raw", [b"", b"{}", b"a" * 3_000_000, os.urandom(700_000)])
def test_what_is_packed_is_unpacked_as_it_was(raw):
    packed = payloads.pack(raw)

    assert packed.size_bytes == len(raw)
    assert packed.packed is not None
    assert payloads.unpack(packed.packed) == raw


def test_a_push_takes_a_fraction_of_its_size():
    commits = [{"id": os.urandom(20).hex(), "message": "Make it work", "added": ["a"]} for _ in range(60)]
    raw = json.dumps({"ref": "refs/heads/main", "commits": commits}).encode()

    packed = payloads.pack(raw).packed

    assert packed is not None
    assert len(packed) < len(raw) / 2


@pytest.mark.parametrize("size", [payloads.KEPT_BYTES + 1000, 3 * payloads.KEPT_BYTES])
def test_what_is_too_large_when_packed_is_not_kept(size):
    assert payloads.pack(os.urandom(size)) == payloads.Packed(size, None)


def shown(raw: bytes, *secrets: bytes, content_type: str = JSON) -> str:
    return payloads.shown(raw, content_type, payloads.redactor(secrets))


def test_json_has_a_line_for_each_value_and_letters_as_they_are():
    assert shown(b'{"a":[1,"\\u00e9"]}') == '{\n  "a": [\n    1,\n    "é"\n  ]\n}'


def test_of_a_form_the_payload_is_shown():
    raw = urlencode({"payload": '{"a": "b c"}'}).encode()

    assert shown(raw, content_type=FORM) == '{\n  "a": "b c"\n}'
    assert shown(b"other=1", content_type=FORM) == "other=1"


@pytest.mark.parametrize(
    ("raw", "secret"),
    [
        (b'{"message": "it is hunter2!"}', b"hunter2"),
        (b'{"hunter2": 1}', b"hunter2"),
        (b'{"message": "\\u0068unter2"}', b"hunter2"),
        (b'{"message": "one\\ntwo\\nthree"}', b"one\ntwo\nthree"),
        (b'{"message": "a \\"quoted\\" one"}', b'a "quoted" one'),
        (b'{"number": 48151623}', b"48151623"),
        (b'{"a line of it": "1: a \\"quoted\\" one"}', b'first line\na "quoted" one\n'),
        (b'{"without its end": "a \\"quoted\\" one"}', b'a "quoted" one\n'),
        (b'{"deep": [[{"a": ["hunter2"]}]]}', b"hunter2"),
        (b'{"cut": "hunter2', b"hunter2"),
        (b'{"cut": "a \\"quoted\\" one', b'a "quoted" one'),
        ('{"message": "größe"}'.encode(), "größe".encode()),
        (b'{"message": "gr\\u00f6\\u00dfe"}', "größe".encode()),
        (b'{"cut": "gr\\u00f6\\u00dfe', "größe".encode()),
    ],
)
def test_a_secret_is_not_shown_however_it_is_spelled(raw, secret):
    text = shown(raw, secret)

    assert "***" in text
    for spelled in (secret.decode(), json.dumps(secret.decode())[1:-1], secret.decode().splitlines()[-1]):
        assert spelled not in text


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=4, max_size=30).filter(
        lambda secret: len(secret.encode()) >= MIN_SECRET_BYTES
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="*"), max_size=20),
    st.booleans(),
)
def test_no_secret_of_any_letters_shows(secret, around, is_ascii):
    raw = json.dumps({"a": [around + secret + around, {secret: 1}]}, ensure_ascii=is_ascii)

    text = shown(raw.encode(), secret.encode())

    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text
    assert json.dumps(secret, ensure_ascii=False)[1:-1] not in text


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"[" * 100_000, b'{"a": "\\ud800"}', b'{"n": ' + b"9" * 10_000 + b"}"])
def test_what_nobody_should_send_is_shown_all_the_same(raw):
    assert shown(raw, b"hunter2").encode()
