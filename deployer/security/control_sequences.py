"""Control sequences in text from outside: what a terminal obeys, and what of it is harmless (ECMA-48)."""

from __future__ import annotations

import re

# CSI … final byte, OSC … BEL or ST (within a line, lest a stray one hides the rest), other two-byte escapes, and the
# control characters that are not layout.
CONTROL = re.compile(
    r"\x1b\[([0-9;:]*)m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[@-Z\\-_]?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x80-\x9f]"
)
"""Every control sequence; the first group holds the codes of one that only sets colours (SGR)."""


def only_colours(text: str) -> str:
    """The text as it may go to a terminal: colours stay, and nothing else that it would obey."""
    return CONTROL.sub(lambda match: match[0] if match[1] is not None else "", text)
