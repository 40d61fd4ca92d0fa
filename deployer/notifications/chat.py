"""What a chat is told: one line of plain text.

Commit messages, names and causes come from strangers. What chats take for markup, for a link with another text, or
for a call to everybody in the room is replaced by signs that look alike and mean nothing.
"""

from __future__ import annotations

import re

from deployer.models.notification import Occasion
from deployer.notifications.message import one_line, shortened
from deployer.notifications.telling import Telling

MAX_LINE = 900

TONES = {
    Occasion.STARTED: "info",
    Occasion.SUCCESS: "success",
    Occasion.RECOVERY: "success",
    Occasion.FAILURE: "failure",
    Occasion.INTERRUPTION: "warning",
    Occasion.CANCELLATION: "info",
}

TEST_LINE = "This is a test message from Deployer: it arrives."

# Slack takes <!channel>, <@U1> and <http://…|text>; Discord and Matrix take Markdown; some take HTML.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "*": "∗", "`": "ˋ", "~": "∼", "|": "¦", "[": "⟦", "]": "⟧"})
_EMPHASIS = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")
_CALL = re.compile(r"@(?=\w)")
_LINK = re.compile(r"(?<=\w)://")


def line(telling: Telling) -> str:
    """``app: failed · DEP-0042 · 1a2b3c4 Mend the door · push by grace · 12 s · step 'test' exited with 1 · https://…``"""
    parts = [
        f"{telling.project}: {telling.word}",
        telling.ref,
        f"{(telling.sha or '')[:7]} {harmless(telling.subject)}".strip(),
        harmless(telling.asked),
        telling.duration,
        harmless(telling.cause_line),
    ]
    # The link is never what is cut off.
    return f"{shortened(' · '.join(filter(None, parts)), MAX_LINE)} · {telling.link}"


def harmless(text: str) -> str:
    """One line of somebody else's as text that no chat makes anything of."""
    text = _EMPHASIS.sub(lambda match: "＿" * len(match[0]), one_line(text).translate(_LOOKALIKES))
    # A space of no width stands between: the name is read, and nobody is called. An address does not become a link.
    return _LINK.sub(":\u200b//", _CALL.sub("@\u200b", text))
