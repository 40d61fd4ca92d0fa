"""The dotenv format: lines of ``NAME=value``, written so that every reader sees the same, and read.

There is no standard. What is written keeps to what a POSIX shell (``set -a; . ./file``), python-dotenv and the dotenv
of Node.js read alike: single quotes where they can, double quotes for a value that holds a single one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[^\s=#'\"]+)[ \t]*=[ \t]*")
_REST = re.compile(r"[ \t]*(?:#.*)?\Z")
_REFERENCE = re.compile(r"(?<!\\)\$\{")
_COMMENT = re.compile(r"(?:^|[ \t])#.*\Z")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "`": "`"}
_CLOSED = re.compile(r"\"((?:\\.|[^\"\\])*)\"|'([^']*)'", re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A variable as it was read. ``line`` is where it begins, counted from 1."""

    line: int
    name: str
    value: str


class Unreadable(Exception):
    """A text that is not in the format. The message names the line, and never a value."""


# Written ---------------------------------------------------------------------------------------------------------


def problem(value: str) -> str | None:
    """Why ``value`` cannot be written so that all readers see the same, in words; None if it can."""
    if any("\ud800" <= one <= "\udfff" for one in value):
        return "it is not valid Unicode"
    if "\r" in value:
        return "it holds a carriage return, which readers take for the end of a line"
    if "'" in value:
        # Of these each shell or library makes something else in double quotes.
        found = next((one for one in '"\\$`' if one in value), None)
        return f"it holds both ' and {found}, and no quotes keep both" if found else None
    if "\\\\" in value or value.endswith("\\"):
        return "it holds a backslash before another or at its end, which only some readers take as they are"
    if "${" in value:
        return "it holds ${, which some readers replace by another variable"
    return None


def quoted(value: str) -> str:
    """A value without a `problem`, as it stands in the file."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def escaped(value: str) -> str:
    """Any value, as `read` takes it back; other readers may not."""
    if not problem(value):
        return quoted(value)
    special = {character: f"\\{letter}" for letter, character in _ESCAPES.items() if character not in "\n\t"}
    return '"' + "".join(special.get(one, one) for one in value) + '"'


def lines(values: Iterable[tuple[str, str]]) -> str:
    """Names and values without a `problem`, as the text of a file."""
    return "".join(f"{name}={quoted(value)}\n" for name, value in values)


# Read ------------------------------------------------------------------------------------------------------------


def read(text: str) -> list[Entry]:
    """The variables of a text, in their order. Raises Unreadable.

    Without quotes a value ends before ``#`` or the end of its line. In single quotes all is as it stands; in double
    ones ``\\n``, ``\\r``, ``\\t``, ``\\"``, ``\\\\``, ``\\$`` and ``\\``` are what they are in a shell or in JSON.
    Both may go over several lines.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    entries: dict[str, Entry] = {}
    place, number = 0, 1
    while place < len(text):
        end = _end_of_line(text, place)
        if (line := text[place:end].strip()) and not line.startswith("#"):
            match = _LINE.match(text, place)
            if match is None:
                raise Unreadable(f"Line {number}: give NAME=value, or begin a comment with #.")
            name = match["name"]
            if name in entries:
                raise Unreadable(f"Line {number}: {name} is there already, in line {entries[name].line}.")
            if text[match.end() : match.end() + 1] in ("'", '"'):
                value, end = _in_quotes(text, match.end(), number)
            else:
                value = _COMMENT.sub("", text[match.end() : end]).strip()
                _refuse_reference(value, number)
            entries[name] = Entry(number, name, value)
        number += text.count("\n", place, end) + 1
        place = end + 1
    return list(entries.values())


def _end_of_line(text: str, place: int) -> int:
    end = text.find("\n", place)
    return len(text) if end < 0 else end


def _in_quotes(text: str, place: int, number: int) -> tuple[str, int]:
    """The value whose quotes begin at ``place``, in line ``number``; and the end of the line where they close."""
    quote = text[place]
    match = _CLOSED.match(text, place)
    if match is None:
        raise Unreadable(f"Line {number}: the quote {quote} is not closed.")
    end = _end_of_line(text, match.end())
    if not _REST.match(text[match.end() : end]):
        last = number + match[0].count("\n")
        raise Unreadable(f"Line {last}: after the closing quote {quote} only a comment can follow.")
    if quote == "'":
        return match[2], end
    _refuse_reference(match[1], number)
    return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), match[1], flags=re.DOTALL), end


def _refuse_reference(value: str, line: int) -> None:
    if _REFERENCE.search(value):
        raise Unreadable(
            f"Line {line}: ${{…}} stands for another variable, which is not looked up here; write its value out, or "
            "put the text into single quotes if it is meant as it stands."
        )
