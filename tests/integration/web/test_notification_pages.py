"""The pages of notifications: channels are added, tried, changed and paused, and show nothing that is secret."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.models import Channel, Notification
from deployer.models.notification import NotificationStatus, Occasion
from deployer.notifications import channels
from tests.support.listener import Listener

_numbers = itertools.count(1)


@pytest.fixture
def listener():
    with Listener() as made:
        yield made


@pytest.fixture
def add(admin, project):
    """Enter a channel of the project's; the answer."""

    def post(kind: str, **fields: str):
        name = f"channel-{next(_numbers)}"
        path = f"/projects/{project.name}/notifications/new?kind={kind}"
        return admin.post(path, {"name": name, **fields})

    return post


@pytest.fixture
def stored(operator):
    """The newest channel, with what it keeps sealed."""

    def read() -> tuple[Channel, dict[str, str]]:
        with operator.database.write_session() as session:
            found = session.scalars(sa.select(Channel).order_by(Channel.created_at.desc()).limit(1)).one()
            return found, channels.opened(found, operator.installation.vault)

    return read


def test_a_project_without_channels_says_what_they_are_for(admin, operator, project):
    with operator.database.write() as connection:
        connection.execute(sa.delete(Channel).where(Channel.project_id.is_(None)))

    page = admin.get(f"/projects/{project.name}/notifications")

    assert "A channel tells a chat, a webhook or the commit" in page.text
    assert "Nothing yet." in page.text
    for kind in ("apprise", "webhook", "github", "gitlab", "gitea"):
        assert admin.get(f"/projects/{project.name}/notifications/new?kind={kind}").status == 200
    assert admin.get(f"/projects/{project.name}/notifications/new?kind=pigeon").status == 404


def test_a_chat_is_shown_as_its_service_and_its_address_never_again(admin, project, add, stored):
    url = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
    answer = add("apprise", url=url, on_failure="on", on_started="on")
    channel, sealed = stored()

    page = admin.get(f"/projects/{project.name}/notifications").text
    form = admin.get(f"/channels/{channel.id}").text

    assert answer.location == f"/projects/{project.name}/notifications#channel-{channel.id}"
    assert sealed == {"url": url}
    assert url.encode() not in channel.sealed
    assert "Discord" in page
    assert "started, failure" in page
    for shown in (page, form):
        assert "JHMHI8q" not in shown
        assert "4174216298" not in shown


def test_a_webhooks_secret_can_be_shown_and_renewed(admin, add, stored, listener):
    add("webhook", url=f"{listener.url}/in/T0KEN-of-mine", on_failure="on")
    channel, before = stored()
    form = admin.get(f"/channels/{channel.id}")
    assert form.page.find(id="channel-secret").words == before["secret"]
    assert "T0KEN" not in form.text

    admin.post(f"/channels/{channel.id}/secret")

    after = stored()[1]
    assert (after["url"], after["secret"] == before["secret"]) == (before["url"], False)


def test_what_is_left_empty_is_kept_and_a_tokens_new_place_asks_for_it_again(admin, add, stored):
    add("gitea", token="ghp_0123456789", api_url="https://git.example.com/api/v1")
    channel, before = stored()
    kept = {"name": "statuses", "api_url": "https://git.example.com/api/v1/", "repository": "grace/app"}

    assert admin.post(f"/channels/{channel.id}", kept).status == 302
    assert (stored()[1], channels.facts_of(stored()[0])["repository"]) == (before, "grace/app")
    moved = admin.post(f"/channels/{channel.id}", {**kept, "api_url": "https://elsewhere.example.com"})

    assert moved.status == 400
    assert "Enter the token again" in moved.page.find(id="token-error").words
    assert stored()[1] == before


@pytest.mark.parametrize(
    ("kind", "fields", "field", "words"),
    [
        ("apprise", {"url": "", "on_failure": "on"}, "url", "Give the service's address"),
        ("apprise", {"url": "syslog://", "on_failure": "on"}, "url", "speaks to this host only"),
        ("webhook", {"url": "ftp://example.com", "on_failure": "on"}, "url", "Give an address such as https://"),
        ("webhook", {"url": "https://a:b@example.com", "on_failure": "on"}, "url", "Leave user and password out"),
        ("webhook", {"url": "https://example.com"}, "occasions", "Choose at least one event"),
        ("webhook", {"name": "- no -", "url": "https://example.com"}, "name", "Give a name"),
        ("github", {}, "token", "Give a token."),
        (
            "github",
            {"token": "ghp_0123456789", "api_url": "http://example.com"},
            "api_url",
            "not sent without encryp",
        ),
        ("gitea", {"token": "ghp_0123456789"}, "api_url", "Give the API's address"),
        ("github", {"token": "ghp_0123456789", "repository": "app"}, "repository", "owner/name"),
        (
            "github",
            {"token": "ghp_0123456789", "environment_url": "https://a.example"},
            "environment_url",
            "Name the",
        ),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field(add, kind, fields, field, words):
    answer = add(kind, **fields)

    assert answer.status == 400
    assert words in answer.page.find(id=f"{field}-error").words


def test_two_channels_of_a_project_have_two_names(add):
    fields = {"url": "https://example.com/1", "on_failure": "on", "name": "hook"}
    assert add("webhook", **fields).status == 302

    assert "Another channel has this name." in add("webhook", **fields).page.find(id="name-error").words


def test_a_test_says_what_came_of_it(admin, add, stored, listener):
    """The shared daemon may not speak to private addresses: it says so, and the listener hears nothing."""
    add("webhook", url=listener.url, on_failure="on")
    channel, _ = stored()

    answer = admin.post(f"/channels/{channel.id}/test")

    assert answer.status == 200
    assert "it is a private address. Set outbound.allow_private" in answer.page.find("p", class_="said").words
    assert listener.requests == []


def test_a_channel_is_switched_off_and_on_and_deleted(admin, project, add, stored):
    add("webhook", url="https://example.com/1", on_failure="on")
    channel, _ = stored()
    admin.post(f"/channels/{channel.id}/switch", {"to": "off"})
    assert not stored()[0].is_enabled
    assert "switched off" in admin.get(f"/projects/{project.name}/notifications").text
    admin.post(f"/channels/{channel.id}/switch", {"to": "on"})
    assert stored()[0].is_enabled

    admin.post(f"/channels/{channel.id}/delete")

    assert admin.get(f"/channels/{channel.id}").status == 404


def test_what_was_given_up_is_shown_with_its_reason_and_tried_again(admin, project, add, stored, operator, running):
    add("webhook", url="http://127.0.0.1:9/", on_failure="on")
    channel, _ = stored()
    now = clock.now()
    row = Notification(
        id=clock.new_id(),
        channel_id=channel.id,
        deployment_id=running,
        occasion=Occasion.FAILURE,
        status=NotificationStatus.GIVEN_UP,
        attempts=2,
        last_error="It answered 403.",
        answer="<b>go away</b>",
        next_attempt_at=now,
        created_at=now,
    )
    with operator.database.write_session() as session:
        session.add(row)
    with operator.database.write_session() as session:
        name = session.get_one(Notification, row.id).deployment.project.name
    page = admin.get(f"/projects/{name}/notifications").text
    assert "It answered 403." in page
    assert "&lt;b&gt;go away&lt;/b&gt;" in page

    answer = admin.post(f"/notifications/{row.id}/retry")

    assert answer.location == f"/projects/{name}/notifications#notifications-title"
    assert admin.post(f"/notifications/{clock.new_id()}/retry").status == 404
