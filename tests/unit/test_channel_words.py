"""What channels are told: lines that no chat makes anything of, and documents that can be verified."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import clock
from deployer.errors import ChannelError
from deployer.models.channel import ChannelKind
from deployer.models.deployment import Status, Trigger
from deployer.models.notification import Occasion
from deployer.notifications import channels, chat, forges, signed_webhook
from deployer.notifications.forges import Forge
from deployer.notifications.telling import Telling

NOW = clock.now()


def telling(**given_facts) -> Telling:
    facts = {
        "notification_id": "a-notification",
        "occasion": Occasion.FAILURE,
        "project": "app",
        "repository_url": "https://github.com/grace/app.git",
        "deployment_id": "a-deployment",
        "ref": "DEP-0042",
        "status": Status.FAILED,
        "trigger": Trigger.PUSH,
        "asked": "push by grace",
        "branch": "main",
        "link": "https://deploy.example.com/deployments/DEP-0042",
        "queued_at": NOW,
        "sha": "1a2b3c4d5e6f",
        "commit_message": "Mend the door\n\nmore",
        "cause": "step 'test' exited with 1\nmore",
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=12),
    }
    return Telling(**{**facts, **given_facts})


def test_a_line_says_it_all():
    assert chat.line(telling()) == (
        "app: failed · DEP-0042 · 1a2b3c4 Mend the door · push by grace · 12 s · "
        "step 'test' exited with 1 · https://deploy.example.com/deployments/DEP-0042"
    )
    started = telling(occasion=Occasion.STARTED, cause="", finished_at=None, asked="rolled back to 12-1a2b3c4 by ada")
    assert chat.line(started) == (
        "app: started · DEP-0042 · 1a2b3c4 Mend the door · rolled back to 12-1a2b3c4 by ada · "
        "https://deploy.example.com/deployments/DEP-0042"
    )


def test_a_commits_status_says_what_was_gone_back_to():
    forge = Forge(ChannelKind.GITHUB, "https://api.github.com", "a token")
    told = telling(
        trigger=Trigger.ROLLBACK, asked="rolled back to 12-1a2b3c4 by ada", cause="", occasion=Occasion.SUCCESS
    )

    call = forges.status_call(forge, "grace/app", told)

    assert json.loads(call.body)["description"] == "DEP-0042 success · rolled back to 12-1a2b3c4 by ada · 12 s"
    assert (
        len(json.loads(forges.status_call(forge, "grace/app", telling(cause="x" * 500)).body)["description"]) == 140
    )


@pytest.mark.parametrize(
    ("url", "api_url", "is_there"),
    [
        ("https://github.com/grace/app.git", "https://api.github.com", True),
        ("git@github.com:grace/app.git", "https://api.github.com", True),
        ("ssh://git@ssh.github.com:443/grace/app", "https://api.github.com/", True),
        ("https://github.com.evil.example/grace/app", "https://api.github.com", False),
        ("https://notgithub.com/grace/app", "https://api.github.com", False),
        ("git@git.example.com:grace/app.git", "https://git.example.com/api/v1", True),
        ("/srv/git/app.git", "https://git.example.com/api/v1", False),
    ],
)
def test_a_repository_is_known_by_its_address(url, api_url, is_there):
    forge = Forge(ChannelKind.GITHUB, api_url, "a token")
    if is_there:
        assert forges.repository_of(forge, url, must_be_there=True) == "grace/app"
    else:
        with pytest.raises(ChannelError):
            forges.repository_of(forge, url, must_be_there=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@everyone look", "@\u200beveryone look"),
        (
            "<!channel> <@U123> <http://evil.example|here>",
            "‹!channel› ‹@\u200bU123› ‹http:\u200b//evil.example¦here›",
        ),
        ("[here](https://evil.example)", "⟦here⟧(https:\u200b//evil.example)"),
        ("**bold** _soft_ ~gone~ `code` snake_case_name", "∗∗bold∗∗ ＿soft＿ ∼gone∼ ˋcodeˋ snake_case_name"),
        ("<b>bold</b>", "‹b›bold‹/b›"),
        ("mail grace@example.com", "mail grace@\u200bexample.com"),
    ],
)
def test_markup_and_calls_of_strangers_mean_nothing(text, shown):
    assert chat.harmless(text) == shown


@given(st.text())
def test_no_text_calls_anybody_or_makes_a_second_line(text):
    line = chat.line(telling(commit_message=text, cause=text, asked=f"push by {text}"))

    assert not set("<>*`[]|~\n\r\x00\x1b") & set(line)
    assert "@everyone" not in line
    assert line.endswith(" · https://deploy.example.com/deployments/DEP-0042")
    assert len(line) < 1100


def test_a_document_is_verified_in_five_lines():
    """As docs/notifications.md shows it."""
    document = signed_webhook.body(telling(), NOW)
    headers = signed_webhook.headers("failure", "a-notification", NOW, document, "the secret")
    body = document.encode()

    expected = "sha256=" + hmac.new(b"the secret", body, hashlib.sha256).hexdigest()

    assert hmac.compare_digest(expected, headers["X-Deployer-Signature-256"])
    assert json.loads(body)["deployment"]["duration_s"] == 12.0
    assert body.isascii()


@pytest.mark.parametrize(
    ("url", "hidden", "shown"),
    [
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ["4174216298", "JHMHI8qBe7bk2ZwO5U711o3dV_js"], []),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXr", ["T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXr"], []),
        ("ntfys://grace:hunter2@ntfy.example.com/topic", ["hunter2"], ["ntfy.example.com"]),
        ("https://hooks.example.com:8443/in/0123456789?key=abcd", ["0123456789", "key=abcd"], ["hooks.example.com"]),
    ],
)
def test_of_an_address_everything_but_its_host_is_hidden(url, hidden, shown):
    secrets = {one.decode() for one in channels.to_redact({"url": url})}

    assert set(hidden) <= secrets
    assert not secrets & set(shown)
