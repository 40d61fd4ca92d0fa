"""The carrier: hands one message to one address on the internet, in a process of its own.

That process (`carrier_process`) looks at each address at the moment it connects to it, so that a name cannot lead
elsewhere between the look and the connection; it is killed when its time is over, however slowly the other side
trickles; and the runner carries neither HTTP nor Apprise in memory.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployer.errors import ChannelError

SEND_TIMEOUT_S = 15.0
"""For one attempt altogether, also for a test that a person waits for."""

KEPT_BYTES = 4096
"""Of an answer so much is kept, for the log of what was sent."""

READ_BYTES = 256 * 1024
"""Of an answer that we read ourselves so much is taken."""

_ROOT = Path(__file__).parents[2]
_KEPT_HEADERS = ("location", "retry-after", "ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-reset")


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said. ``headers`` holds those that matter, by their names in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Service:
    """What Apprise makes of an address: the service's name, and the host where the address names one."""

    name: str
    host: str = ""


def request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: str = "",
    *,
    allow_private: bool,
    timeout_s: float = SEND_TIMEOUT_S,
    read_bytes: int = KEPT_BYTES,
) -> Answer:
    """One HTTP request, without redirects. Raises ChannelError where no answer came."""
    given: dict[str, Any] = {"act": "request", "method": method, "url": url, "headers": dict(headers), "body": body}
    given |= {"read_bytes": read_bytes, "kept_headers": _KEPT_HEADERS}
    said = _carry(given, where(url), allow_private, timeout_s)
    return Answer(said["status"], said["headers"], said["text"])


def notify(url: str, body: str, tone: str, *, allow_private: bool, timeout_s: float = SEND_TIMEOUT_S) -> None:
    """One message by an Apprise address. ``tone`` is info, success, warning or failure. Raises ChannelError."""
    _carry({"act": "notify", "url": url, "body": body, "tone": tone}, "The service", allow_private, timeout_s)


def look_at(url: str) -> Service:
    """What an Apprise address leads to, without going there. Raises ChannelError where it cannot be used."""
    said = _carry({"act": "look_at", "url": url}, "The service", True, SEND_TIMEOUT_S)
    return Service(said["name"], said["host"])


def where(url: str) -> str:
    """All of an address that may be shown: ``https://hooks.example.com``."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{parts.port}" if parts.port else "")


def _carry(given: dict[str, Any], place: str, allow_private: bool, timeout_s: float) -> dict[str, Any]:
    given |= {"place": place, "allow_private": allow_private, "timeout_s": timeout_s, "verify": _authorities()}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "deployer.notifications.carrier_process"],
            cwd=_ROOT,
            # Not as arguments, which every user could see.
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=max(0.1, timeout_s),
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ChannelError(f"{place} did not answer within {timeout_s:g} s.") from None
    if done.returncode or not done.stdout:
        raise ChannelError(f"The process that sends ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    if "error" in said:
        raise ChannelError(said["error"], hint=said.get("hint", ""), is_permanent=said.get("is_permanent", False))
    return said


def _authorities() -> str | bool:
    """The system's certificate authorities, those that its owner added among them; True where it names none."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return paths.cafile
    return paths.capath if paths.capath and os.listdir(paths.capath) else True


def _environment() -> dict[str, str]:
    """Nothing of the daemon's, and no home whose .netrc would be read."""
    verify = _authorities()
    found = {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    if isinstance(verify, str):
        found["REQUESTS_CA_BUNDLE"] = verify
    return found
