"""Recording deliveries: one thread of a process, and as many in a transaction as have gathered."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Sequence

from deployer import counters
from deployer.deployments import deliveries
from deployer.deployments.deliveries import Recorded, Request
from deployer.errors import StorageUnavailable
from deployer.installation import Installation

log = logging.getLogger("deployer.hooks")

MAX_BATCH = 256

Outcome = Recorded | StorageUnavailable


class _Slot:
    """A place in the writer's queue, of requests that came together."""

    __slots__ = ("_done", "outcomes", "requests")

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.outcomes: list[Outcome] = []
        self._done = threading.Lock()
        self._done.acquire()

    def wait(self) -> list[Outcome]:
        self._done.acquire()
        return self.outcomes

    def answer(self, outcomes: list[Outcome]) -> None:
        self.outcomes = outcomes
        self._done.release()


class DeliveryWriter:
    """Records deliveries; whoever waits for one is told once it is on disk."""

    MAX_LATER = 1000
    """Bad signatures that may wait to be recorded; more are dropped, so that a stranger cannot fill the memory."""

    def __init__(self, installation: Installation) -> None:
        self._database = installation.database
        self._max_queued = installation.config.runner.max_queued
        self._slots: queue.SimpleQueue[_Slot] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._pid = 0
        self._unknown = 0

    def record(self, requests: Sequence[Request]) -> list[Outcome]:
        """Record requests; returns once they are on disk, or with the error in the place of what is not."""
        if not requests:
            return []
        slot = _Slot(requests)
        self._put(slot)
        return slot.wait()

    def record_later(self, request: Request) -> None:
        """The same without waiting, for what nobody needs to be told about."""
        if self._slots.qsize() < self.MAX_LATER:
            self._put(_Slot([request]))

    def count_unknown(self) -> None:
        """One more request to a project that does not exist."""
        self._unknown += 1
        if self._slots.empty():
            self._put(_Slot([]))

    def _put(self, slot: _Slot) -> None:
        # A thread does not survive the fork of a worker, so it is started by the first request.
        if self._pid != os.getpid():
            with self._starting:
                if self._pid != os.getpid():
                    self._pid = os.getpid()
                    threading.Thread(target=self._work, name="deliveries", daemon=True).start()
        self._slots.put(slot)

    def _work(self) -> None:
        while True:
            slots = [self._slots.get()]
            while len(slots) < MAX_BATCH:
                try:
                    slots.append(self._slots.get_nowait())
                except queue.Empty:
                    break
            outcomes = iter(self._record([request for slot in slots for request in slot.requests]))
            for slot in slots:
                slot.answer([next(outcomes) for _ in slot.requests])

    def _record(self, requests: list[Request]) -> list[Outcome]:
        unknown = self._unknown
        try:
            with self._database.write() as connection:
                if unknown:
                    counters.add(connection, deliveries.UNKNOWN_PROJECT, unknown)
                recorded = deliveries.record(connection, requests, self._max_queued)
        except StorageUnavailable as error:
            return [error] * len(requests)
        except Exception:
            if len(requests) > 1:
                # One by one, so that a bad one does not take the others with it.
                return [outcome for request in requests for outcome in self._record([request])]
            log.exception("a delivery could not be recorded")
            return [StorageUnavailable("The push could not be recorded.")] * len(requests)
        self._unknown -= unknown
        return list(recorded)
