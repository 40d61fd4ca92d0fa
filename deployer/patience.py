"""How long a person waits: a question to somebody else, given up after a while however it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

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


class Question(Generic[T]):
    """A question that many have at once, and that may hang: one thread of its own asks it, and its answer is kept.

    ``ask`` must not raise.
    """

    def __init__(self, name: str, ask: Callable[[], T]) -> None:
        self._name = name
        self._ask = ask
        self._changed = threading.Condition()
        self._answer: T | None = None
        self._answered_at = 0.0
        self._asked_at: float | None = None

    def begin(self, keep_s: Callable[[T], float]) -> None:
        """Ask, unless somebody does, or the last answer is younger than ``keep_s`` says of it.

        Raises RuntimeError where no thread can be had; the next one who comes tries again.
        """
        with self._changed:
            if self._asked_at is not None:
                return
            if self._answer is not None and time.monotonic() < self._answered_at + keep_s(self._answer):
                return
            self._asked_at = time.monotonic()
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except BaseException:
            with self._changed:
                self._asked_at = None
                self._changed.notify_all()
            raise

    def answer(self, deadline: float) -> tuple[T | None, float]:
        """The newest answer there is at ``deadline`` (of time.monotonic), and for how many seconds a newer one has
        been waited for; 0 where none is."""
        with self._changed:
            self._changed.wait_for(lambda: self._asked_at is None, max(0.0, deadline - time.monotonic()))
            waited_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
            return self._answer, waited_s

    def _work(self) -> None:
        answer = self._ask()
        with self._changed:
            self._answer, self._answered_at, self._asked_at = answer, time.monotonic(), None
            self._changed.notify_all()
