"""Mails while the database takes no writes: they wait, and are sent once it does."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.support.database import of_sqlite
from tests.support.waiting import wait_until

pytestmark = of_sqlite


def test_a_mail_that_is_due_while_the_database_is_locked_is_sent_once_it_is_free(
    operator, config, make_project, make_runner, mail_server, outbox
):
    mail_server.stop()
    runner = make_runner().start()
    operator.wait_for_end(operator.deploy(make_project("exit 1")))
    outbox.wait_for(attempts=1, status="pending")
    wait_until(lambda: outbox.row.last_error, "the error is recorded")
    mail_server.start()
    with contextlib.closing(sqlite3.connect(config.database_path, isolation_level=None)) as foreign:
        outbox.is_due()
        foreign.execute("BEGIN EXCLUSIVE")
        wait_until(lambda: "the outbox could not be worked off" in runner.log, "the fault to be met")
        assert mail_server.mails == []
        foreign.execute("ROLLBACK")

    outbox.wait_for(status="sent")
    assert len(mail_server.mails) == 1
    assert runner.is_running
