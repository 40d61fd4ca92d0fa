"""Log output as HTML: text escaped, colours as classes, every other control sequence dropped.

Colours are SGR sequences (ECMA-48, 8.3.117). A carriage return begins its line anew, as a terminal shows it.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from deployer.security.control_sequences import CONTROL


def render(data: bytes) -> Markup:
    """The log as markup for a ``<pre>``: spans with classes such as ``fg-1``, ``bg-12`` and ``bold``."""
    text = _overwritten(data.decode("utf-8", "replace"))
    style = Style()
    parts: list[str] = []
    position = 0
    for match in CONTROL.finditer(text):
        _put(parts, text[position : match.start()], style)
        position = match.end()
        if match[1] is not None:
            style.apply(match[1])
    _put(parts, text[position:], style)
    # Every piece was escaped by `_put`. HTML would read a plain carriage return as a newline.
    return Markup("".join(parts).replace("\r", "&#13;"))  # noqa: S704


def _overwritten(text: str) -> str:
    """The text without what is overwritten after carriage returns.

    One at the very end is kept: what it overwrites is not known before the next output comes.
    """
    *lines, last = text.split("\n")
    shown = [_line(line)[0] for line in lines]
    begun, is_returned = _line(last)
    shown.append(begun + "\r" if is_returned else begun)
    return "\n".join(shown)


def _line(line: str) -> tuple[str, bool]:
    """What is seen of a line, and whether the next character would overwrite it. Colours outlive their text."""
    kept: list[str] = []
    shown, *others = line.split("\r")
    is_returned = False
    for part in others:
        is_returned = not CONTROL.sub("", part)
        if is_returned:
            shown += part
        else:
            kept += (match[0] for match in CONTROL.finditer(shown))
            shown = part
    return "".join(kept) + shown, is_returned


def _put(parts: list[str], text: str, style: Style) -> None:
    if not text:
        return
    classes = style.classes()
    escaped = str(escape(text))
    parts.append(f'<span class="{classes}">{escaped}</span>' if classes else escaped)


class Style:
    """What SGR codes have switched on so far."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._foreground: int | None = None
        self._background: int | None = None
        self._flags: set[str] = set()

    def apply(self, codes: str) -> None:
        numbers = [int(code) if code.isdigit() and len(code) < 4 else 0 for code in re.split("[;:]", codes)]
        index = 0
        while index < len(numbers):
            code = numbers[index]
            if code in (38, 48) and index + 1 < len(numbers):
                # 256 colours (5;n): the first 16 are ours. True colour (2;r;g;b) is shown plain.
                colour = numbers[index + 2] if numbers[index + 1] == 5 and index + 2 < len(numbers) else None
                self._set(code == 38, colour if colour is not None and colour < 16 else None)
                index += 3 if numbers[index + 1] == 5 else 5
                continue
            self._apply_one(code)
            index += 1

    def _apply_one(self, code: int) -> None:
        flags = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike"}
        off = {22: ("bold", "dim"), 23: ("italic",), 24: ("underline",), 27: ("inverse",), 29: ("strike",)}
        if code == 0:
            self.reset()
        elif code in flags:
            self._flags.add(flags[code])
        elif code in off:
            self._flags.difference_update(off[code])
        elif 30 <= code <= 37 or 90 <= code <= 97:
            self._set(True, code - 30 if code < 90 else code - 82)
        elif 40 <= code <= 47 or 100 <= code <= 107:
            self._set(False, code - 40 if code < 100 else code - 92)
        elif code in (39, 49):
            self._set(code == 39, None)

    def _set(self, is_foreground: bool, colour: int | None) -> None:
        if is_foreground:
            self._foreground = colour
        else:
            self._background = colour

    def classes(self) -> str:
        names = sorted(self._flags)
        if self._foreground is not None:
            names.append(f"fg-{self._foreground}")
        if self._background is not None:
            names.append(f"bg-{self._background}")
        return " ".join(names)
