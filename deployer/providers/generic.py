"""Deliveries of anything that can sign a JSON body: a CI job, a forge of your own, a shell script with curl.

The HMAC-SHA256 of the raw body is in a header of a chosen name, in hexadecimal behind a chosen prefix. Where ref and
commit are in the body is said by JSON pointers (RFC 6901).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from deployer.providers import base
from deployer.providers.base import Event, Headers, Instructions, Provider, Push, harmless

MAX_POINTER = 255

_HEADER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\Z")
_TAKEN = frozenset(
    (
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
        "x-forwarded-for",
    )
)
_PREFIX = re.compile(r"[!-~]{0,32}\Z")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,8})\Z")
_BAD_ESCAPE = re.compile(r"~(?![01])")


@dataclass(frozen=True, slots=True)
class Settings:
    """What has to be known of a sender. ``ref`` and ``commit`` are JSON pointers."""

    header: str = "X-Signature"
    prefix: str = "sha256="
    ref: str = "/ref"
    commit: str = "/after"


DEFAULT = Settings()


class Generic(Provider):
    name = "generic"
    label = "another sender"
    kept = ("Idempotency-Key",)

    def __init__(self, settings: Settings = DEFAULT) -> None:
        self._settings = settings
        self.signatures = (settings.header,)
        shown = f"{settings.prefix}<hexadecimal>"
        self.instructions = Instructions(
            "",
            "Address to POST to",
            "Key of the HMAC",
            choices=(
                (
                    "Body",
                    f"a JSON object with the ref at {settings.ref} and the commit's whole id at {settings.commit}",
                ),
                ("Content-Type", "application/json"),
                (settings.header, f"{shown}: the HMAC-SHA256 of the body"),
                ("Idempotency-Key", "if you like: what comes twice with the same one is deployed once"),
            ),
            then="The answer's text says what became of the request; it appears here, too.",
        )

    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        base.verify_hmac(raw, headers.get(self._settings.header), secret, self._settings.prefix)

    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        document = base.document_of(base.json_of(raw, headers))
        word = _text_at(document, self._settings.ref) or ""
        # A ref may be given short, as the name of a branch.
        ref = harmless(word if word.startswith("refs/") or not word else f"{base.BRANCHES}{word}", 512) or ""
        commit = _text_at(document, self._settings.commit)
        is_deleted = base.is_zero(commit)
        push = Push(
            ref=ref,
            branch=base.branch_of(ref),
            tag=base.tag_of(ref),
            is_deleted=is_deleted,
            sha=None if is_deleted else base.sha_of((commit or "").lower()),
        )
        return Event("push", push=push)

    def delivery_id(self, headers: Headers) -> str | None:
        return headers.get("Idempotency-Key")

    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": guid,
            self._settings.header: base.hmac_of(body, secret, self._settings.prefix),
        }

    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        document: dict[str, Any] = {}
        _put(document, self._settings.ref, f"{base.BRANCHES}{branch}")
        _put(document, self._settings.commit, sha)
        return document


# JSON pointers (RFC 6901) -----------------------------------------------------------------------------------------


def at(document: Any, pointer: str) -> Any:
    """What a pointer leads to; None where that is nothing."""
    for token in _tokens(pointer):
        if isinstance(document, dict):
            document = document.get(token)
        elif isinstance(document, list) and _INDEX.match(token) and int(token) < len(document):
            document = document[int(token)]
        else:
            return None
    return document


def _text_at(document: Any, pointer: str) -> str | None:
    found = at(document, pointer)
    return found if isinstance(found, str) else None


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _put(document: dict[str, Any], pointer: str, value: str) -> None:
    """Make the document one in which the pointer leads to the value. It leads through objects alone: a number is a
    name there, too."""
    *ways, last = _tokens(pointer)
    for way in ways:
        inner = document.setdefault(way, {})
        document = inner if isinstance(inner, dict) else {}
    document[last] = value


# What a person enters ---------------------------------------------------------------------------------------------


def header_problem(header: str) -> str | None:
    """Why ``header`` cannot hold the signature, in words; None if it can."""
    if not _HEADER.match(header):
        # One with an underscore is dropped on its way: it cannot be told from one with a dash (RFC 3875, 4.1.18).
        return "a header's name has letters, digits and dashes, for example X-Signature"
    if header.lower() in _TAKEN:
        return f"{header} has a meaning of its own; choose another header, for example X-Signature"
    return None


def prefix_problem(prefix: str) -> str | None:
    """Why ``prefix`` cannot stand before the signature, in words; None if it can."""
    return None if _PREFIX.match(prefix) else "a prefix has at most 32 characters and no space, for example sha256="


def pointers_problem(ref: str, commit: str) -> str | None:
    """Why two pointers cannot go together, in words; None if they can."""
    if f"{commit}/".startswith(f"{ref}/") or f"{ref}/".startswith(f"{commit}/"):
        return "the ref and the commit are in two places of the body"
    return None


def pointer_problem(pointer: str) -> str | None:
    """Why ``pointer`` is no JSON pointer, in words; None if it is one."""
    if not pointer.startswith("/"):
        return "a JSON pointer begins with /, for example /push/ref"
    if len(pointer) > MAX_POINTER or not pointer.isprintable():
        return f"a JSON pointer has at most {MAX_POINTER} characters"
    if _BAD_ESCAPE.search(pointer):
        return "in a JSON pointer ~ is written ~0, and / inside a name ~1"
    return None
