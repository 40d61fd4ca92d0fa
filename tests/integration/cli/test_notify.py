"""``notify list``, ``notify test`` and ``notify log``."""

from __future__ import annotations

import json

import pytest

from deployer import clock, projects
from deployer.models import Notification
from deployer.models.channel import ChannelKind
from deployer.models.notification import NotificationStatus, Occasion
from deployer.notifications import channels
from deployer.notifications.channels import ChannelInput
from tests.support.listener import Listener

ALLOWED = {"DEPLOYER_OUTBOUND_ALLOW_PRIVATE": "true"}


@pytest.fixture
def hook(operator):
    """A channel of the project app, to a server that is there."""
    with Listener() as listener:
        project = operator.make_project("https://github.com/grace/app.git")
        checked = channels.check(
            ChannelKind.WEBHOOK, ChannelInput("ops hook", url=f"{listener.url}/in/T0KEN-of-mine")
        )
        with operator.database.write_session() as session:
            owner = projects.find(session, project.id)
            made = channels.create(session, ChannelKind.WEBHOOK, checked, owner, operator.installation.vault)
        now, deployment_id = clock.now(), operator.deploy(project)
        with operator.database.write_session() as session:
            session.add(
                Notification(
                    id=clock.new_id(),
                    channel_id=made.id,
                    deployment_id=deployment_id,
                    occasion=Occasion.FAILURE,
                    status=NotificationStatus.GIVEN_UP,
                    attempts=3,
                    last_error="It answered 403.",
                    next_attempt_at=now,
                    created_at=now,
                )
            )
        yield listener


def test_channels_are_listed_tried_and_their_log_is_shown(shell, hook):
    shown = shell("notify", "list").stdout
    said = shell("notify", "test", "app/ops hook", **ALLOWED).stdout
    (row,) = json.loads(shell("notify", "log", "--json").stdout)
    line = shell("notify", "log").stdout.splitlines()[1]

    assert hook.url in shown
    assert "T0KEN" not in shown
    assert "failure, recovery, interruption" in shown
    assert said == f"{hook.url} answered 200.\n"
    assert hook.requests[0].json["event"] == "test"
    assert (row["channel"], row["status"], row["tries"]) == ("app/ops hook", "given_up", 3)
    for word in ("given_up", "DEP-0001", "failure", "app/ops hook", "It answered 403."):
        assert word in line


def test_what_is_refused_is_told_in_one_line(shell, hook):
    assert "There is no channel nothing." in shell("notify", "test", "nothing", code=1).stderr
    refused = shell("notify", "test", "app/ops hook", code=1).stderr
    assert "it is a private address. Set outbound.allow_private" in refused
    assert hook.requests == []


def test_without_channels_it_says_where_they_are_made(shell, operator):
    assert shell("notify", "list").stdout.startswith("No channels yet.")
    assert shell("notify", "log").stdout == "Nothing was sent yet.\n"
