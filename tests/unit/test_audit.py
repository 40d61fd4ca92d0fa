"""The audit log: with the change or not at all, found again, and not to be filled by strangers."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from deployer import audit, settings
from deployer.audit import Actor

ADA = Actor("ada", "192.0.2.1")


@pytest.fixture
def found(installation):
    def find(**given):
        with Session(installation.database.engine) as session:
            return [(one.actor, one.action, one.subject) for one in audit.find(session, **given)]

    return find


def test_an_event_is_kept_with_its_change(installation, found):
    with audit.changing(installation.database, ADA, "settings.changed", "PATH") as session:
        settings.set_extra_path(session.connection(), ["/opt/bin"])

    assert found() == [("ada", "settings.changed", "PATH")]


def test_a_change_that_fails_leaves_no_event(installation, found):
    with (
        pytest.raises(settings.InvalidInput),
        audit.changing(installation.database, ADA, "settings.changed", "PATH") as session,
    ):
        settings.set_extra_path(session.connection(), ["bin"])

    assert found() == []


def test_events_are_found_by_who_what_and_text_and_by_pages(installation, found):
    with installation.database.write() as connection:
        audit.record(connection, ADA, "project.created", "shop", "100% sure")
        audit.record(connection, Actor("grace"), "project.changed", "shop", "was store")
        audit.record(connection, Actor("grace"), "user.created", "barbara")
    created, changed, user = ("ada", "project.created", "shop"), ("grace", "project.changed", "shop"), None
    user = ("grace", "user.created", "barbara")

    assert found() == [user, changed, created]
    assert found(actor="grace") == [user, changed]
    assert found(action="project.created") == [created]
    assert found(text="shop") == [changed, created]
    assert found(text="store") == [changed]
    assert found(text="%") == [created]
    assert found(text="_") == []
    assert found(actor="grace", text="shop") == [changed]
    with Session(installation.database.engine) as session:
        (newest,) = audit.find(session, limit=1)
        assert [one.action for one in audit.find(session, before=newest.id, limit=1)] == ["project.changed"]


def test_of_failed_logins_only_the_newest_are_kept_and_nothing_else_goes(installation, found):
    with installation.database.write() as connection:
        audit.record(connection, ADA, "project.created", "shop")
        for number in range(audit.KEPT_FAILED_LOGINS + 20):
            audit.record_failed_login(connection, "192.0.2.9", f"user-{number}", "wrong password")

    everything = found(limit=5000)
    assert len(everything) == audit.KEPT_FAILED_LOGINS + 1
    assert everything[0][2] == f"user-{audit.KEPT_FAILED_LOGINS + 19}"
    assert everything[-1] == ("ada", "project.created", "shop")
