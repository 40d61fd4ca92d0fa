"""The courier: sends what the outbox holds for channels, in a thread of its own for each that has something due.

A channel gets its notifications one after the other, in their order; one that hangs holds up no other, and no
deployment.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import DBAPIError

from deployer import clock
from deployer.errors import StorageUnavailable
from deployer.installation import Installation
from deployer.notifications import outbox

log = logging.getLogger("deployer.channels")

AT_ONCE = 6
"""So many channels are spoken to at once: each takes a process for as long as that lasts."""

IDLE_WAIT_S = 60.0
BUSY_WAIT_S = 1.0
"""Between looks while some channel is at work, which may have left something the moment it was looked at."""

FAULT_WAIT_S = 10.0
REST_S = 0.5
"""Between two looks, however often something is committed."""


def start(installation: Installation) -> None:
    """Send from now on."""
    courier = _Courier(installation)
    threading.Thread(target=courier.work, name="courier", daemon=True).start()


class _Courier:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._database = installation.database
        self._at_work: dict[str, threading.Thread] = {}
        self._slots = threading.Semaphore(AT_ONCE)

    def work(self) -> None:
        while True:
            seen = self._database.bell.generation
            try:
                wait_s = self._look()
            except Exception as error:
                _tell(error)
                wait_s = FAULT_WAIT_S
            time.sleep(REST_S)
            self._database.wait_for_change(seen, wait_s)

    def _look(self) -> float:
        """Have sent what is due; the seconds until more is."""
        with self._database.read() as connection:
            waiting = outbox.waiting(connection)
        self._at_work = {name: one for name, one in self._at_work.items() if one.is_alive()}
        now = clock.now()
        wait_s = IDLE_WAIT_S
        for channel_id, at in waiting.items():
            if channel_id in self._at_work:
                continue
            if at > now:
                wait_s = min(wait_s, (at - now).total_seconds())
                continue
            thread = threading.Thread(target=self._send, args=(channel_id,), name="channel", daemon=True)
            thread.start()
            self._at_work[channel_id] = thread
        return min(wait_s, BUSY_WAIT_S) if self._at_work else wait_s

    def _send(self, channel_id: str) -> None:
        # Imported with the first notification: who has no channels does not carry what sending needs.
        from deployer.notifications import sending

        try:
            with self._slots:
                sending.send_due(self._installation, channel_id)
        except Exception as error:
            # A database that cannot be read or written now: there will be another look.
            _tell(error)
            time.sleep(FAULT_WAIT_S)


def _tell(error: Exception) -> None:
    is_storage = isinstance(error, StorageUnavailable | DBAPIError)
    log.error("the outbox could not be worked off: %s", error, exc_info=not is_storage)
