"""What every provider does alike, on recorded deliveries of each."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import PayloadInvalid, SignatureInvalid
from deployer.providers import generic
from deployer.providers.base import MAX_PATHS
from deployer.providers.known import PROVIDERS
from tests.support.payloads import GENERIC, NEW, SECRET, Headers, body_of, cases, forge, recorded, signed

ALL = tuple(PROVIDERS)
SIGNING = b"whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef")
FORM = "application/x-www-form-urlencoded"
PATHS = {"docs/picking.md", "README.md", "src/scale.py", "src/guess.py", "src/shop.py"}


def event(name, case="push", **fields):
    one = recorded(name, case)
    one.provider.verify(one.raw, one.headers, SECRET)
    return one.provider.parse(one.raw, one.headers, with_paths=True)


def changed(name, case="push", **fields):
    """The push of a recorded body in which some fields have other values."""
    one = recorded(name, case)
    raw = json.dumps(body_of(name, case) | fields).encode()
    return one.provider.parse(raw, one.headers, with_paths=True).push


# Who sent it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "case"), cases())
def test_a_recorded_delivery_verifies_and_is_read(name, case):
    found = event(name, case)

    assert found.name


@pytest.mark.parametrize("name", [*ALL, "signing"])
def test_a_wrong_secret_is_refused(name):
    secret, name = (SIGNING, "gitlab") if name == "signing" else (SECRET, name)
    one = recorded(name, secret=secret)
    other = b"whsec_" + base64.b64encode(b"another key of 32 bytes in base64") if secret is SIGNING else b"x" * 32

    one.provider.verify(one.raw, one.headers, secret)
    with pytest.raises(SignatureInvalid) as caught:
        one.provider.verify(one.raw, one.headers, other)
    proofs = [one.headers[header] for header in one.provider.signatures if header in one.headers]
    assert not any(proof in str(caught.value) for proof in proofs)


@pytest.mark.parametrize("name", [*ALL, "signing"])
def test_a_missing_proof_is_refused(name):
    secret, name = (SIGNING, "gitlab") if name == "signing" else (SECRET, name)
    one = recorded(name, secret=secret)
    without = Headers({key: value for key, value in one.headers.items() if key not in one.provider.signatures})

    for bare in (without, Headers()):
        with pytest.raises(SignatureInvalid):
            one.provider.verify(one.raw, bare, secret)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("proof", ["", " ", "sha256=", "0" * 64, "sha256=" + "0" * 64, "sha256=" + "é" * 64, "v1,"])
def test_a_malformed_proof_is_refused(name, proof):
    one = recorded(name)

    for header in one.provider.signatures:
        with pytest.raises(SignatureInvalid):
            one.provider.verify(one.raw, Headers({header: proof}), SECRET)


@pytest.mark.parametrize("name", [*(name for name in ALL if name != "gitlab"), "signing"])
def test_one_changed_byte_is_refused(name):
    secret, name = (SIGNING, "gitlab") if name == "signing" else (SECRET, name)
    one = recorded(name, secret=secret)

    for raw in (one.raw + b" ", one.raw[:-1], one.raw.replace(b"main", b"mail", 1).replace(b"4711", b"4712", 1)):
        with pytest.raises(SignatureInvalid):
            one.provider.verify(raw, one.headers, secret)


@pytest.mark.parametrize(("name", "secret"), [*((name, b"") for name in ALL), ("gitlab", b"whsec_")])
def test_an_empty_secret_lets_nobody_in(name, secret):
    one = recorded(name)
    mac = hmac.new(b"", one.raw, hashlib.sha256).hexdigest()
    proofs = (
        "",
        "sha256=" + mac,
        mac,
        f"{GENERIC.prefix}{mac}",
        "v1," + base64.b64encode(bytes.fromhex(mac)).decode(),
    )

    for proof in proofs:
        with pytest.raises(SignatureInvalid):
            one.provider.verify(one.raw, Headers(dict.fromkeys(one.provider.signatures, proof)), secret)


@pytest.mark.parametrize("name", ALL)
def test_nothing_secret_is_kept_of_the_headers(name):
    provider = forge(name)

    assert not {header.lower() for header in provider.kept} & {header.lower() for header in provider.signatures}


def test_gitea_is_known_by_any_of_its_signatures_and_by_none_that_is_wrong():
    one, body = recorded("gitea"), body_of("gitea", "push")
    raw = json.dumps(body).encode()
    mac = hmac.new(SECRET, raw, hashlib.sha256).hexdigest()
    proofs = {"X-Gitea-Signature": mac, "X-Forgejo-Signature": mac, "X-Hub-Signature-256": f"sha256={mac}"}

    for header, proof in proofs.items():
        one.provider.verify(raw, Headers({header: proof}), SECRET)
        with pytest.raises(SignatureInvalid):
            one.provider.verify(raw, Headers({**proofs, "X-Gitea-Signature": "0" * 64}), SECRET)


def test_gitlabs_signing_token_leaves_no_way_around_the_signature():
    one = recorded("gitlab", secret=SIGNING)
    token = Headers({"X-Gitlab-Token": SIGNING.decode()})

    with pytest.raises(SignatureInvalid):
        one.provider.verify(one.raw, token, SIGNING)


def test_gitlabs_signature_is_the_one_of_standard_webhooks():
    """The example of that specification's own test vectors: key, id, time and body with their signature."""
    raw = b'{"test": 2432232314}'
    key = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    mac = hmac.new(base64.b64decode(key[6:]), b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + raw, hashlib.sha256)

    assert base64.b64encode(mac.digest()) == b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    headers = Headers(forge("gitlab").sign(raw, key, "msg_p5jXN8AQM9LWM0D4loKWxJek"))
    forge("gitlab").verify(raw, headers, key)
    old = Headers({**headers, "webhook-timestamp": "1614265330"})
    old["webhook-signature"] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(SignatureInvalid, match="too long ago"):
        forge("gitlab").verify(raw, old, key)


def test_while_gitlabs_signing_token_is_exchanged_one_of_its_signatures_is_enough():
    one = recorded("gitlab", secret=SIGNING)
    given = one.headers["webhook-signature"]
    two = Headers({**one.headers, "webhook-signature": f"v1,{base64.b64encode(b'0' * 32).decode()} {given}"})

    one.provider.verify(one.raw, two, SIGNING)


# What it says ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_push_is_read_with_its_branch_and_commit(name):
    push = event(name).push

    assert (push.ref, push.branch, push.tag, push.is_deleted, push.sha) == (
        "refs/heads/main",
        "main",
        None,
        False,
        NEW,
    )
    if name != "generic":
        assert (push.message.split("\n")[0], push.author_name) == ("Weigh apples before they are sold", "Noor Haddad")
        assert (push.author_email, push.pusher) == ("noor@example.com", "noorh")
        assert push.repository == event(name).repository
        assert push.repository in ("mirabel/orchard", "SHOP/orchard")
    if name not in ("generic", "bitbucket-server"):
        assert push.compare_url.startswith("https://")


@pytest.mark.parametrize("name", ALL)
def test_a_branch_keeps_its_slashes(name):
    push = event(name, "new_branch").push

    assert (push.branch, push.sha, push.is_deleted, push.paths) == ("release/2.x", NEW, False, None)


@pytest.mark.parametrize("name", ALL)
def test_a_tag_is_no_branch(name):
    push = event(name, "tag").push

    assert (push.ref, push.branch, push.tag, push.sha) == ("refs/tags/v1.4.0", None, "v1.4.0", NEW)


def test_of_an_annotated_tag_the_commit_is_taken_where_the_forge_tells_it():
    assert event("gitlab", "annotated_tag").push.sha == NEW
    # Else it is the tag, which leads to it.
    assert event("github", "annotated_tag").push.sha == body_of("github", "annotated_tag")["after"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("case", "ref"), [("deleted_branch", "heads/feature/scale"), ("deleted_tag", "tags/v1.4.0")])
def test_what_was_deleted_has_no_commit(name, case, ref):
    push = event(name, case).push

    assert (push.ref, push.is_deleted, push.sha) == (f"refs/{ref}", True, None)


@pytest.mark.parametrize("name", ["github", "gitea", "bitbucket-server"])
def test_the_forges_test_is_no_push(name):
    found = event(name, "ping")

    assert (found.is_ping, found.push) == (True, None)


@pytest.mark.parametrize("name", [name for name in ALL if name != "generic"])
def test_another_event_is_no_push(name):
    found = event(name, "other_event")

    assert (found.is_ping, found.push, found.pushes) == (False, None, ())
    assert found.name == event(name, "other_event").name != ""


def test_giteas_word_of_a_deleted_branch_is_no_push():
    assert event("gitea", "delete_event").push is None


def test_a_system_hook_of_gitlab_says_in_its_body_that_it_is_a_push():
    assert event("gitlab", "system_hook").push.sha == NEW


@pytest.mark.parametrize("name", ["bitbucket", "bitbucket-server"])
def test_one_request_may_tell_of_several_refs(name):
    pushes = event(name, "several").pushes

    assert [push.ref for push in pushes] == [
        "refs/heads/feature/scale",
        "refs/heads/release/2.x",
        "refs/heads/main",
        "refs/tags/v1.4.0",
    ]
    assert [push.is_deleted for push in pushes] == [True, False, False, False]


def test_a_commits_message_is_not_taken_from_another_commit():
    assert event("bitbucket-server", "push_of_an_older_version").push.message is None
    assert [push.message for push in event("bitbucket-server", "several").pushes[:3]] == [
        None,
        "Describe how to pick",
        "Weigh apples before they are sold\n\nThe scale is asked once.",
    ]


def test_a_generic_sender_may_name_the_branch_alone_and_write_the_commit_in_capitals():
    push = event("generic", "push_by_name").push

    assert (push.ref, push.branch, push.sha) == ("refs/heads/main", "main", NEW)


def test_where_a_generic_body_lacks_what_the_pointers_say_there_is_no_ref():
    push = event("generic", "other_event").push

    assert (push.ref, push.branch, push.sha) == ("", None, None)


# Which paths changed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["github", "gitlab", "gitea"])
def test_the_paths_of_all_commits_are_known(name):
    assert set(event(name).push.paths) == PATHS


@pytest.mark.parametrize(
    ("name", "case"),
    [
        *((name, "new_branch") for name in ALL),
        *((name, "truncated") for name in ("gitlab", "gitea", "bitbucket")),
        ("github", "force_push"),
        ("bitbucket", "push"),
        ("bitbucket-server", "push"),
        ("generic", "push"),
    ],
)
def test_paths_that_are_not_all_told_are_unknown(name, case):
    assert event(name, case).push.paths is None


@pytest.mark.parametrize(
    "commits",
    [
        None,
        [],
        "x",
        [None],
        [{}],
        [{"added": ["a"], "modified": "b", "removed": []}],
        [{"added": [1], "modified": [], "removed": []}],
        [{"added": [], "modified": [], "removed": []}],
        [{"added": [str(n) for n in range(MAX_PATHS + 1)], "modified": [], "removed": []}],
    ],
    ids=lambda commits: str(commits)[:30],
)
@pytest.mark.parametrize("name", ["github", "gitlab", "gitea"])
def test_lists_of_commits_that_do_not_say_what_changed_are_unknown(name, commits):
    count = len(commits) if isinstance(commits, list) else 0

    push = changed(name, commits=commits, total_commits=count, total_commits_count=count)

    assert (push.paths, push.sha) == (None, NEW)


def test_githubs_full_lists_count_as_cut_off():
    one = {"added": ["a"], "modified": [], "removed": []}

    assert changed("github", commits=[one] * 2047).paths == ("a",)
    assert changed("github", commits=[one] * 2048).paths is None


@pytest.mark.parametrize("name", ["github", "gitlab", "gitea"])
def test_paths_are_read_only_where_somebody_asks(name):
    one = recorded(name)

    assert one.provider.parse(one.raw, one.headers).push.paths is None


@pytest.mark.parametrize("name", ["github", "gitlab", "gitea"])
def test_paths_of_any_letters_become_harmless(name):
    commit = {"id": NEW, "message": "m", "added": ["a\0b", "\ud800", "é"], "modified": [], "removed": []}

    push = changed(name, commits=[commit], total_commits=1, total_commits_count=1)

    assert [path.encode() for path in push.paths] == [b"a\xef\xbf\xbdb", b"?", "é".encode()]


# Bodies without trust ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["github", "gitea", "generic"])
@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), f"{FORM}; charset=utf-8"])
def test_a_form_holds_the_same_json(name, content_type):
    one = recorded(name)
    body = urlencode({"payload": one.raw.decode()}).encode()
    form = signed(name, body, {**one.headers, "Content-Type": content_type})

    form.provider.verify(form.raw, form.headers, SECRET)
    assert form.provider.parse(form.raw, form.headers, with_paths=True) == event(name)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"a": NaN}',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":-' + b"9" * 1_000_000 + b"}",
        b"\xff\xfe{}",
    ],
    ids=lambda raw: f"{raw[:8]!r} of {len(raw)}",
)
def test_a_body_that_is_no_json_object_is_refused(name, raw):
    one = recorded(name)

    with pytest.raises(PayloadInvalid):
        one.provider.parse(raw, one.headers)


def _with(name, value):
    """The recorded push in which each text that ends in a message or a name is another one."""

    def put(node):
        if isinstance(node, dict):
            return {key: value if key in TEXTS and isinstance(node[key], str) else put(node[key]) for key in node}
        return [put(one) for one in node] if isinstance(node, list) else node

    return put(body_of(name, "push"))


TEXTS = ("message", "name", "nickname", "login", "username", "user_username", "raw", "display_name", "displayName")


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("text", ["\ud800", "a\0b\udfff", "9" * 5000, "x" * 20_000, "\U0001f600 é"], ids=range(5))
def test_texts_become_harmless_and_bounded(name, text):
    one = recorded(name)
    push = one.provider.parse(json.dumps(_with(name, text)).encode(), one.headers).push

    for value in (push.ref, push.message, push.author_name, push.pusher, push.repository):
        assert value is None or ("\0" not in value and len(value.encode()) <= 40_000)
    assert all(value is None or len(value) <= 255 for value in (push.author_name, push.pusher, push.repository))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=8) | st.just("refs/heads/main"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_fields_of_any_type_are_read_or_refused(name, data):
    body = body_of(name, "push")
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(body)), JSON_VALUES, min_size=1))
    inside = data.draw(
        st.dictionaries(st.sampled_from(["new", "old", "ref", "refId", "toHash", "target"]), JSON_VALUES)
    )
    for change in (body.get("push") or {}).get("changes") or body.get("changes") or []:
        change.update(inside)
    one = recorded(name)

    for push in one.provider.parse(json.dumps(body | changes).encode(), one.headers, with_paths=True).pushes:
        for value in (push.ref, push.branch, push.tag, push.sha, push.message, push.pusher, *(push.paths or ())):
            assert value is None or (isinstance(value, str) and "\0" not in value and value.encode() is not None)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["application/json", FORM, ""]))
def test_any_bytes_are_read_or_refused(name, raw, content_type):
    one = recorded(name)

    with contextlib.suppress(PayloadInvalid):
        one.provider.parse(raw, Headers({**one.headers, "Content-Type": content_type}))


# What we send ourselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ALL, "signing"])
def test_a_push_that_is_made_here_is_taken_as_the_forges_own(name):
    secret, name = (SIGNING, "gitlab") if name == "signing" else (SECRET, name)
    provider = forge(name)
    raw = json.dumps(provider.push_document("release/2.x", NEW, "ada", "mirabel/orchard")).encode()
    headers = Headers(provider.sign(raw, secret, "guid-1"))

    provider.verify(raw, headers, secret)
    found = provider.parse(raw, headers, with_paths=True)
    assert (found.push.branch, found.push.sha, found.push.paths) == ("release/2.x", NEW, None)
    assert provider.delivery_id(headers) == "guid-1"


def test_a_delivery_that_gitlab_sends_again_has_the_same_id():
    one = recorded("gitlab")

    assert one.provider.delivery_id(one.headers) == one.headers["Idempotency-Key"]


# JSON pointers ----------------------------------------------------------------------------------------------------

DOCUMENT = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8, "k": {"~1": 2, "1": 3}}


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/m~0n", 8),
        ("/k/~01", 2),
        ("/k/1", 3),
        ("/foo/2", None),
        ("/foo/00", None),
        ("/foo/-", None),
        ("/foo/-1", None),
        ("/foo/٣", None),
        ("/foo/bar/baz", None),
        ("/nothing", None),
    ],
)
def test_a_pointer_leads_to_its_place(pointer, found):
    """By RFC 6901, with its own examples first."""
    assert generic.at(DOCUMENT, pointer) == found


@pytest.mark.parametrize("pointer", ["", "ref", "ref/x", "/a~", "/a~2", "/" + "x" * 255, "/a\nb"])
def test_what_is_no_pointer_is_told_so(pointer):
    assert generic.pointer_problem(pointer)


@pytest.mark.parametrize("header", ["", "X_Signature", "X Signature", "-X", "Cookie", "content-type", "X" * 65, "X:"])
def test_what_cannot_hold_a_signature_is_told_so(header):
    assert generic.header_problem(header)


def test_the_defaults_of_a_generic_sender_are_usable():
    given = generic.DEFAULT

    assert generic.header_problem(given.header) is generic.prefix_problem(given.prefix) is None
    assert generic.pointer_problem(given.ref) is generic.pointer_problem(given.commit) is None
    assert generic.pointers_problem(given.ref, given.commit) is None
    assert generic.pointers_problem("/a", "/a/b")
    assert replace(given, prefix="") != given
