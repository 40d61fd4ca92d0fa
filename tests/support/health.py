"""What ``GET /health`` says of a daemon."""

from __future__ import annotations

from typing import Any

from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

PARTS = ["database", "disk", "key", "runner"]


def health(daemon: Daemon) -> tuple[int, dict[str, Any]]:
    """The status, and what is said of each part."""
    answer = Browser(daemon).get("/health")
    document = answer.json
    assert document["status"] == ("ok" if answer.status == 200 else "failing")
    assert [one["name"] for one in document["checks"]] == PARTS
    assert str(daemon.folder) not in answer.text
    return answer.status, {one["name"]: one for one in document["checks"]}


def unwell(daemon: Daemon) -> dict[str, str]:
    """What is not well, and the words for it."""
    status, checks = health(daemon)
    found = {name: one["message"] for name, one in checks.items() if not one["ok"]}
    assert status == (503 if found else 200)
    return found


def turns(daemon: Daemon, *names: str) -> dict[str, str]:
    """Wait until just these parts are not well."""
    wait_until(lambda: list(unwell(daemon)) == list(names), f"the health to be {names or 'well'}")
    return unwell(daemon)
