"""Random secrets of both scopes, in every form in which they show: no log, page, answer, mail or error leaks one.

What is looked for is worked out here by itself, and not by the program's own list of forms. More cases, once:
``DEPLOYER_TEST_REDACTIONS=20000 pytest tests/integration/test_redaction_everywhere.py``.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer import access, accounts, clock, project_secrets, projects, sessions, variables
from deployer.application import create_app
from deployer.deployments import claims, command_lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.executors.launcher import end_mark
from deployer.models import Command, Deployment, LogChunk, Variable
from deployer.models.deployment import CommandKind
from deployer.models.notification import Occasion
from deployer.notifications.message import Envelope, Letter, render
from deployer.runner.log_sink import LogSink, Numbering
from deployer.security.redaction import MIN_SECRET_BYTES, Redactor
from tests.support.mail_server import html_of, text_of

EXAMPLES = int(os.environ.get("DEPLOYER_TEST_REDACTIONS", "25"))
RUNNER = "the runner"
MARK = end_mark("0123456789abcdef0123456789abcdef")
ENVELOPE = Envelope(("Deployer", "deploy@example.com"), ["ops@example.com"], "https://d.example.com")
AT = datetime(2025, 1, 15, tzinfo=UTC)

# Few letters, so that secrets overlap, repeat and begin alike; characters of several bytes; what is escaped in JSON,
# HTML and addresses. No letter of the mask.
LETTERS = st.text("abc", min_size=4, max_size=9)
HARD = st.text("abé漢🙂\"'\\/&<>+= %$", min_size=4, max_size=30)
MANY_LINES = st.lists(st.text("abcdefgh01+/", min_size=8, max_size=70), min_size=2, max_size=6).map("\n".join)
LONG = st.text("abcdefghijklmnop0123456789", min_size=20, max_size=200)
SEEDS = st.lists(st.one_of(LETTERS, HARD, MANY_LINES, LONG), min_size=1, max_size=3)


@dataclass(frozen=True)
class Shown:
    """A piece of output, and what of it is the secret's alone: nobody may see that."""

    text: bytes
    core: bytes


@st.composite
def secrets_of(draw) -> list[str]:
    """Some that stand by themselves, some that begin with, end with or run into another."""
    found = draw(SEEDS)
    for kind in draw(st.lists(st.sampled_from(("prefix", "longer", "overlap")), max_size=3)):
        one = draw(st.sampled_from(found))
        if kind == "prefix":
            found.append(one[: max(4, len(one) // 2)])
        elif kind == "longer":
            found.append(one + draw(LETTERS))
        else:
            found.append(one[-3:] + draw(LETTERS))
    return [one for one in found if len(one.strip().encode()) >= MIN_SECRET_BYTES]


@st.composite
def pieces_of(draw, secret: str) -> Shown:
    raw = secret.encode()
    form = draw(st.sampled_from(("itself", "base64", "wrapped", "crlf", "line", "json", "address", "value")))
    if form == "base64":
        before, after = draw(st.binary(max_size=5)), draw(st.binary(max_size=5))
        encode = draw(st.sampled_from((base64.b64encode, base64.urlsafe_b64encode)))
        text = encode(before + raw + after)
        # The characters that depend on the secret's bits alone.
        return Shown(text, text[-(-len(before) * 8 // 6) : (len(before) + len(raw)) * 8 // 6])
    if form == "wrapped":
        width = draw(st.sampled_from((64, 76)))
        text = base64.b64encode(raw)
        lines = [text[start : start + width] for start in range(0, len(text), width)]
        return Shown(b"\n".join(lines), lines[0] if len(lines[0]) >= 8 else text)
    if form == "line":
        line = max(raw.split(b"\n"), key=len)
        return Shown(b"   1  " + line, line) if len(line) >= 8 else Shown(raw, raw)
    text = {
        "crlf": raw.replace(b"\n", b"\r\n"),
        "json": json.dumps(secret, ensure_ascii=draw(st.booleans()))[1:-1].encode(),
        "address": quote(secret, safe=draw(st.sampled_from(("", "!'()*")))).encode(),
        # As "$(cat file)" hands it on.
        "value": raw.rstrip(b"\n") if len(raw.strip()) >= MIN_SECRET_BYTES else raw,
    }.get(form, raw)
    return Shown(text, text)


@st.composite
def cases(draw):
    """Secrets, whether each is of all projects, and a text in chunks in which they stand in all their forms."""
    secrets = draw(secrets_of())
    scopes = [draw(st.booleans()) for _ in secrets]
    shown = (
        [draw(pieces_of(draw(st.sampled_from(secrets)))) for _ in range(draw(st.integers(1, 6)))] if secrets else []
    )
    between = st.sampled_from((b"", b"\n", b" ", b"=", b"a", b"ab", b"<b>&", "é".encode(), b"\x1b[31m"))
    text = b"".join(draw(between) + one.text for one in shown) + draw(between)
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
    return secrets, scopes, shown, chunks


class Desk:
    """A deployment whose log is written anew for each case, and everything that shows something of it."""

    def __init__(self, installation, operator, project, folder: Path) -> None:
        self.installation = installation
        self.database = installation.database
        self.project_id = project.id
        self.folder = folder
        self.deployment_id = operator.deploy(project)
        self.command_id = clock.new_id()
        planned = PlannedCommand(self.command_id, 0, CommandKind.STEP, "step", "make", 60, "nonce")
        with self.database.write() as connection:
            assert claims.claim(connection, RUNNER, host_id=installation.host_id) == self.deployment_id
            command_lifecycle.plan(connection, self.deployment_id, [planned])
            command_lifecycle.start_command(connection, self.command_id, RUNNER, "boot")
        with self.database.write_session() as session:
            accounts.add(session, accounts.new_user("ada", "ada@example.com", "a long phrase", is_admin=True))
            user = accounts.find(session, "ada")
            token = sessions.begin(session, user, days=1, address="", agent="")
        self.browser = create_app(installation).test_client()
        with self.browser.session_transaction() as cookie:
            cookie["_user_id"] = token

    def redactor(self, secrets, scopes) -> Redactor:
        """By the stored variables of the project and of all."""
        with self.database.write_session() as session:
            session.execute(sa.delete(Variable))
            project = projects.find(session, self.project_id)
            session.expire(project, ["variables"])
            for number, (secret, is_of_all) in enumerate(zip(secrets, scopes, strict=True)):
                scope = None if is_of_all else project
                vault = self.installation.vault
                variables.set_variable(session, scope, f"S{number}", secret, secret=True, vault=vault)
            found = project_secrets.read_secrets(session, project, self.installation.vault)
        return Redactor(found.to_redact())

    def log(self, redactor: Redactor, chunks, system: str) -> None:
        with self.database.write() as connection:
            connection.execute(sa.delete(LogChunk))
            sink = LogSink(
                deployment_id=self.deployment_id,
                command_id=self.command_id,
                mark=MARK,
                redactor=redactor.fresh(),
                numbering=Numbering(0),
                max_bytes=1 << 20,
            )
            for chunk in chunks:
                sink.feed(chunk)
                sink.store(connection)
                sink.settle()
            sink.finish()
            sink.system(system)
            sink.store(connection)
            cause = redactor.fresh().text(system)
            connection.execute(sa.update(Command).values(cause=cause))
            connection.execute(sa.update(Deployment).values(cause=cause))

    def views(self, redactor: Redactor, text: bytes) -> dict[str, bytes]:
        """What each place shows, as its reader sees it."""
        words = text.decode("utf-8", "replace")
        with self.database.read() as connection:
            stored = b"".join(connection.scalars(sa.select(LogChunk.data).order_by(LogChunk.seq)))
        page = self.browser.get(f"/deployments/{self.deployment_id}").text
        answer = self.browser.get(f"/deploy/{self.deployment_id}")
        assert answer.status_code == 200
        letter = Letter(
            notification_id="n",
            project_id="p",
            project="app",
            occasion=Occasion.FAILURE,
            ref="DEP-0001",
            branch="main",
            written_at=AT,
            cause=words,
            commit_message=words,
            author=words,
            command=words,
            log=text,
        )
        mail = render(letter, ENVELOPE, redactor.whole)
        return {
            "log": stored,
            "page": html.unescape(re.sub(r"<[^>]*>", "", page)).encode(),
            "answer": "\n".join(
                [one["log"] for one in answer.json["logs"]] + [answer.json["deployment"]["cause"]]
            ).encode(),
            "mail": text_of(mail).encode(),
            "mail as a page": html.unescape(re.sub(r"<[^>]*>", "", html_of(mail))).encode(),
            "subject": str(mail["Subject"]).encode(),
            "error": self._complaint(redactor, text),
        }

    def _complaint(self, redactor: Redactor, text: bytes) -> bytes:
        """What git says of a repository, as a person is told."""
        visit = access.Visit("https://git.example.com/x.git", None, self.folder, self.installation.config)
        visit._redactor = redactor
        (self.folder / "words").write_bytes(text)
        return str(visit._complaint(1, self.folder / "words")).encode()


@pytest.fixture
def desk(installation, operator, make_project, tmp_path) -> Desk:
    folder = tmp_path / "visit"
    folder.mkdir()
    return Desk(installation, operator, make_project(), folder)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_no_place_ever_shows_a_secret(desk, case):
    secrets, scopes, shown, chunks = case
    text = b"".join(chunks)
    redactor = desk.redactor(secrets, scopes)

    desk.log(redactor, chunks, f"step '{text.decode('utf-8', 'replace')}' exited with 1")

    for place, seen in desk.views(redactor, text).items():
        for one in shown:
            if len(one.core) >= MIN_SECRET_BYTES:
                assert one.core not in seen, place


@settings(max_examples=8 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_no_stream_ever_shows_a_secret(case):
    secrets, _, shown, chunks = case
    redactor = Redactor([secret.encode() for secret in secrets])

    seen = b"".join([redactor.feed(chunk) for chunk in chunks] + [redactor.finish()])

    for one in shown:
        if len(one.core) >= MIN_SECRET_BYTES:
            assert one.core not in seen
    assert seen == redactor.fresh().whole(b"".join(chunks))


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_a_secret_at_the_place_where_gits_words_are_cut_is_not_shown_by_half(desk, shift):
    secret = "abcdefghijklmnopqrstuvwxyz0123456789"
    redactor = Redactor([secret.encode()])

    said = desk._complaint(redactor, (secret.encode() + b"." * (access._SHOWN_OUTPUT - shift)))

    assert secret[-4:].encode() not in said
