"""Secrets never reach a stored log: they are replaced in the byte stream, over chunk and line boundaries."""

from __future__ import annotations

import base64
import copy
import functools
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = b"***"
MIN_SECRET_BYTES = 4
"""A shorter secret would blank out ordinary text, and tells what it is by where the mask stands."""

_MIN_LINE_BYTES = 8


def patterns_of(secret: bytes) -> set[bytes]:
    """The forms in which a secret shows: itself, its longer lines, as part of JSON and of an address, and base64 in
    all three alignments."""
    # Shells take the newline from the end of what they read: "$(cat file)".
    bare = secret.strip() if len(secret.strip()) >= MIN_SECRET_BYTES else secret
    forms = {secret, bare, secret.replace(b"\n", b"\r\n")}
    for one in (secret, bare):
        forms |= _escaped(one)
    if b"\n" in secret:
        # A key that is indented or numbered while it is printed shows line by line.
        forms.update(line for line in secret.splitlines() if len(line) >= _MIN_LINE_BYTES)
    for plain in {secret, secret + b"\n", bare, bare + b"\n"}:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for shift in range(3):
                encoded = encode(b"\0" * shift + plain)
                # Characters, of six bits each, that also depend on a neighbour of the secret are left out.
                start = (0, 2, 3)[shift]
                end = (shift + len(plain)) * 8 // 6
                forms.add(encoded[start:end])
        # As base64(1) and PEM break it: each line of it shows by itself.
        text = base64.b64encode(plain)
        for width in (64, 76):
            if len(text) > width:
                wrapped = (text[start : start + width] for start in range(0, len(text), width))
                forms.update(part for part in wrapped if len(part) >= _MIN_LINE_BYTES)
    return {form for form in forms if len(form) >= MIN_SECRET_BYTES}


def _escaped(secret: bytes) -> set[bytes]:
    """As JSON writes it into a text (RFC 8259, 7), and as an address holds it (RFC 3986, 2.1)."""
    # What JavaScript's encodeURIComponent leaves as it is, and what Python's quote does.
    forms = {quote(secret, safe="!'()*").encode(), quote(secret, safe="").encode()}
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return forms
    return forms | {json.dumps(text, ensure_ascii=plain)[1:-1].encode() for plain in (False, True)}


class Redactor:
    """Replaces secrets in a stream.

    ``feed`` returns what can be shown and holds back only the longest end that could begin a secret; ``held`` is the
    number of those bytes. Of matches that overlap the leftmost wins, of those that begin together the longest.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        found: set[bytes] = set()
        for secret in secrets:
            if len(secret) >= MIN_SECRET_BYTES:
                found |= patterns_of(secret)
        self._patterns = sorted(found, key=lambda pattern: (-len(pattern), pattern))
        # A text without these has none of the others either.
        self._needles = [one for one in found if not any(other in one for other in found if other != one)]
        self._longest = len(self._patterns[0]) if self._patterns else 0
        self._by_first: dict[int, list[bytes]] = {}
        for pattern in self._patterns:
            self._by_first.setdefault(pattern[0], []).append(pattern)
        firsts = b"".join(re.escape(bytes([first])) for first in sorted(self._by_first))
        self._first = re.compile(b"[" + firsts + b"]") if firsts else None
        self._buffer = b""

    def fresh(self) -> Redactor:
        """One for another stream, with the same secrets."""
        other = copy.copy(self)
        other._buffer = b""
        return other

    @property
    def longest(self) -> int:
        """Bytes of the longest pattern."""
        return self._longest

    @property
    def held(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> bytes:
        text = self._buffer + data if self._buffer else data
        shown, used = self._scan(text, self._hold_from(text, 0))
        self._buffer = text[used:]
        return shown

    def finish(self) -> bytes:
        """What was held back: nothing can follow that would make it a secret."""
        shown, _ = self._scan(self._buffer, len(self._buffer))
        self._buffer = b""
        return shown

    def whole(self, data: bytes) -> bytes:
        """Redact a text that is complete."""
        return self._scan(data, len(data))[0]

    def text(self, message: str) -> str:
        return self.whole(message.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def cut_after(self, window: bytes, index: int) -> int:
        """The first place at or after ``index`` where ``window`` can be cut without showing the end of a secret."""
        matcher = self._matcher(window)
        if matcher:
            for match in matcher.finditer(window):
                if match.start() < index < match.end():
                    return match.end()
        return index

    def _scan(self, text: bytes, hold: int) -> tuple[bytes, int]:
        """Redact ``text`` up to ``hold``, which moves behind a match that begins before it."""
        matcher = self._matcher(text)
        if matcher is None:
            return text[:hold], hold
        shown = []
        used = 0
        for match in matcher.finditer(text):
            if match.start() >= hold:
                break
            shown += [text[used : match.start()], MASK]
            used = match.end()
            if used > hold:
                hold = self._hold_from(text, used)
        shown.append(text[used:hold])
        return b"".join(shown), hold

    def _matcher(self, text: bytes) -> re.Pattern[bytes] | None:
        # `in` is many times faster than an alternation, and nearly always says no.
        if not any(needle in text for needle in self._needles):
            return None
        present = tuple(pattern for pattern in self._patterns if pattern in text)
        return _alternation(present) if present else None

    def _hold_from(self, text: bytes, start: int) -> int:
        """Where the longest end of ``text`` begins that is the beginning of a pattern, but not a whole one."""
        if self._first is None:
            return len(text)
        position = max(start, len(text) - self._longest + 1)
        while match := self._first.search(text, position):
            position = match.start()
            tail = text[position:]
            if any(len(p) > len(tail) and p.startswith(tail) for p in self._by_first[tail[0]]):
                return position
            position += 1
        return len(text)


@functools.lru_cache(maxsize=64)
def _alternation(patterns: tuple[bytes, ...]) -> re.Pattern[bytes]:
    # Longest first, so that of those that begin together the longest matches.
    return re.compile(b"|".join(re.escape(pattern) for pattern in patterns))
