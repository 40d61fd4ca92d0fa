"""The payloads of verified deliveries: packed as they come, and unpacked for whoever looks at one or replays it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs

from sqlalchemy.orm import Session

from deployer.models.delivery import DeliveryPayload
from deployer.security.redaction import Redactor

KEPT_BYTES = 1024 * 1024
"""What a packed payload may take; a larger one is not kept."""

SHOWN_BYTES = 1024 * 1024
"""A payload up to this size is shown; what is larger is kept only to be replayed."""

_FORM = "application/x-www-form-urlencoded"
_PORTION = 256 * 1024
_MIN_PART_BYTES = 8
# The fastest level, with a window and tables for what a push takes: a third of the time that the defaults need for
# 7 kB, most of which is setting up, and the same size (zlib's manual, deflateInit2).
_HOW = (1, zlib.DEFLATED, 13, 6)


@dataclass(frozen=True, slots=True)
class Packed:
    """A body of so many bytes; ``packed`` is None where it is too large to be kept."""

    size_bytes: int
    packed: bytes | None


def pack(raw: bytes) -> Packed:
    """A body as it is kept. Takes no longer for one that cannot be kept than for the largest that can."""
    packer = zlib.compressobj(*_HOW)
    if len(raw) <= _PORTION:
        return Packed(len(raw), packer.compress(raw) + packer.flush())
    parts: list[bytes] = []
    size = 0
    for start in range(0, len(raw), _PORTION):
        parts.append(packer.compress(raw[start : start + _PORTION]))
        size += len(parts[-1])
        if size > KEPT_BYTES:
            return Packed(len(raw), None)
    parts.append(packer.flush())
    packed = b"".join(parts)
    return Packed(len(raw), packed if len(packed) <= KEPT_BYTES else None)


def unpack(packed: bytes) -> bytes:
    return zlib.decompress(packed)


def find(session: Session, delivery_id: str) -> DeliveryPayload | None:
    """None for a delivery that was not verified, or came before payloads were kept."""
    return session.get(DeliveryPayload, delivery_id)


def redactor(secrets: Iterable[bytes]) -> Redactor:
    """One that also knows secrets, and the lines of longer ones, as JSON spells them."""
    known = list(secrets)
    parts = {part for one in known for part in (one, one.strip(), *one.splitlines()) if len(part) >= _MIN_PART_BYTES}
    spelled = {
        _spelled(one.decode("utf-8", "replace"), is_ascii) for one in {*known, *parts} for is_ascii in (True, False)
    }
    return Redactor({*known, *spelled})


def _spelled(text: str, is_ascii: bool) -> bytes:
    return json.dumps(text, ensure_ascii=is_ascii)[1:-1].encode("utf-8", "replace")


def shown(raw: bytes, content_type: str, hidden: Redactor) -> str:
    """A body as a person reads it: JSON with a line for each value, without secrets.

    It is redacted as it is printed, in which each character is spelled in one way only, however it came. What is no
    JSON is shown as it came.
    """
    text = _json_of(raw, content_type)
    try:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        pretty = text.decode("utf-8", "replace")
    return hidden.text(pretty.encode("utf-8", "replace").decode("utf-8"))


def _json_of(raw: bytes, content_type: str) -> bytes:
    """The JSON in a body: of a form it is the field named payload."""
    if content_type.partition(";")[0].strip().lower() != _FORM:
        return raw
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=100)["payload"][0].encode()
    except (KeyError, ValueError):
        return raw
