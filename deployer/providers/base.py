"""What every provider does, and what it makes of a verified delivery."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs

from deployer.errors import PayloadInvalid, SignatureInvalid

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"

MAX_PATHS = 3000
"""Changed paths of a push that are looked at; of one with more they count as unknown."""

_FORM = "application/x-www-form-urlencoded"
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
# A number of so many digits is an attack on whoever converts it. A string may hold as many, so the body is then
# looked at closer. Translating and searching takes microseconds; a regular expression, a hundred.
_DIGITS_ONLY = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_MANY_DIGITS = b"0" * 1000


@dataclass(frozen=True, slots=True)
class Push:
    """A change of one ref. ``branch`` is None for a tag or an unknown ref; ``sha`` is None where a ref was deleted,
    and may be that of an annotated tag itself. ``paths`` are those that changed; None where the forge does not tell,
    or not all of them."""

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
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A delivery as its provider names it. ``push`` is there for a push only, and ``more`` where it changed several
    refs at once; ``is_ping`` marks the forge's test."""

    name: str
    is_ping: bool = False
    push: Push | None = None
    more: tuple[Push, ...] = ()
    repository: str | None = None

    @property
    def pushes(self) -> tuple[Push, ...]:
        return (self.push, *self.more) if self.push else ()


@dataclass(frozen=True, slots=True)
class Instructions:
    """How a webhook is made at a forge, in the forge's own words.

    ``where`` to click in a repository, what the fields for the webhook's address and its secret are called, further
    ``choices`` (a label and what to choose there), and what happens ``then``. ``page`` is where that is, below the
    repository's own page, where that can be known.
    """

    where: str
    address_label: str
    secret_label: str
    choices: tuple[tuple[str, str], ...]
    then: str
    page: str = ""


class Headers(Protocol):
    """A request's headers by their usual names; what looks them up knows any spelling of those."""

    def get(self, name: str, /) -> str | None: ...


class Provider(ABC):
    """What a forge sends.

    ``signatures`` are the headers that may prove who sent a request, ``kept`` those that are shown with a delivery
    (never a secret one).
    """

    name: str
    label: str
    signatures: tuple[str, ...]
    kept: tuple[str, ...]
    instructions: Instructions

    @abstractmethod
    def verify(self, raw: bytes, headers: Headers, secret: bytes) -> None:
        """Raises SignatureInvalid unless the headers prove that whoever knows the secret sent exactly these bytes; a
        proof that is missing is a wrong one."""

    @abstractmethod
    def parse(self, raw: bytes, headers: Headers, *, with_paths: bool = False) -> Event:
        """The event in a verified body. Without ``with_paths`` a push may leave out which paths changed.

        Raises PayloadInvalid unless the body holds one JSON object.
        """

    @abstractmethod
    def delivery_id(self, headers: Headers) -> str | None:
        """What the forge calls the delivery, also when it sends it again. It proves nothing."""

    @abstractmethod
    def sign(self, body: bytes, secret: bytes, guid: str) -> dict[str, str]:
        """The headers with which the forge would send this push: what `verify` and `parse` are to take."""

    @abstractmethod
    def push_document(self, branch: str, sha: str, pusher: str, repository: str) -> dict[str, Any]:
        """A push of a branch's tip, with the fields of the forge's payload that `parse` reads."""


# Signatures -----------------------------------------------------------------------------------------------------


def require_secret(secret: bytes) -> None:
    """Raises SignatureInvalid where there is none: an empty one would let everybody in."""
    if not secret:
        raise SignatureInvalid("The project has no webhook secret.")


def verify_hmac(raw: bytes, signature: str | None, secret: bytes, prefix: str = "sha256=") -> None:
    """Raises SignatureInvalid unless ``signature`` is ``prefix`` and the HMAC-SHA256 of ``raw`` in hexadecimal."""
    require_secret(secret)
    if signature is None or not signature.startswith(prefix) or not _HEX.match(signature, len(prefix)):
        raise SignatureInvalid("The signature is missing or malformed.")
    expected = hmac.digest(secret, raw, hashlib.sha256)
    if not hmac.compare_digest(expected, bytes.fromhex(signature[len(prefix) :])):
        raise SignatureInvalid("The signature does not match.")


def hmac_of(raw: bytes, secret: bytes, prefix: str = "sha256=") -> str:
    """What `verify_hmac` takes."""
    return prefix + hmac.digest(secret, raw, hashlib.sha256).hex()


# Bodies ---------------------------------------------------------------------------------------------------------


def json_of(raw: bytes, headers: Headers) -> bytes:
    """The JSON in a body: the body itself, or the field ``payload`` of a form. Raises PayloadInvalid."""
    content_type = headers.get("Content-Type") or ""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        return raw
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100)
        return fields["payload"][0].encode("utf-8")
    except (KeyError, ValueError) as error:
        raise PayloadInvalid("The form holds no usable field named payload.") from error


def has_many_digits(body: bytes) -> bool:
    """Whether there may be a number in it that must not be converted."""
    return _MANY_DIGITS in body.translate(_DIGITS_ONLY)


def document_of(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises PayloadInvalid."""
    try:
        # A number of very many digits is a ValueError here.
        document = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PayloadInvalid("The body is not JSON.") from error
    if not isinstance(document, dict):
        raise PayloadInvalid("The body is not a JSON object.")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# Fields, any of which may be missing or of another type -----------------------------------------------------------


def part(container: Any, *keys: str) -> Mapping[str, Any]:
    """The object that the keys lead to; an empty one where there is none."""
    for key in keys:
        container = container.get(key) if isinstance(container, dict) else None
    return container if isinstance(container, dict) else {}


def text(container: Mapping[str, Any], key: str) -> str | None:
    value = container.get(key)
    return value if isinstance(value, str) else None


def objects(container: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects in a list."""
    value = container.get(key)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def strings(container: Mapping[str, Any], key: str) -> list[str] | None:
    """A list of texts; None where it is no such list."""
    value = container.get(key)
    return value if isinstance(value, list) and all(isinstance(one, str) for one in value) else None


def branch_of(ref: str) -> str | None:
    return ref[len(BRANCHES) :] if ref.startswith(BRANCHES) else None


def tag_of(ref: str) -> str | None:
    return ref[len(TAGS) :] if ref.startswith(TAGS) else None


def is_zero(sha: str | None) -> bool:
    """Whether a commit's id stands for none: before a ref was created, after it was deleted."""
    return bool(sha) and not (sha or "").strip("0")


def sha_of(word: str | None) -> str | None:
    """A commit's whole id (SHA-1 or SHA-256); None for anything else."""
    return word if word and _SHA.match(word) and not is_zero(word) else None


def web_address(url: str | None) -> str | None:
    """It is shown as a link, so only an address of the web."""
    url = harmless(url, 2048)
    return url if url and url.startswith("https://") else None


def paths_of(commits: Iterable[Mapping[str, Any]]) -> tuple[str, ...] | None:
    """The paths that commits with lists of what they added, modified and removed have changed, in their order; None
    where one of them has no list at all, or one that is none."""
    found: dict[str, None] = {}
    for commit in commits:
        given = [key for key in ("added", "modified", "removed") if commit.get(key) is not None]
        lists = [strings(commit, key) for key in given]
        for names in lists or [None]:
            if names is None:
                return None
            found.update(dict.fromkeys(names))
    return known_paths(found)


def known_paths(found: Iterable[str]) -> tuple[str, ...] | None:
    """Paths as a push has them: None where there are too many, or none at all, which says nothing of what changed."""
    paths = tuple(harmless(path, 4096) or "" for path in found)
    return paths if 0 < len(paths) <= MAX_PATHS else None


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
