"""The mailer: a thread that sends what the outbox holds, when it is due. What hangs here delays nothing else."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import DBAPIError

from deployer.db import retrying
from deployer.errors import StorageUnavailable
from deployer.installation import Installation
from deployer.notifications import mail_settings, outbox

log = logging.getLogger("deployer.mail")

IDLE_WAIT_S = 60.0
FAULT_WAIT_S = (1.0, 60.0)
"""Between looks while the database cannot be read or written: the first wait, and the longest."""

REST_S = 0.5
"""Between two looks, however often something is committed: a flood of output is no news for this thread."""


def start(installation: Installation) -> None:
    """Send from now on, in a thread of its own."""
    _mark(installation)
    threading.Thread(target=_work, args=(installation,), name="mailer", daemon=True).start()


def _mark(installation: Installation) -> None:
    """The configuration may have changed while no runner was there."""
    with installation.database.read() as connection:
        is_complete = mail_settings.load(connection, installation.config).is_complete
        if is_complete == mail_settings.is_marked(connection):
            return

    def write() -> None:
        with installation.database.write() as connection:
            mail_settings.mark(connection, installation.config)

    retrying(write)


def _work(installation: Installation) -> None:
    fault_wait_s = FAULT_WAIT_S[0]
    while True:
        try:
            seen = installation.database.bell.generation
            wait_s = _look(installation)
        except Exception as error:
            # A database that cannot be read or written now: there will be another look.
            is_storage = isinstance(error, StorageUnavailable | DBAPIError)
            log.error("the outbox could not be worked off: %s", error, exc_info=not is_storage)
            time.sleep(fault_wait_s)
            fault_wait_s = min(2 * fault_wait_s, FAULT_WAIT_S[1])
            continue
        fault_wait_s = FAULT_WAIT_S[0]
        time.sleep(REST_S)
        installation.database.wait_for_change(seen, min(wait_s, IDLE_WAIT_S))


def _look(installation: Installation) -> float:
    """Send what is due; the seconds until more is."""
    with installation.database.read() as connection:
        due = outbox.first(connection)
    if due is None:
        return IDLE_WAIT_S
    # Imported with the first mail: who sends none does not carry mail, TLS and templates in memory.
    from deployer.notifications import delivery

    wait_s = delivery.send_due(installation)
    return IDLE_WAIT_S if wait_s is None else wait_s
