"""Recorded deliveries of each provider: ``tests/unit/payloads/<provider>/<case>.json``, headers and body.

Their fields are those that the forges document; names and ids are made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.providers.base import Provider
from deployer.providers.generic import Settings
from deployer.providers.known import PROVIDERS, provider

FOLDER = Path(__file__).parents[1] / "unit" / "payloads"

OLD = "3f1c7d0a9b8e6452a7c0d1e2f3a4b5c6d7e8f901"
NEW = "c4a1e9f07d2b5836940e1f2a3b4c5d6e7f809123"
"""Of each recorded push: the commit before, and after."""

SECRET = b"0f9c1d5b2ea84c7793b6d0e8f1a2b3c4"
GENERIC = Settings(header="X-Build-Signature", prefix="hmac=", ref="/push/ref", commit="/push/commits/0/sha")


class Headers(dict[str, str]):
    """Headers, looked up in any spelling."""

    def get(self, name: str, default: Any = None, /) -> Any:
        found = (value for key, value in self.items() if key.lower() == name.lower())
        return next(found, default)


@dataclass(frozen=True)
class Recorded:
    """One delivery, signed with `SECRET`."""

    provider: Provider
    raw: bytes
    headers: Headers


def forge(name: str) -> Provider:
    return provider(name, GENERIC)


def cases() -> list[tuple[str, str]]:
    """Each provider with each of its recorded deliveries."""
    return [(name, path.stem) for name in PROVIDERS for path in sorted((FOLDER / name).glob("*.json"))]


def body_of(name: str, case: str) -> dict[str, Any]:
    return json.loads((FOLDER / name / f"{case}.json").read_text())["body"]


def recorded(name: str, case: str = "push", secret: bytes = SECRET) -> Recorded:
    document = json.loads((FOLDER / name / f"{case}.json").read_text())
    return signed(name, json.dumps(document["body"], ensure_ascii=False).encode(), document["headers"], secret)


def signed(name: str, raw: bytes, headers: dict[str, str], secret: bytes = SECRET) -> Recorded:
    """A delivery of these bytes, with the proof of who sent it beside the headers."""
    one = forge(name)
    proof = one.sign(raw, secret, "guid")
    wanted = {*one.signatures, "webhook-id", "webhook-timestamp"}
    return Recorded(one, raw, Headers(headers | {key: proof[key] for key in wanted if key in proof}))
