"""What `carrier` runs: reads what is to be done from standard input, does it, and says how it went.

Every connection is looked at as it is made, by the address that is really connected to (PEP 578: ``socket.connect``),
whichever library makes it; and no other program can be started.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

from deployer import outbound

_PROGRAMS = frozenset(("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"))

_LOCAL = frozenset(("syslog", "dbus", "glib", "gnome", "macosx", "windows", "blink1"))
"""Apprise's modules that speak to this host itself, and to nobody else."""


class _Refused(OSError):
    """Taken by libraries for a connection that failed, so that they try a name's next address."""


class _Guard:
    """Looks at connections before they are made."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self.refused: str | None = None
        self.is_only_private = False

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _PROGRAMS:
            raise _Refused("no program is started here")
        if event not in ("socket.connect", "socket.sendto"):
            return
        address = args[1]
        host = str(address[0]) if isinstance(address, tuple) else "a socket of this host"
        try:
            why = outbound.problem(host, allow_private=self._allow_private)
        except ValueError:
            why = "it is no numeric address"
        if why:
            self.refused = f"{host}, which is refused: {why}."
            self.is_only_private = why == outbound.problem("127.0.0.1", allow_private=False)
            raise _Refused(self.refused)

    def told(self, place: str) -> dict[str, Any]:
        """The error of a connection that was refused."""
        hint = outbound.ALLOW_PRIVATE if self.is_only_private else "Name another host."
        return {"error": f"{place} leads to {self.refused}", "hint": hint, "is_permanent": True}


def main() -> None:
    # Libraries that print must not disturb what is said.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    given = json.load(sys.stdin)
    # Also where nobody is left to end it.
    signal.setitimer(signal.ITIMER_REAL, given["timeout_s"] + 1)
    acts: dict[str, Callable[[dict[str, Any]], dict[str, Any]]]
    acts = {"request": request, "notify": notify, "look_at": look_at}
    json.dump(acts[given["act"]](given), out)
    out.flush()


def _guard(given: dict[str, Any]) -> _Guard:
    guard = _Guard(allow_private=given["allow_private"])
    sys.addaudithook(guard.look)
    return guard


# HTTP -----------------------------------------------------------------------------------------------------------


def request(given: dict[str, Any]) -> dict[str, Any]:
    import requests

    guard = _guard(given)
    session = requests.Session()
    # No proxy and no .netrc: what is connected to is what was named.
    session.trust_env = False
    try:
        with session.request(
            given["method"],
            given["url"],
            headers=given["headers"],
            data=given["body"].encode() or None,
            timeout=given["timeout_s"],
            allow_redirects=False,
            stream=True,
            verify=given["verify"],
        ) as answer:
            return {
                "status": answer.status_code,
                "headers": {
                    name.lower(): value
                    for name, value in answer.headers.items()
                    if name.lower() in given["kept_headers"]
                },
                "text": _beginning(answer, given["read_bytes"]).decode("utf-8", "replace"),
            }
    except requests.RequestException as error:
        return guard.told(given["place"]) if guard.refused else _explained(given["place"], error, given["timeout_s"])


def _beginning(answer: Any, limit: int) -> bytes:
    found = b""
    for chunk in answer.iter_content(1024):
        found += chunk
        if len(found) >= limit:
            break
    return found[:limit]


def _explained(place: str, error: Exception, timeout_s: float) -> dict[str, Any]:
    import requests

    words = str(error)
    if isinstance(error, requests.exceptions.Timeout):
        return {"error": f"{place} did not answer within {timeout_s:g} s."}
    if isinstance(error, requests.exceptions.SSLError):
        if found := re.search(r"certificate verify failed: ([^(]+)", words):
            return {"error": f"The certificate of {place} cannot be trusted: {found[1].strip()}."}
        return {"error": f"No encrypted connection to {place}."}
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return {"error": f"{place} is no address that can be used.", "is_permanent": True}
    if "NameResolutionError" in words or "Failed to resolve" in words:
        return {"error": f"There is no host {place.partition('://')[2]}, or its name cannot be resolved now."}
    if "Connection refused" in words:
        return {"error": f"{place} does not answer: Connection refused."}
    if "RemoteDisconnected" in words or "Connection aborted" in words or "IncompleteRead" in words:
        return {"error": f"{place} closed the connection."}
    return {"error": f"{place} does not answer: {type(error).__name__}."}


# Apprise --------------------------------------------------------------------------------------------------------


def look_at(given: dict[str, Any]) -> dict[str, Any]:
    found, problem = _instance(given["url"])
    if problem:
        return {"error": problem, "is_permanent": True}
    names_host = any("{host}" in template for template in found.templates)
    return {"name": str(found.service_name), "host": (found.host or "") if names_host else ""}


def notify(given: dict[str, Any]) -> dict[str, Any]:
    words: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            words.append(record.getMessage())

    found, problem = _instance(given["url"])
    if problem:
        return {"error": problem, "is_permanent": True}
    logger = logging.getLogger("apprise")
    logger.addHandler(Listener(logging.WARNING))
    logger.propagate = False
    import apprise

    guard = _guard(given)
    sender = apprise.Apprise(asset=found.asset)
    sender.add(found)
    is_sent = bool(sender.notify(body=given["body"], notify_type=given["tone"], body_format="text"))
    if is_sent:
        return {}
    if guard.refused:
        return guard.told(str(found.service_name))
    said = " ".join(dict.fromkeys(words)) or f"{found.service_name} did not take the message."
    codes = {int(code) for code in re.findall(r"error=(\d{3})", said)}
    return {"error": said, "is_permanent": bool(codes) and codes <= {400, 401, 403, 404, 410, 422}}


def _instance(url: str) -> tuple[Any, str]:
    """Apprise's object for an address; or why there is none."""
    import apprise

    asset = apprise.AppriseAsset(
        app_id="Deployer",
        app_desc="Deployer",
        app_url="",
        # No pictures from elsewhere.
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        http_redirects=False,
        # A template is a file of this host.
        allow_templates=False,
    )
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    try:
        found: Any = apprise.Apprise.instantiate(url, asset=asset)
    except Exception:
        found = None
    if found is None:
        return None, "This is no address that Apprise knows, or it lacks something: see its page about the service."
    module = type(found).__module__.split(".")
    if module[:2] != ["apprise", "plugins"] or module[2] in _LOCAL:
        return None, f"{found.service_name} speaks to this host only; choose a service on the network."
    if not found.verify_certificate:
        return None, "Certificates are always verified: leave verify= out of the address."
    if found.redirects:
        return None, "Redirects are never followed: leave redirect= out of the address."
    return found, ""


if __name__ == "__main__":
    main()
