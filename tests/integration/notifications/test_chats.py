"""Chats are spoken to by Apprise: over the network only, to the addresses that were looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from deployer.config import OutboundSettings
from deployer.errors import ChannelError, InvalidInput
from deployer.models.channel import ChannelKind
from deployer.models.deployment import Status
from deployer.notifications import channels, sending
from deployer.notifications.channels import ChannelInput
from tests.support.daemon import ROOT

SHOWN = [
    ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "Slack", ""),
    ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "Slack", ""),
    ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "Discord", ""),
    ("tgram://123456789:abcdefg_hijklmnop/12315544/", "Telegram", ""),
    ("ntfys://ntfy.example.com/topic", "ntfy", "ntfy.example.com"),
    ("matrixs://user:password@matrix.example.com/#room", "Matrix", "matrix.example.com"),
    ("workflows://example.com:443/643e69f83c8944/643e69f83c8944", "Power Automate", "example.com"),
]

REFUSED = [
    ("syslog://", "speaks to this host only"),
    ("dbus://", "no address that Apprise knows"),
    ("macosx://", "no address that Apprise knows"),
    ("windows://", "no address that Apprise knows"),
    ("gnome://", "no address that Apprise knows"),
    ("file:///etc/passwd", "no address that Apprise knows"),
    ("nonsense", "no address that Apprise knows"),
    ("json://example.com/?verify=no", "Certificates are always verified"),
    ("json://example.com/?redirect=yes", "Redirects are never followed"),
]


@pytest.fixture(scope="module")
def looked_at() -> dict[str, dict[str, str]]:
    """What the carrier's process makes of all these addresses: of one process, to save their starts."""
    urls = [one[0] for one in (*SHOWN, *REFUSED)]
    code = (
        "import json, sys; from deployer.notifications import carrier_process as it; "
        "print(json.dumps({url: it.look_at({'url': url}) for url in json.load(sys.stdin)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(urls), capture_output=True, text=True, check=True, cwd=ROOT
    )
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


@pytest.fixture
def project(make_project):
    return make_project()


def test_ntfy_gets_one_line_of_plain_text(listener, make_channel, life, outbox, project):
    channel = make_channel("apprise", url=f"ntfy://127.0.0.1:{listener.port}/deployments")
    life.run(project, Status.FAILED, commit_message="Mend @everyone <!channel> [here](http://evil.example)")
    outbox.leave_only("failure")

    outbox.send(channel)

    (request,) = listener.requests
    assert request.json["topic"] == "deployments"
    line = request.json["message"]
    assert line.startswith(
        "app: failed · DEP-0001 · 1a2b3c4 Mend @\u200beveryone ‹!channel› ⟦here⟧(http:\u200b//evil.example) · "
    )
    assert line.endswith(" · step 'test' exited with 1 · https://deploy.example.com/deployments/DEP-0001")
    assert "\n" not in line
    assert (channel.target, outbox.row.status) == ("ntfy at 127.0.0.1", "sent")


def test_a_refusal_is_kept_in_the_services_words_without_the_addresss_secrets(
    listener, make_channel, life, outbox, project
):
    listener.answer = lambda request: (401, {}, b"no")
    channel = make_channel("apprise", url=f"json://grace:hunter2hunter2@127.0.0.1:{listener.port}/T0KEN-of-the-path")
    life.run(project)
    outbox.leave_only("success")

    outbox.send(channel)

    assert outbox.row.status == "given_up"
    assert "401" in outbox.row.last_error
    assert "hunter2" not in outbox.row.last_error
    assert "T0KEN" not in outbox.row.last_error


def test_a_private_host_and_a_redirect_are_refused(installation, listener, make_channel, life, outbox, project):
    """THREATS 29, whichever library connects."""
    channel = make_channel("apprise", url=f"json://localhost:{listener.port}/")
    listener.answer = lambda request: (302, {"Location": f"{listener.url}/second"}, b"")
    life.run(project)
    outbox.send(channel)
    assert {one.path for one in listener.requests} == {"/"}
    assert outbox.rows()[0].status == "pending"

    listener.requests.clear()
    installation.config = replace(installation.config, outbound=OutboundSettings())
    outbox.is_due()
    outbox.send(channel)

    assert listener.requests == []
    assert [row.status for row in outbox.rows()] == ["given_up", "given_up"]
    assert "JSON leads to 127.0.0.1, which is refused: it is a private address." in outbox.rows()[0].last_error


def test_a_test_message_arrives(installation, listener, make_channel):
    channel = make_channel("apprise", url=f"json://127.0.0.1:{listener.port}/")

    assert sending.send_test(installation, channel.id) == "JSON at 127.0.0.1 took the test message."

    assert listener.requests[0].json["message"].startswith("This is a test message from Deployer")


@pytest.mark.parametrize(("url", "name", "host"), SHOWN)
def test_of_an_address_only_service_and_host_are_shown(looked_at, url, name, host):
    found = looked_at[url]

    assert (found["name"].startswith(name), found["host"]) == (True, host)


@pytest.mark.parametrize(("url", "words"), REFUSED)
def test_what_speaks_to_this_host_or_weakens_the_connection_is_refused(looked_at, url, words):
    assert words in looked_at[url]["error"]


def test_a_refused_address_is_told_at_its_field():
    with pytest.raises(InvalidInput) as refused:
        channels.check(ChannelKind.APPRISE, ChannelInput(name="chat", url="syslog://"))

    assert "speaks to this host only" in refused.value.fields["url"]


def test_a_message_names_no_secret_of_its_address_where_it_cannot_be_sent(installation, make_channel):
    channel = make_channel("apprise", url="ntfy://grace:hunter2hunter2@127.0.0.1:9/topic")

    with pytest.raises(ChannelError) as refused:
        sending.send_test(installation, channel.id)

    assert "hunter2" not in str(refused.value)
