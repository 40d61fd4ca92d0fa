"""Secrets never reach a stored log, wherever the stream is cut."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.security.redaction import MASK, MIN_SECRET_BYTES, Redactor, patterns_of

# Few letters, so that secrets overlap, repeat and begin alike. No letter of the mask: what the mask makes together
# with its neighbours tells nothing of a secret.
SECRETS = st.lists(st.text("ab\nc", min_size=MIN_SECRET_BYTES, max_size=9).map(str.encode), max_size=4)
# Of every length alike: by itself the strategy hardly ever draws more than a line of base64 holds.
LONG_SECRETS = st.integers(MIN_SECRET_BYTES, 200).flatmap(lambda size: st.binary(min_size=size, max_size=size))
NOISE = st.text("ab\nc ", max_size=12).map(str.encode)


@st.composite
def streams(draw):
    """Secrets, and a text that holds them whole, cut, and run into each other."""
    secrets = draw(SECRETS)
    pieces = draw(
        st.lists(
            st.one_of(
                NOISE,
                *([st.sampled_from(secrets), st.sampled_from(secrets).map(base64.b64encode)] if secrets else []),
            ),
            max_size=8,
        )
    )
    return secrets, b"".join(pieces)


def cut(draw_from, text: bytes) -> list[bytes]:
    places = sorted(draw_from.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def streamed(secrets, chunks) -> bytes:
    redactor = Redactor(secrets)
    return b"".join([redactor.feed(chunk) for chunk in chunks] + [redactor.finish()])


@settings(max_examples=300, deadline=None)
@given(st.data(), streams())
def test_no_secret_is_ever_shown_however_the_stream_is_cut(data, given_stream):
    secrets, text = given_stream

    shown = streamed(secrets, cut(data, text))

    assert not any(pattern in shown for secret in secrets for pattern in patterns_of(secret))


@settings(max_examples=300, deadline=None)
@given(st.data(), streams())
def test_a_stream_that_is_cut_shows_the_same_as_one_that_is_whole(data, given_stream):
    secrets, text = given_stream

    assert streamed(secrets, cut(data, text)) == Redactor(secrets).whole(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.lists(st.binary(min_size=4, max_size=8), max_size=3))
def test_text_without_a_secret_comes_through_unchanged(text, secrets):
    if not any(pattern in text for secret in secrets for pattern in patterns_of(secret)):
        assert streamed(secrets, [text]) == text


@settings(max_examples=200, deadline=None)
@given(st.data(), streams())
def test_only_what_could_begin_a_secret_is_held_back(data, given_stream):
    secrets, text = given_stream
    patterns = set().union(*(patterns_of(secret) for secret in secrets)) if secrets else set()
    redactor = Redactor(secrets)
    fed = b""
    for chunk in cut(data, text):
        redactor.feed(chunk)
        fed += chunk
        held = fed[len(fed) - redactor.held :]
        assert not held or any(len(pattern) > len(held) and pattern.startswith(held) for pattern in patterns)


@settings(max_examples=300, deadline=None)
@given(LONG_SECRETS, st.sampled_from([64, 76]), st.sampled_from([b"", b"\n"]))
def test_no_line_of_wrapped_base64_of_a_secret_is_ever_shown(secret, width, end):
    lines = wrapped(secret + end, width)

    shown = Redactor([secret]).whole(b"\n".join(lines))

    assert not any(line in shown for line in lines if len(line) >= 8)


def wrapped(plain: bytes, width: int) -> list[bytes]:
    """As ``base64 -w`` prints it."""
    text = base64.b64encode(plain)
    return [text[start : start + width] for start in range(0, len(text), width)]


@pytest.mark.parametrize("width", [64, 76])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_a_long_secret_is_masked_in_wrapped_base64_with_and_without_its_newline(width, end):
    secret = "".join(f"{number:04x}" for number in range(40))
    redactor = Redactor([(secret + end).encode()])

    for plain in (secret, secret + "\n", secret + end):
        for line in wrapped(plain.encode(), width):
            assert len(line) < 8 or redactor.whole(line).startswith(MASK)


@pytest.mark.parametrize("end", [b"\n", b"\n\n", b"\r\n", b" "])
def test_a_secret_with_a_newline_behind_it_is_masked_without_it_too(end):
    """``$(cat …)`` takes it away."""
    redactor = Redactor([b"correct-horse" + end])

    assert redactor.whole(b"<correct-horse>") == b"<***>"
    assert redactor.whole(base64.b64encode(b"correct-horse")).startswith(MASK)


def test_an_ordinary_line_is_shown_at_once():
    redactor = Redactor([b"correct-horse"])

    assert redactor.feed(b"building...\n") == b"building...\n"
    assert redactor.held == 0


def test_a_secret_that_comes_byte_by_byte_is_masked():
    secret = b"correct-horse"
    text = b"the word is correct-horse, not correct-mule\n"

    assert streamed([secret], [text[i : i + 1] for i in range(len(text))]) == (b"the word is ***, not correct-mule\n")


@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "x" * 7])
@pytest.mark.parametrize("after", ["", "z", "yz", "\n"])
def test_base64_of_a_secret_is_masked_in_every_alignment(before, after):
    secret = "correct-horse-battery"
    encoded = base64.b64encode(f"{before}{secret}{after}".encode())

    shown = Redactor([secret.encode()]).whole(encoded)

    assert MASK in shown
    # What is left are characters that also depend on the neighbours: too few to tell the secret.
    assert all(len(part) <= 4 + 4 * len(before + after) for part in shown.split(MASK))


def test_url_safe_base64_is_masked():
    secret = b"\xfb\xff\xfe\xfb\xff\xfe?>"

    assert Redactor([secret]).whole(base64.urlsafe_b64encode(secret)).count(MASK) == 1


def test_a_secret_of_several_lines_is_masked_whole_and_line_by_line():
    secret = b"-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAA\nBBBBB3NzaC1yc2EAAA\n-----END KEY-----\n"
    redactor = Redactor([secret])

    assert redactor.whole(b"<" + secret + b">") == b"<***>"
    assert redactor.whole(b"   AAAAB3NzaC1yc2EAAA\n") == b"   ***\n"
    assert redactor.whole(secret.replace(b"\n", b"\r\n")) == b"***"


def test_of_secrets_that_begin_together_the_longest_is_masked():
    assert Redactor([b"pass", b"password"]).whole(b"password pass") == b"*** ***"


def test_of_secrets_that_overlap_the_first_is_masked_and_the_other_is_no_longer_there():
    assert Redactor([b"abcd", b"cdef"]).whole(b"abcdef") == b"***ef"


def test_a_longer_secret_wins_when_its_end_comes_later():
    redactor = Redactor([b"pass", b"password"])

    assert redactor.feed(b"my pass") == b"my "
    assert redactor.feed(b"word") + redactor.finish() == b"***"


def test_a_secret_that_does_not_go_on_is_masked_by_its_shorter_form():
    redactor = Redactor([b"pass", b"password"])

    shown = redactor.feed(b"my pass") + redactor.feed(b"age\n")

    assert shown + redactor.finish() == b"my ***age\n"


def test_a_secret_that_is_too_short_to_hide_is_not_looked_for():
    assert Redactor([b"abc", b""]).whole(b"abc") == b"abc"


def test_without_secrets_nothing_is_held():
    redactor = Redactor([])

    assert redactor.feed(b"text") == b"text"
    assert (redactor.held, redactor.longest) == (0, 0)


def test_text_keeps_its_characters():
    assert Redactor(["schlüssel".encode()]).text("der schlüssel ist grün") == "der *** ist grün"


@pytest.mark.parametrize("offset", range(0, 30))
def test_a_place_to_cut_is_moved_behind_a_secret(offset):
    window = b"0123 correct-horse 01234567890"
    place = Redactor([b"correct-horse"]).cut_after(window, offset)

    assert place == (18 if 5 < offset < 18 else offset)
