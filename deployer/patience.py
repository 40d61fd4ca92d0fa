"""How long a person waits: a question to somebody else, given up after a while however it hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 15.0
"""How long a person waits for a probe that runs in their request."""


def within(limit_s: float, ask: Callable[[], T]) -> T:
    """What ``ask`` answers or raises. Raises TimeoutError after so many seconds; ``ask`` then goes on unheard, also
    where nothing could interrupt it (a name that is being resolved), so it must end by itself some day.
    """
    answers: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="probe", daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError
    return answers[0]
