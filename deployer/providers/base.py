"""What every provider makes of a verified delivery."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Push:
    """A push event. ``branch`` is None for a tag or an unknown ref; ``sha`` is None where a ref was deleted."""

    ref: str
    branch: str | None = None
    tag: str | None = None
    is_deleted: bool = False
    sha: str | None = None
    message: str | None = None
    author_name: str | None = None
    author_email: str | None = None
    pusher: str | None = None
    compare_url: str | None = None
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A delivery as its provider names it. ``push`` is there for a push only; ``is_ping`` marks the forge's test."""

    name: str
    is_ping: bool = False
    push: Push | None = None
    repository: str | None = None


def harmless(text: str | None, longest: int) -> str | None:
    """Text from outside that every store and terminal takes: no NUL, no lone surrogate, bounded.

    PostgreSQL refuses NUL in text, and a lone surrogate cannot be encoded as UTF-8.
    """
    if text is None:
        return None
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text[:longest]
