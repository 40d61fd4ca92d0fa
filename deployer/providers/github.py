"""GitHub's deliveries.

Sources: "Validating webhook deliveries" (HMAC-SHA256 of the raw body in ``X-Hub-Signature-256``, as
``sha256=<hex>``) and "Webhook events and payloads" (``push``, ``ping``) of GitHub's documentation.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any
from urllib.parse import parse_qs

import msgspec

from deployer.errors import PayloadInvalid, SignatureInvalid
from deployer.providers.base import Event, Push, harmless

NAME = "github"

_FORM = "application/x-www-form-urlencoded"
_SIGNATURE = re.compile(r"sha256=[0-9a-fA-F]{64}\Z")
# A number of so many digits is an attack on whoever converts it. A string may hold as many, so the body is then
# looked at closer. Translating and searching takes microseconds; a regular expression, a hundred.
_DIGITS_ONLY = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_MANY_DIGITS = b"0" * 1000
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_BRANCHES = "refs/heads/"
_TAGS = "refs/tags/"


class _Author(msgspec.Struct):
    name: str | None = None
    email: str | None = None


class _Commit(msgspec.Struct):
    message: str | None = None
    author: _Author | None = None


class _Pusher(msgspec.Struct):
    name: str | None = None


class _Repository(msgspec.Struct):
    full_name: str | None = None


class _Payload(msgspec.Struct):
    """The fields that are read; msgspec skips the others without building them."""

    ref: str | None = None
    after: str | None = None
    deleted: bool | None = None
    compare: str | None = None
    head_commit: _Commit | None = None
    pusher: _Pusher | None = None
    repository: _Repository | None = None


_decoder = msgspec.json.Decoder(_Payload)


def verify(raw: bytes, signature: str | None, secret: bytes) -> None:
    """Raises SignatureInvalid unless ``signature`` is the MAC of exactly these bytes; a missing one is wrong, too."""
    if not secret:
        raise SignatureInvalid("The project has no webhook secret.")
    if signature is None or not _SIGNATURE.match(signature):
        raise SignatureInvalid("The signature is missing or malformed.")
    expected = hmac.digest(secret, raw, hashlib.sha256)
    if not hmac.compare_digest(expected, bytes.fromhex(signature[7:])):
        raise SignatureInvalid("The signature does not match.")


def sign(body: bytes, secret: bytes, guid: str) -> dict[str, str]:
    """The headers with which GitHub would send this push: what `verify` and `parse` are to take. ``guid`` is the
    delivery's id."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": f"sha256={hmac.digest(secret, body, hashlib.sha256).hex()}",
    }


def push_document(branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
    """A push of a branch's tip, with the fields of GitHub's payload that `parse` reads."""
    return {
        "ref": f"{_BRANCHES}{branch}",
        "before": sha,
        "after": sha,
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {"full_name": repository},
        "pusher": {"name": pusher},
        "commits": [],
        "head_commit": None,
    }


def parse(raw: bytes, content_type: str, event: str | None) -> Event:
    """The event in a verified body. Raises PayloadInvalid unless it holds one JSON object."""
    payload = _decode(_json_of(raw, content_type))
    name = harmless(event, 64) or ""
    repository = harmless(payload.repository.full_name if payload.repository else None, 255)
    if name != "push":
        return Event(name, is_ping=name == "ping", repository=repository)
    return Event(name, push=_push(payload, repository), repository=repository)


def _json_of(raw: bytes, content_type: str) -> bytes:
    if content_type.partition(";")[0].strip().lower() != _FORM:
        return raw
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100)
        return fields["payload"][0].encode("utf-8")
    except (KeyError, ValueError) as error:
        raise PayloadInvalid("The form holds no usable field named payload.") from error


def _decode(body: bytes) -> _Payload:
    if _MANY_DIGITS not in body.translate(_DIGITS_ONLY):
        try:
            return _decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # The slow way decides: it also takes lone surrogates and fields of an unexpected type.
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadInvalid("The body is not JSON.") from error
    if not isinstance(document, dict):
        raise PayloadInvalid("The body is not a JSON object.")
    return _lenient(document)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _lenient(document: dict[str, Any]) -> _Payload:
    """The same fields from a document in which any of them may be missing or of another type."""

    def text(container: Any, key: str) -> str | None:
        value = container.get(key) if isinstance(container, dict) else None
        return value if isinstance(value, str) else None

    commit = document.get("head_commit")
    author = commit.get("author") if isinstance(commit, dict) else None
    return _Payload(
        ref=text(document, "ref"),
        after=text(document, "after"),
        deleted=document.get("deleted") is True,
        compare=text(document, "compare"),
        head_commit=_Commit(text(commit, "message"), _Author(text(author, "name"), text(author, "email"))),
        pusher=_Pusher(text(document.get("pusher"), "name")),
        repository=_Repository(text(document.get("repository"), "full_name")),
    )


def _push(payload: _Payload, repository: str | None) -> Push:
    ref = harmless(payload.ref, 512) or ""
    after = payload.after or ""
    is_deleted = bool(payload.deleted) or (bool(after) and not after.strip("0"))
    commit = payload.head_commit or _Commit()
    author = commit.author or _Author()
    compare = harmless(payload.compare, 2048)
    return Push(
        ref=ref,
        branch=ref[len(_BRANCHES) :] if ref.startswith(_BRANCHES) else None,
        tag=ref[len(_TAGS) :] if ref.startswith(_TAGS) else None,
        is_deleted=is_deleted,
        sha=after if not is_deleted and _SHA.match(after) else None,
        message=harmless(commit.message, 10_000),
        author_name=harmless(author.name, 255),
        author_email=harmless(author.email, 255),
        pusher=harmless(payload.pusher.name if payload.pusher else None, 255),
        # Shown as a link, so only an address of the web.
        compare_url=compare if compare and compare.startswith("https://") else None,
        repository=repository,
    )
