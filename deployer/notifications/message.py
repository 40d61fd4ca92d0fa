"""What a mail says: pure rendering of the facts of a deployment's end, as plain text and HTML.

Everything in it may come from a stranger (commit messages, names, output of commands). Secrets are replaced by the
caller's `redact`, before and after control sequences are taken out; what becomes a header is one line of printable
characters; the HTML is escaped by the templates (RFC 5322, 2.2).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from deployer import clock
from deployer.models.notification import Occasion
from deployer.security.control_sequences import CONTROL

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "mail"
SHOWN_LINES = 50
MAX_LINE = 500
MAX_SUBJECT = 150
MAX_COMMAND = 2000

WORDS = {
    Occasion.SUCCESS: "success",
    Occasion.FAILURE: "failed",
    Occasion.RECOVERY: "recovered",
    Occasion.INTERRUPTION: "interrupted",
    Occasion.STARTED: "started",
    Occasion.CANCELLATION: "cancelled",
}

Redact = Callable[[bytes], bytes]


class _Wire(EmailPolicy):
    """The form of RFC 5322, with subjects, and the ids that make a thread, on their header's own line: not every
    program finds them where the line was folded. They are short of the 998 characters that a line may have."""

    def fold_binary(self, name: str, value: str) -> bytes:
        if name in ("Subject", "Message-ID", "In-Reply-To", "References") and value.isascii():
            return f"{name}: {value}\r\n".encode()
        return super().fold_binary(name, value)


WIRE = _Wire(linesep="\r\n")


@dataclass(frozen=True)
class Letter:
    """The facts of a mail, as they are stored. ``log`` is the end of the failed command's output, or None."""

    notification_id: str
    project_id: str
    project: str
    occasion: Occasion
    ref: str
    branch: str
    written_at: datetime
    cause: str | None = None
    sha: str | None = None
    commit_message: str | None = None
    author: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    command: str | None = None
    log: bytes | None = None


@dataclass(frozen=True)
class Envelope:
    """From whom to whom. ``sender`` is name and address."""

    sender: tuple[str, str]
    recipients: Sequence[str]
    public_url: str


def render(letter: Letter, envelope: Envelope, redact: Redact) -> EmailMessage:
    """The mail. All of one project's stand in one thread, as answers to a first one that was never sent."""
    facts = _facts(letter, envelope, redact)
    message = _blank(envelope, str(facts["subject"]), letter.written_at)
    message["Message-ID"] = f"<notification.{letter.notification_id}@{host_of(envelope.public_url)}>"
    root = f"<project.{letter.project_id}@{host_of(envelope.public_url)}>"
    message["In-Reply-To"] = root
    message["References"] = root
    _fill(message, "deployment", facts)
    return message


def render_test(envelope: Envelope) -> EmailMessage:
    """What is sent to see whether mails arrive."""
    now = clock.now()
    message = _blank(envelope, "[Deployer] test mail", now)
    message["Message-ID"] = f"<test.{clock.new_id()}@{host_of(envelope.public_url)}>"
    _fill(message, "test", {"public_url": envelope.public_url, "at": _moment(now)})
    return message


def host_of(public_url: str) -> str:
    """The right half of our Message-IDs (RFC 5322, 3.6.4)."""
    host = urlsplit(public_url).hostname or "localhost"
    return f"[{host}]" if ":" in host else host


def _blank(envelope: Envelope, subject: str, at: datetime) -> EmailMessage:
    message = EmailMessage(policy=WIRE)
    name, address = envelope.sender
    message["From"] = Address(header_text(name), addr_spec=address)
    message["To"] = [Address(addr_spec=one) for one in envelope.recipients]
    message["Subject"] = header_text(subject)
    message["Date"] = format_datetime(at)
    # RFC 3834, 5: no answering machine answers.
    message["Auto-Submitted"] = "auto-generated"
    return message


def _fill(message: EmailMessage, name: str, facts: dict[str, object]) -> None:
    # Quoted-printable: long lines of a log arrive whole, over servers that take seven bits only.
    text = _templates().get_template(f"{name}.txt").render(facts)
    html = _templates().get_template(f"{name}.html").render(facts)
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _facts(letter: Letter, envelope: Envelope, redact: Redact) -> dict[str, object]:
    def line(text: str | None, limit: int = MAX_LINE) -> str:
        return shortened(one_line(shown(text, redact)), limit)

    cause = shown(letter.cause, redact).strip()
    commit = shortened(one_line(shown(letter.commit_message, redact).strip().split("\n", 1)[0]), MAX_LINE)
    word = WORDS[letter.occasion]
    about = one_line(cause.split("\n", 1)[0]).replace("step '", "", 1).replace("' ", " ", 1) if cause else commit
    finished_at = letter.finished_at
    lasted = (finished_at - letter.started_at).total_seconds() if finished_at and letter.started_at else None
    return {
        "subject": shortened(f"[{line(letter.project)}] {word}: {letter.ref} {about}".rstrip(), MAX_SUBJECT),
        "project": line(letter.project),
        "status": word,
        "ref": letter.ref,
        "branch": line(letter.branch),
        "cause": cause,
        "sha": line(letter.sha)[:7],
        "commit": commit,
        "author": line(letter.author),
        "duration": clock.duration_words(max(0.0, lasted)) if lasted is not None else "",
        "at": _moment(finished_at or letter.written_at),
        "link": f"{envelope.public_url}/deployments/{letter.ref}",
        "settings_link": f"{envelope.public_url}/projects/{quote(line(letter.project), safe='')}/edit#mail",
        "command": shortened(shown(letter.command, redact).strip(), MAX_COMMAND),
        "log": last_lines(letter.log, redact) if letter.log is not None else [],
    }


def last_lines(log: bytes, redact: Redact) -> list[str]:
    """The last lines of an output, as a terminal would show them, without colours and without secrets."""
    text = CONTROL.sub("", redact(log).decode("utf-8", "replace"))
    lines = [_overwritten(line) for line in text.rstrip().split("\n")]
    # Again: what stood between control sequences stands together now. And before it is cut, lest a half remains.
    safe = redact("\n".join(lines).encode("utf-8", "replace")).decode("utf-8", "replace").split("\n")
    return [shortened(line, MAX_LINE) for line in safe[-SHOWN_LINES:]] if any(safe) else []


def one_line(text: str) -> str:
    """Text as it may stand in a header: each run of white space and of what cannot be printed is one space."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def header_text(text: str) -> str:
    """One line that is not read as something else: the email package decodes encoded words (RFC 2047) in what it is
    given, and one that holds a line end would begin another header."""
    return one_line(text).replace("=?", "= ?")


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def shown(text: str | None, redact: Redact) -> str:
    """Text without secrets and without control sequences; secrets that those had cut in two are gone too."""

    def redacted(given: str) -> str:
        return redact(given.encode("utf-8", "replace")).decode("utf-8", "replace")

    return redacted(CONTROL.sub("", redacted(text or "")).replace("\r", ""))


def _overwritten(line: str) -> str:
    """What is seen of a line whose progress was written over and over."""
    return next((part for part in reversed(line.split("\r")) if part), "")


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
