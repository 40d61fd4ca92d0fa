"""What mails say, and that nobody writes into them what is not theirs to write."""

from __future__ import annotations

import email
from datetime import UTC, datetime, timedelta
from email.policy import SMTP
from html.parser import HTMLParser
from typing import Any

import pytest

from deployer.models.notification import Occasion
from deployer.notifications.message import Envelope, Letter, host_of, last_lines, one_line, render, render_test
from deployer.security.redaction import Redactor
from tests.support.mail_server import html_of, text_of

ENVELOPE = Envelope(
    ("Deployer", "deploy@example.com"), ["ops@example.com", "ada@example.com"], "https://d.example.com"
)
ENDED_AT = datetime(2025, 1, 15, 10, 32, 15, tzinfo=UTC)
SECRET = b"squeamish ossifrage"


def nothing(text: bytes) -> bytes:
    return text


def letter(**given: Any) -> Letter:
    facts: dict[str, Any] = {
        "notification_id": "0194-a",
        "project_id": "0193-b",
        "project": "app",
        "occasion": Occasion.FAILURE,
        "ref": "DEP-0042",
        "branch": "main",
        "written_at": ENDED_AT,
        "cause": "step 'npm ci' exited with 1",
        "sha": "abcdef0123456789",
        "commit_message": "Mend the door\n\nIt squeaked.",
        "author": "Grace Hopper",
        "started_at": ENDED_AT - timedelta(seconds=135),
        "finished_at": ENDED_AT,
        "command": "npm ci",
        "log": b"npm ERR! missing script\n",
    }
    return Letter(**{**facts, **given})


def sent(given: Letter, redact=nothing, envelope: Envelope = ENVELOPE):
    """The mail as whoever gets it reads it."""
    return email.message_from_bytes(render(given, envelope, redact).as_bytes(), policy=SMTP)


def test_a_failure_says_what_a_reader_must_know():
    mail = sent(letter())

    assert mail["Subject"] == "[app] failed: DEP-0042 npm ci exited with 1"
    for said in (text_of(mail), html_of(mail)):
        for fact in (
            "app",
            "DEP-0042",
            "failed",
            "step",
            "exited with 1",
            "abcdef0",
            "Mend the door",
            "Grace Hopper",
            "main",
            "2 min 15 s",
            "2025-01-15 10:32:15 UTC",
            "$ npm ci",
            "npm ERR! missing script",
            "https://d.example.com/deployments/DEP-0042",
            "https://d.example.com/projects/app/edit#mail",
        ):
            assert fact in said, fact
        assert "It squeaked" not in said
        assert "abcdef01" not in said


@pytest.mark.parametrize(
    ("occasion", "cause", "subject"),
    [
        (Occasion.SUCCESS, None, "[app] success: DEP-0042 Mend the door"),
        (Occasion.RECOVERY, None, "[app] recovered: DEP-0042 Mend the door"),
        (Occasion.INTERRUPTION, "the host was rebooted", "[app] interrupted: DEP-0042 the host was rebooted"),
        (Occasion.FAILURE, "one line\nand another", "[app] failed: DEP-0042 one line"),
        (Occasion.FAILURE, "x" * 500, f"[app] failed: DEP-0042 {'x' * 126}…"),
    ],
)
def test_a_subject_begins_with_project_and_status(occasion, cause, subject):
    assert sent(letter(occasion=occasion, cause=cause))["Subject"] == subject


def test_what_is_not_known_is_left_out():
    bare = letter(
        cause=None,
        sha=None,
        commit_message=None,
        author=None,
        started_at=None,
        finished_at=None,
        command=None,
        log=None,
    )
    mail = sent(bare)

    assert mail["Subject"] == "[app] failed: DEP-0042"
    for said in (text_of(mail), html_of(mail)):
        assert "None" not in said
        assert "Commit" not in said
        assert "Author" not in said
        assert "$ " not in said


def test_a_mail_has_the_headers_of_a_machines_mail():
    mail = sent(letter())

    assert mail["From"] == "Deployer <deploy@example.com>"
    assert mail["To"] == "ops@example.com, ada@example.com"
    assert mail["Date"].datetime == ENDED_AT
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_a_mail_that_is_sent_twice_is_the_same_mail():
    assert sent(letter())["Message-ID"] == sent(letter())["Message-ID"] == "<notification.0194-a@d.example.com>"
    assert sent(letter(notification_id="0194-c"))["Message-ID"] != sent(letter())["Message-ID"]


def test_the_ids_of_a_thread_are_not_folded():
    host = f"{'a-rather-long-label.' * 8}example.com"
    raw = render(letter(), Envelope(ENVELOPE.sender, ENVELOPE.recipients, f"https://{host}"), nothing).as_bytes()

    assert f"\r\nMessage-ID: <notification.0194-a@{host}>\r\n".encode() in raw
    assert f"\r\nReferences: <project.0193-b@{host}>\r\n".encode() in raw


def test_a_projects_mails_stand_in_one_thread_of_their_own():
    first, second = sent(letter()), sent(letter(notification_id="other", ref="DEP-0043", occasion=Occasion.RECOVERY))
    elsewhere = sent(letter(project_id="another"))

    assert first["In-Reply-To"] == first["References"] == "<project.0193-b@d.example.com>"
    assert second["In-Reply-To"] == second["References"] == first["References"]
    assert elsewhere["References"] != first["References"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://d.example.com/x", "d.example.com"),
        ("http://127.0.0.1:8420", "127.0.0.1"),
        ("http://[::1]:80", "[::1]"),
    ],
)
def test_message_ids_end_with_the_public_host(url, host):
    assert host_of(url) == host
    envelope = Envelope(ENVELOPE.sender, ENVELOPE.recipients, url)
    assert sent(letter(), envelope=envelope)["Message-ID"] == f"<notification.0194-a@{host}>"
    assert render_test(envelope)["Message-ID"].endswith(f"@{host}>")


# THREATS 30: nobody writes a header, and nobody writes HTML ---------------------------------------------------------

EVIL = [
    "x\r\nBcc: eve@example.net\r\n\r\n<b>body</b>",
    "x\nBcc: eve@example.net",
    "x\rBcc: eve@example.net",
    "x\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029Bcc: eve@example.net",
    "=?utf-8?q?x=0D=0ABcc:_eve@example.net?=",
    "\u202ereversed",
    "\x1b]0;title\x07\x1b[31mred",
    "\udc80surrogate",
    "a" * 5000,
    "ünï" * 400,
]
PLACES = ["project", "branch", "cause", "commit_message", "author", "sha", "command"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
@pytest.mark.parametrize("occasion", [Occasion.FAILURE, Occasion.SUCCESS])
def test_no_fact_becomes_a_header_or_a_recipient(place, evil, occasion):
    given = letter(occasion=occasion, **{place: evil})
    if occasion is Occasion.SUCCESS and place != "cause":
        given = letter(occasion=occasion, cause=None, **{place: evil})

    raw = render(given, ENVELOPE, nothing).as_bytes()

    mail = email.message_from_bytes(raw, policy=SMTP)
    assert mail.keys() == sent(letter()).keys()
    assert mail["Bcc"] is None
    assert mail["To"] == "ops@example.com, ada@example.com"
    subject = str(mail["Subject"])
    assert subject.startswith("[")
    assert subject.isprintable()
    assert len(subject) <= 150
    assert not mail.defects
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert raw.isascii()
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")


class _Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found += [tag, *(name for name, _ in attrs)]


@pytest.mark.parametrize("place", [*PLACES, "log"])
def test_no_fact_becomes_an_element_or_an_attribute(place):
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&{{ 7*7 }}{% raw %}"
    given = letter(**{place: evil.encode() if place == "log" else evil})

    html = html_of(sent(given))

    found = _Tags(html).found
    assert "script" not in found
    assert "img" not in found
    assert not [name for name in found if name.startswith("on")]
    assert "49" not in html


def test_a_sender_with_a_name_that_means_something_is_quoted():
    envelope = Envelope(('Ops, "the" team <x@y>', "deploy@example.com"), ENVELOPE.recipients, ENVELOPE.public_url)

    (address,) = sent(letter(), envelope=envelope)["From"].addresses

    assert (address.display_name, address.addr_spec) == ('Ops, "the" team <x@y>', "deploy@example.com")


def test_a_senders_name_becomes_no_header_either():
    envelope = Envelope((EVIL[4], "deploy@example.com"), ENVELOPE.recipients, ENVELOPE.public_url)

    mail = sent(letter(), envelope=envelope)

    assert mail["Bcc"] is None
    assert mail["From"].addresses[0].addr_spec == "deploy@example.com"


def test_one_line_holds_only_what_can_be_printed():
    assert one_line(" a\tb\r\n\x00c\u202ed\u00a0\u3000e\x7f ") == "a b c d e"


# THREATS 27: no secret in a mail ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_nowhere_in_a_mail(place):
    redact = Redactor([SECRET]).whole
    given = letter(**{place: f"before {SECRET.decode()} after"})

    mail = sent(given, redact)

    for said in (text_of(mail), html_of(mail), str(mail["Subject"])):
        assert "ossifrage" not in said
    if place != "sha":
        assert "***" in text_of(mail)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        b"squea\x1b[0mmish ossi\x1b[31mfrage",
        b"squeamish\x00 ossifrage",
        b"overwritten\rsqueamish ossifrage",
        b"c3F1ZWFtaXNoIG9zc2lmcmFnZQ==",
    ],
)
def test_a_secret_is_not_in_the_end_of_a_log_either(text):
    shown = "\n".join(last_lines(b"before\n" + text + b"\nafter\n", Redactor([SECRET]).whole))

    assert "ossi" not in shown
    assert "c3F1ZWFt" not in shown
    assert "***" in shown
    assert shown.startswith("before\n")


def test_a_secret_over_several_lines_is_not_cut_into_sight():
    key = b"-----BEGIN KEY-----\nabcdefghijkl\nmnopqrstuvwx\n-----END KEY-----\n"
    log = key + b"x\n" * 47

    shown = "\n".join(last_lines(log, Redactor([key]).whole))

    assert "mnop" not in shown
    assert "END KEY" not in shown


# The end of a log ---------------------------------------------------------------------------------------------------


def test_the_last_50_lines_are_shown_as_a_terminal_would_show_them():
    log = b"".join(b"line %d\n" % number for number in range(200)) + b"\x1b[31mred\x1b[0m\n 10%\r 50%\r100%\n"

    shown = last_lines(log, nothing)

    assert len(shown) == 50
    assert (shown[0], shown[-3:]) == ("line 152", ["line 199", "red", "100%"])


def test_lines_without_end_are_shortened_and_no_output_is_no_line():
    assert last_lines(b"y" * 100_000, nothing) == ["y" * 499 + "…"]
    assert last_lines(b"", nothing) == []
    assert last_lines(b"\n\n \n", nothing) == []
    assert last_lines(b"\xff\xfe\n", nothing) == ["\ufffd\ufffd"]
