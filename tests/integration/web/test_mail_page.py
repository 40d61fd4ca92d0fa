"""Settings → Mail, the session API's test mail, and a project's own switches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from deployer import clock, projects
from deployer.models import AuditEvent, Notification, Project, Setting
from deployer.models.notification import NotificationStatus, Occasion
from deployer.notifications import mail_settings
from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.mail_server import PASSWORD, USER, Authority, MailServer, SilentServer
from tests.support.operator import Operator
from tests.support.standing import cookie_of, logged_in, make_user, shared
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, empty_database) -> Iterator[Daemon]:
    """A web process of this module's own: mail settings are everybody's."""
    with shared(Daemon(tmp_path_factory.mktemp("mail"), "web").begin_with(empty_database)) as made:
        yield made


@pytest.fixture(scope="module")
def cookie(web: Daemon) -> str:
    return cookie_of(web)


@pytest.fixture
def member(web: Daemon, cookie: str) -> Iterator[Browser]:
    """Somebody who is logged in; at first, and at the end, no mail server is set up."""
    browser = Browser(web, cookie)
    yield browser
    with web.installation.database.write() as connection:
        connection.execute(sa.delete(Setting).where(Setting.name.startswith("mail.")))
        connection.execute(sa.delete(Project))


@pytest.fixture
def operator(web: Daemon) -> Operator:
    return Operator(web.installation)


def entered(**given: object) -> dict[str, str]:
    """The form's fields."""
    fields = {"security": "starttls", **given}
    return {name: str(value) for name, value in fields.items() if name != "ca_file"}


def save(browser: Browser, **given: object):
    return browser.post("/settings/mail", entered(**given))


def send_test(browser: Browser):
    return browser.post_json("/email/test", {})


def said(answer) -> str:
    """What the page says about the test mail."""
    return answer.page.find(id="test-said").words


# POST /email/test -----------------------------------------------------------------------------------------------


def test_without_settings_the_answer_is_the_contracts(member):
    answer = send_test(member)

    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert answer.json == {"success": False, "error": "SMTP not configured"}


def test_a_test_mail_is_sent_with_what_was_saved(member):
    with MailServer() as server:
        assert save(member, **server.settings()).status == 302

        answer = send_test(member)

    assert (answer.status, answer.json) == (200, {"success": True, "message": "Test email sent"})
    (mail,) = server.mails
    assert (mail["Subject"], mail["To"]) == ("[Deployer] test mail", "ops@example.com")


def test_a_refusal_is_told_in_the_servers_own_words(member):
    with MailServer(login=True) as server:
        save(member, **server.settings(password="not the right one"))

        answer = send_test(member)

    assert answer.status == 400
    assert answer.json["success"] is False
    assert "535 5.7.8 Authentication credentials invalid" in answer.json["error"]
    assert "not the right one" not in answer.text
    assert server.mails == []


def test_a_certificate_that_is_not_trusted_is_told(member, tmp_path):
    context = Authority(tmp_path / "authority").context("localhost")
    with MailServer("tls", context, login=True) as server:
        save(member, **server.settings())

        assert "cannot be trusted" in send_test(member).json["error"]


def test_a_stranger_is_refused_as_the_contract_says(web):
    for headers in ({}, {"Content-Type": "application/json"}):
        answer = Browser(web).request("POST", "/email/test", b"{}", headers)
        assert (answer.status, answer.json) == (401, {"success": False, "error": "Authentication required"})


def test_other_sites_cannot_have_mails_sent(member):
    answer = member.post("/email/test", headers={"Sec-Fetch-Site": "cross-site"})

    assert (answer.status, answer.json["success"]) == (403, False)


def test_other_methods_are_answered_in_json(member):
    answer = member.get("/email/test")

    assert (answer.status, answer.json["success"]) == (405, False)


def test_a_server_that_hangs_is_waited_for_15_seconds_and_holds_up_nobody_else(member, cookie, web):
    with SilentServer() as silent:
        save(member, **silent.settings())
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(send_test(Browser(web, cookie))))
        begun = time.monotonic()
        waiting.start()
        wait_until(lambda: silent.waiting == 1, "the test mail waits for the silent server")

        assert member.get("/settings/mail").status == 200
        # Also somebody who changes something: no lock of the database is held meanwhile.
        assert member.post("/settings/path", {"path": ""}).status == 302
        assert not answers

        waiting.join(60)
        lasted = time.monotonic() - begun

    assert answers[0].status == 400
    assert "did not answer within 15 s" in answers[0].json["error"]
    assert 14 < lasted < 30


# The page -------------------------------------------------------------------------------------------------------


def test_an_empty_page_teaches_the_next_step(member):
    page = member.get("/settings/mail").page

    assert "not set up" in page.text
    assert "It needs a mail server that takes its mails" in page.text
    assert "Once a mail server is set up" in page.text
    assert page.find("a", aria_current="page", href="/settings/mail").words == "Mail"


def test_what_was_saved_is_shown_and_the_password_never(member):
    given = {"host": "localhost", "port": "2525", "username": USER, "password": PASSWORD, "from_": "a@b.example"}
    assert save(member, **given, security="tls", to="c@d.example, e@f.example").status == 302

    answer = member.get("/settings/mail")

    page = answer.page
    assert [page.value(name) for name in ("host", "port", "username", "from_", "to")] == [
        *("localhost", "2525", USER, "a@b.example", "c@d.example, e@f.example")
    ]
    assert page.value("password") == ""
    assert page.find("input", name="security", value="tls").attributes.keys() >= {"checked"}
    assert "It is encrypted, and not shown again" in page.text
    assert PASSWORD not in answer.text


def test_what_cannot_be_used_is_told_at_its_field_and_the_password_is_not_sent_back(member):
    answer = save(member, host="a b", port="x", username=USER, password=PASSWORD, from_="deploy", to="x", security="")

    assert answer.status == 400
    page = answer.page
    for name in ("host", "port", "from_", "to", "security"):
        assert page.error_at(name)
    assert page.value("host") == "a b"
    assert PASSWORD not in answer.text
    assert member.get("/settings/mail").page.value("host") == ""


def test_a_change_is_in_the_audit_log_without_the_password(member, operator):
    save(member, host="localhost", username=USER, password=PASSWORD, from_="a@b.example", to="c@d.example")

    (row,) = operator.rows(
        sa.select(*AuditEvent.__table__.columns)
        .where(AuditEvent.action == "mail.changed")
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    assert (row.actor, row.address) == ("ada", "127.0.0.1")
    assert PASSWORD not in str(vars(row))


def test_the_button_works_without_scripts(member):
    assert "SMTP not configured" in said(member.post("/settings/mail/test"))
    with MailServer() as server:
        save(member, **server.settings())
        assert said(member.post("/settings/mail/test")) == "Test email sent to ops@example.com"
        server.refuse["ops@example.com"] = "550 5.1.1 <b>no such user</b>"
        answer = member.post("/settings/mail/test")
        assert said(answer) == "The mail server refused ops@example.com: 550 5.1.1 <b>no such user</b>"
    assert len(server.mails) == 1


def test_what_the_configuration_sets_is_shown_as_such_and_cannot_be_changed(make_daemon, tmp_path):
    daemon = make_daemon(
        "web",
        smtp_host="relay.example.org",
        smtp_security="tls",
        smtp_username="relay",
        smtp_password="from the environment",
    ).start()
    make_user(daemon)
    browser = logged_in(daemon)
    answer = save(
        browser, host="evil.example.net", from_="a@b.example", to="c@d.example", password="typed", security="none"
    )
    assert answer.status == 302

    answer = browser.get("/settings/mail")

    page = answer.page
    assert "from the environment" not in answer.text
    for name, value in {"host": "relay.example.org", "username": "relay", "security": "TLS"}.items():
        shown = page.find(id=name)
        assert (shown.attributes["value"], "readonly" in shown.attributes) == (value, True)
        assert page.find(id=f"{name}-note").words == "Set in the configuration file or the environment."
    assert not page.find_all("input", name="password")
    assert not page.find_all("input", type="radio")
    assert "readonly" not in page.find(id="from_").attributes
    assert page.value("from_") == "a@b.example"
    with daemon.installation.database.read() as connection:
        found = mail_settings.load(connection, daemon.config)
        assert mail_settings.password(connection, daemon.config, daemon.installation.vault) == "from the environment"
    assert (found.host, found.security, found.is_complete) == ("relay.example.org", "tls", True)


# The last mails -------------------------------------------------------------------------------------------------


def owe(operator, status: NotificationStatus, **given: object) -> str:
    """A notification of a deployment of its own; its id."""
    project = operator.make_project("https://git.example.com/app.git", name=f"app-{clock.new_id()[-12:]}")
    now = clock.now()
    row = Notification(
        **{
            "id": clock.new_id(),
            "deployment_id": operator.deploy(project),
            "occasion": Occasion.FAILURE,
            "status": status,
            "attempts": 1,
            "next_attempt_at": now,
            "created_at": now,
            **given,
        }
    )
    with operator.database.write_session() as session:
        session.add(row)
        session.flush()
        return row.id


def test_the_last_mails_are_listed_with_what_became_of_them(member, operator):
    owe(operator, NotificationStatus.SENT, sent_at=clock.now())
    owe(operator, NotificationStatus.PENDING, attempts=3, last_error="450 <i>later</i>")
    owe(operator, NotificationStatus.GIVEN_UP, attempts=18, last_error="mail.example.com:587 does not answer")

    page = member.get("/settings/mail").page

    rows = [row.words for row in page.find_all("li", class_="notification")]
    given_up, pending, sent = rows
    assert "given up after 18 attempts" in given_up
    assert "mail.example.com:587 does not answer" in given_up
    assert "3 attempts, the next one is due" in pending
    assert "450 <i>later</i>" in pending
    assert "sent just now" in sent
    assert [("Try again" in row) for row in rows] == [True, False, False]


def test_what_was_given_up_is_tried_again(member, operator):
    notification_id = owe(operator, NotificationStatus.GIVEN_UP, last_error="550 no")

    answer = member.post(f"/settings/mail/{notification_id}/retry")

    assert (answer.status, answer.location) == (302, "/settings/mail#notifications-title")
    (row,) = operator.rows(sa.select(*Notification.__table__.columns).where(Notification.id == notification_id))
    assert (row.status, row.attempts) == ("pending", 0)
    assert member.post(f"/settings/mail/{notification_id}/retry").status == 404


# A project's switches -------------------------------------------------------------------------------------------

BOXES = ["mail_on_failure", "mail_on_recovery", "mail_on_interruption", "mail_on_success"]


def checked(page) -> list[str]:
    return [name for name in BOXES if "checked" in page.find("input", name=name).attributes]


def fields(**given: str) -> dict[str, str]:
    url = "https://git.example.com/app.git"
    return {
        "name": "mailed",
        "repository_url": url,
        "branch": "main",
        "step_command": "true",
        "step_name": "",
        "step_timeout": "",
        **given,
    }


def test_a_projects_form_holds_what_it_tells_and_to_whom(member, operator):
    page = member.get("/projects/new").page
    assert checked(page) == BOXES[:3]
    assert "No mail server is set up yet" in page.text

    assert (
        member.post("/projects/new", fields(mail_on_success="on", mail_to="a@b.example; c@d.example")).status == 302
    )
    page = member.get("/projects/mailed/edit").page
    assert (checked(page), page.value("mail_to")) == (["mail_on_success"], "a@b.example, c@d.example")

    assert member.post("/projects/mailed/edit", fields(mail_on_recovery="on")).status == 302
    page = member.get("/projects/mailed/edit").page
    assert (checked(page), page.value("mail_to")) == (["mail_on_recovery"], "")


def test_an_address_that_is_none_is_refused_at_its_field(member, operator):
    answer = member.post("/projects/new", fields(mail_to="a@b.example, nobody", mail_on_failure="on"))

    assert answer.status == 400
    assert answer.page.error_at("mail_to") == "'nobody' is not an e-mail address."
    assert checked(answer.page) == ["mail_on_failure"]
    with operator.database.write_session() as session, pytest.raises(projects.NotFound):
        projects.find(session, "mailed")


def test_the_form_says_nothing_of_a_missing_mail_server_once_there_is_one(member):
    save(member, host="localhost", from_="a@b.example", to="c@d.example")

    assert "No mail server is set up yet" not in member.get("/projects/new").text
