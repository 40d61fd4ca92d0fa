"""Waiting for a fact, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(fact: Callable[[], T], what: str, *, within_s: float = 15.0) -> T:
    """The first truthy answer of ``fact``; an AssertionError that names ``what`` when it does not come in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = fact()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.005)
