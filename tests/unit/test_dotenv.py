"""A dotenv text is read, and written so that a shell and python-dotenv see what was meant."""

from __future__ import annotations

import contextlib
import io
import subprocess

import pytest
from dotenv import dotenv_values
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.commands import dotenv
from deployer.commands.dotenv import Unreadable

# What readers treat in ways of their own, and some letters.
HARD = st.text(
    st.sampled_from("ab'\"\\$`{}#=!& \t\n\r;|*~%é漢\u2028\x85\x0b\x1b") | st.characters(codec="utf-8"), max_size=12
).filter(lambda value: "\0" not in value)
MANY = st.lists(HARD, max_size=20).map(lambda values: {f"V{number}": one for number, one in enumerate(values)})


def values_of(text: str) -> dict[str, str]:
    return {entry.name: entry.value for entry in dotenv.read(text)}


def seen_by_sh(text: str) -> dict[str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", 'set -a; eval "$(cat; echo .)" 2>/dev/null; exec env -0'],
        input=f"{text}#".encode(),
        env={},
        capture_output=True,
        check=True,
    )
    pairs = [one.split("=", 1) for one in done.stdout.decode().split("\0") if one]
    return {name: value for name, value in pairs if name.startswith("V")}


@settings(max_examples=30, deadline=None)
@given(MANY)
def test_what_is_written_is_read_alike_by_sh_by_python_dotenv_and_here(values):
    written = {name: value for name, value in values.items() if not dotenv.problem(value)}

    text = dotenv.lines(written.items())

    assert seen_by_sh(text) == written
    assert dict(dotenv_values(stream=io.StringIO(text, newline=None))) == written
    assert values_of(text) == written


@settings(max_examples=80, deadline=None)
@given(MANY)
def test_any_value_comes_back_from_an_export(values):
    text = "".join(f"{name}={dotenv.escaped(value)}\n" for name, value in values.items())

    assert values_of(text) == values


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a'b\"c", "both ' and \""),
        ("it's $5", "both ' and $"),
        ("it's `x`", "both ' and `"),
        ("it's \\", "both ' and \\"),
        ("a\\\\b", "a backslash before another or at its end"),
        ("a\\", "a backslash before another or at its end"),
        ("${HOME}", "it holds ${"),
        ("a\rb", "a carriage return"),
        ("a\udcff", "not valid Unicode"),
    ],
)
def test_what_readers_do_not_agree_on_cannot_be_written(value, said):
    assert said in (dotenv.problem(value) or "")


@pytest.mark.parametrize(
    "value", ["", " a ", "a\nb", 'say "x"', "it's", "$HOME", "a\\nb", "#a", "`x`", "a=b", "é 漢"]
)
def test_what_they_agree_on_can(value):
    assert dotenv.problem(value) is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=b", {"A": "b"}),
        ("\ufeffA=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
        ("  export A = b  # a remark\n\n# B=c\n", {"A": "b"}),
        ("A=", {"A": ""}),
        ("A=#", {"A": ""}),
        ("A=b#c", {"A": "b#c"}),
        ("URL=https://x/?a=b&c='d'", {"URL": "https://x/?a=b&c='d'"}),
        ("A='b # c' # d", {"A": "b # c"}),
        ("A='b\\n'", {"A": "b\\n"}),
        ('A="b\\n\\tc\\"\\\\\\$\\q"', {"A": 'b\n\tc"\\$\\q'}),
        ("A='one\ntwo'\nB=\"three\nfour\"\nC=5", {"A": "one\ntwo", "B": "three\nfour", "C": "5"}),
        ("A='${B}'", {"A": "${B}"}),
        ('A="\\${B}"', {"A": "${B}"}),
        ("A=pa$$word", {"A": "pa$$word"}),
        ("", {}),
    ],
)
def test_a_text_is_read(text, values):
    assert values_of(text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=b\nsqueamish ossifrage", "Line 2: give NAME=value"),
        ("A=b\n\n=c", "Line 3: give NAME=value"),
        ("A='one\ntwo'\nB='squeamish\n", "Line 3: the quote ' is not closed."),
        ('A="squeamish\\"', 'Line 1: the quote " is not closed.'),
        ("A='one\ntwo' squeamish", "Line 2: after the closing quote ' only a comment can follow."),
        ("A='it\\'s'", "Line 1: after the closing quote ' only a comment can follow."),
        ("A=b\nA=c", "Line 2: A is there already, in line 1."),
        ("A=b\nC=squeamish${A}", "Line 2: ${…} stands for another variable"),
        ('C="squeamish${A}"', "Line 1: ${…} stands for another variable"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_line_and_without_the_value(text, said):
    with pytest.raises(Unreadable) as caught:
        dotenv.read(text)

    assert str(caught.value).startswith(said)
    assert "squeamish" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("A=b'\"\\ \n#$"), max_size=40))
def test_whatever_the_text_it_is_read_or_refused(text):
    with contextlib.suppress(Unreadable):
        dotenv.read(text)
