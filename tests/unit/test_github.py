"""GitHub's deliveries: verified over the raw bytes, and read without trust."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import PayloadInvalid, SignatureInvalid
from deployer.providers.github import GitHub

SECRET = b"It's a Secret to Everybody"
SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def verify(raw, signature, secret):
    GitHub().verify(raw, {} if signature is None else {"X-Hub-Signature-256": signature}, secret)


def parse(raw, content_type, event):
    headers = {"Content-Type": content_type} | ({} if event is None else {"X-GitHub-Event": event})
    return GitHub().parse(raw, headers)


def signed(raw: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, raw, hashlib.sha256).hexdigest()


def push(**fields):
    payload = {
        "ref": "refs/heads/main",
        "after": SHA,
        "deleted": False,
        "compare": "https://github.com/octo/app/compare/a...b",
        "head_commit": {"message": "Fix it", "author": {"name": "Ada", "email": "ada@example.com"}},
        "pusher": {"name": "grace"},
        "repository": {"full_name": "octo/app"},
        **fields,
    }
    return parse(json.dumps(payload).encode(), JSON, "push")


# Signatures -----------------------------------------------------------------------------------------------------


def test_the_documented_example_verifies():
    """From "Validating webhook deliveries" in GitHub's documentation: its secret, body and signature."""
    verify(
        b"Hello, World!",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        b"It's a Secret to Everybody",
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b'{"a": 1.0}', b'{"a":"\\u00e9"}', '{"a":"é"}'.encode(), b"\xff\0", b'{"b":1,"a":2}  \n']
)
def test_the_signature_is_taken_over_exactly_these_bytes(raw):
    verify(raw, signed(raw), SECRET)
    with pytest.raises(SignatureInvalid):
        verify(raw + b" ", signed(raw), SECRET)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=",
        "sha256",
        "sha1=" + "0" * 40,
        "sha256=" + "0" * 63,
        "sha256=" + "0" * 65,
        "sha256=" + "g" * 64,
        "sha256=" + "0" * 64,
        "sha256=" + "é" * 64,
        "SHA256=" + hmac.new(SECRET, b"body", "sha256").hexdigest(),
        hmac.new(SECRET, b"body", "sha256").hexdigest(),
        signed(b"body") + "\n",
        " " + signed(b"body"),
        signed(b"body", b"another secret"),
        signed(b"body", b""),
    ],
)
def test_a_signature_that_is_missing_malformed_or_wrong_is_refused(signature):
    with pytest.raises(SignatureInvalid) as caught:
        verify(b"body", signature, SECRET)

    assert hmac.new(SECRET, b"body", "sha256").hexdigest() not in str(caught.value)


def test_hexadecimal_in_capitals_is_the_same_signature():
    verify(b"body", "sha256=" + signed(b"body")[7:].upper(), SECRET)


def test_an_empty_secret_verifies_nothing():
    with pytest.raises(SignatureInvalid, match="no webhook secret"):
        verify(b"body", signed(b"body", b""), b"")


# Pushes ---------------------------------------------------------------------------------------------------------


def test_a_push_is_read_with_all_its_facts():
    event = push()

    assert (event.name, event.is_ping, event.repository) == ("push", False, "octo/app")
    found = event.push
    assert (found.ref, found.branch, found.tag, found.is_deleted, found.sha) == (
        "refs/heads/main",
        "main",
        None,
        False,
        SHA,
    )
    assert (found.message, found.author_name, found.author_email) == ("Fix it", "Ada", "ada@example.com")
    assert (found.pusher, found.repository) == ("grace", "octo/app")
    assert found.compare_url == "https://github.com/octo/app/compare/a...b"


def test_a_branch_with_slashes_keeps_them():
    assert push(ref="refs/heads/feature/refs/heads/x").push.branch == "feature/refs/heads/x"


def test_a_tag_is_no_branch():
    found = push(ref="refs/tags/main").push

    assert (found.branch, found.tag) == (None, "main")


@pytest.mark.parametrize("ref", ["", "main", "refs/pull/1/head", "refs/headsmain", None, 7, ["refs/heads/main"]])
def test_another_ref_is_neither(ref):
    found = push(ref=ref).push

    assert (found.branch, found.tag) == (None, None)


@pytest.mark.parametrize("fields", [{"deleted": True}, {"after": "0" * 40}, {"after": "0" * 64}])
def test_a_deleted_branch_has_no_commit(fields):
    found = push(**fields).push

    assert (found.is_deleted, found.sha) == (True, None)


@pytest.mark.parametrize(
    "after", ["", None, "main", "--upload-pack=x", SHA + "\n", SHA.upper(), SHA[:39], SHA * 2, 7]
)
def test_what_is_no_commit_id_is_none(after):
    assert push(after=after).push.sha is None


def test_a_commit_id_of_sha256_is_one():
    assert push(after="ab" * 32).push.sha == "ab" * 32


@pytest.mark.parametrize("url", ["javascript:alert(1)", "http://x/", "HTTPS://x", "", 7, None])
def test_a_compare_address_is_only_taken_where_it_is_one(url):
    assert push(compare=url).push.compare_url is None


@pytest.mark.parametrize(
    "fields",
    [
        {"head_commit": None},
        {"head_commit": {}},
        {"head_commit": {"author": None, "message": None}},
        {"head_commit": "x", "pusher": [], "repository": 1},
        {"pusher": None, "repository": None},
        {"deleted": "yes"},
    ],
)
def test_fields_that_are_missing_or_of_another_type_are_left_out(fields):
    assert push(**fields).push.branch == "main"


def test_long_texts_are_bounded():
    found = push(
        head_commit={"message": "x" * 20_000, "author": {"name": "n" * 999}}, pusher={"name": "p" * 999}
    ).push

    assert (len(found.message), len(found.author_name), len(found.pusher)) == (10_000, 255, 255)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\0", "a\0b\ud800", "\U0001f600 é"])
def test_lone_surrogates_and_nuls_become_harmless(text):
    found = push(head_commit={"message": text, "author": {"name": text}}, pusher={"name": text}).push

    for value in (found.message, found.author_name, found.pusher):
        assert "\0" not in value
        assert value.encode()
    if "é" in text:
        assert found.message == text


def test_a_ping_is_one():
    event = parse(b'{"zen": "Keep it simple", "repository": {"full_name": "octo/app"}}', JSON, "ping")

    assert (event.name, event.is_ping, event.push, event.repository) == ("ping", True, None, "octo/app")


@pytest.mark.parametrize("name", [None, "", "issues", "Push", "push ", "x" * 999])
def test_another_event_is_no_push(name):
    event = parse(b'{"ref": "refs/heads/main"}', JSON, name)

    assert (event.push, event.is_ping) == (None, False)
    assert len(event.name) <= 64


# Bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), f"{FORM}; charset=utf-8"])
def test_a_form_holds_the_same_json(content_type):
    payload = json.dumps({"ref": "refs/heads/main", "after": SHA, "head_commit": {"message": "ä+b&c=d"}})
    body = urlencode({"payload": payload}).encode()

    found = parse(body, content_type, "push").push

    assert (found.branch, found.sha, found.message) == ("main", SHA, "ä+b&c=d")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x=1",
        b"payload=",
        b"payload=%7B",
        "payload=é".encode(),
        b"payload=[]",
        b"&" * 500,
        b"payload=" + quote_plus('"x"').encode(),
    ],
)
def test_a_form_without_a_usable_payload_is_refused(body):
    with pytest.raises(PayloadInvalid):
        parse(body, FORM, "push")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"{}{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":-' + b"9" * 1_000_000 + b"}",
        b"\xff\xfe{}",
        b"<xml/>",
    ],
    ids=lambda body: f"{body[:12]!r} of {len(body)}",
)
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(PayloadInvalid):
        parse(body, JSON, "push")


def test_many_digits_in_a_text_are_harmless():
    assert push(head_commit={"message": "9" * 5000}).push.message == "9" * 5000


def test_deep_nesting_beside_what_is_read_does_not_crash():
    body = b'{"ref":"refs/heads/main","deep":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    try:
        event = parse(body, JSON, "push")
    except PayloadInvalid:
        return
    assert event.push.branch == "main"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["ref", "after", "deleted", "compare", "head_commit", "pusher", "repository", "other"]),
        JSON_VALUES,
    )
)
def test_whatever_a_sender_puts_into_the_fields_is_read_or_refused(payload):
    found = parse(json.dumps(payload).encode(), JSON, "push").push

    for name in ("ref", "branch", "tag", "sha", "message", "author_name", "pusher", "compare_url", "repository"):
        value = getattr(found, name)
        assert value is None or (value.encode() and "\0" not in value) or value == ""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, ""]))
def test_any_bytes_are_read_or_refused(body, content_type):
    with contextlib.suppress(PayloadInvalid):
        assert parse(body, content_type, "push").name == "push"
