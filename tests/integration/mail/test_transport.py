"""A mail server is reached as it should be, and what it refuses is told in its own words."""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64encode

import pytest

from deployer.config import SmtpSettings
from deployer.errors import MailError
from deployer.notifications import delivery, smtp
from tests.support.daemon import free_port
from tests.support.mail_server import PASSWORD, Authority, SilentServer, html_of, text_of
from tests.support.waiting import wait_until


def refused(installation) -> str:
    with pytest.raises(MailError) as caught:
        delivery.send_test(installation)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize("login", [False, True])
def test_a_test_mail_arrives_whatever_the_encryption_and_the_login(
    with_smtp, make_mail_server, authority, security, login
):
    server = make_mail_server(security, login=login)
    given = server.smtp_settings(ca_file=str(authority.ca_file), to="ops@example.com, ada@example.com")

    assert delivery.send_test(with_smtp(given)) == "ops@example.com, ada@example.com"

    (mail,) = server.mails
    assert server.envelopes[0].mail_from == "deploy@example.com"
    assert server.envelopes[0].rcpt_tos == ["ops@example.com", "ada@example.com"]
    assert (mail["From"], mail["To"]) == ("Deployer <deploy@example.com>", "ops@example.com, ada@example.com")
    assert mail["Subject"] == "[Deployer] test mail"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].endswith("@deploy.example.com>")
    assert mail["Date"].datetime is not None
    assert "https://deploy.example.com" in text_of(mail)
    assert "It arrived" in html_of(mail)


def test_a_wrong_password_is_told_in_the_servers_words_without_the_password(with_smtp, make_mail_server, authority):
    server = make_mail_server("starttls", login=True)
    given = server.smtp_settings(ca_file=str(authority.ca_file), password="a wrong one")

    said = refused(with_smtp(given))

    assert said.startswith("The mail server refused the login: 535 5.7.8 Authentication credentials invalid")
    assert "a wrong one" not in said
    assert server.mails == []


def test_a_password_that_a_server_repeats_is_taken_out(with_smtp, mail_server):
    plain = b64encode(b"\0me\0open sesame").decode()
    mail_server.refuse["deploy@example.com"] = f"550 go away, AUTH PLAIN {plain}, open sesame"
    given = mail_server.smtp_settings(username="", password="open sesame")
    server = smtp.Server("127.0.0.1", mail_server.port, "none", "", given.password)
    mail = delivery.message.render_test(
        delivery.Envelope(("", "deploy@example.com"), ["ops@example.com"], "http://localhost")
    ).as_bytes()

    with pytest.raises(MailError) as caught:
        smtp.send(server, mail, "deploy@example.com", ["ops@example.com"], step_s=10, total_s=10)

    mail_server.refuse = {"bob@example.com": mail_server.refuse["deploy@example.com"]}
    two = ["ops@example.com", "bob@example.com"]
    refusals = smtp.send(server, mail, "deploy@example.com", two, step_s=10, total_s=10)

    for said in (str(caught.value), str(refusals["bob@example.com"])):
        assert "550 go away, AUTH PLAIN " in said
        assert "sesame" not in said
        assert plain not in said


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_an_unknown_authority_is_refused(with_smtp, make_mail_server, security):
    server = make_mail_server(security, login=True)

    said = refused(with_smtp(server.smtp_settings()))

    assert said.startswith(f"The certificate of localhost:{server.port} cannot be trusted: ")
    assert "smtp.ca_file" in said
    assert server.mails == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_another_name_is_refused(with_smtp, make_mail_server, authority, security):
    server = make_mail_server(security, login=True, names=("mail.example.net",))

    said = refused(with_smtp(server.smtp_settings(ca_file=str(authority.ca_file))))

    assert "Hostname mismatch" in said
    assert server.mails == []


def test_a_certificate_of_another_authority_of_that_name_is_refused(with_smtp, make_mail_server, tmp_path):
    server = make_mail_server("tls")

    said = refused(with_smtp(server.smtp_settings(ca_file=str(Authority(tmp_path / "another").ca_file))))

    assert "cannot be trusted" in said


def test_a_file_of_authorities_that_cannot_be_used_is_named(with_smtp, mail_server, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing\n")
    for path in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        assert f"smtp.ca_file: {path} cannot be used" in refused(
            with_smtp(mail_server.smtp_settings(ca_file=str(path)))
        )


def test_a_server_without_starttls_gets_nothing(with_smtp, mail_server):
    said = refused(with_smtp(mail_server.smtp_settings(security="starttls")))

    assert said.startswith(f"127.0.0.1:{mail_server.port} offers no STARTTLS.")
    assert mail_server.mails == []


def test_a_server_without_tls_where_tls_is_chosen_gets_nothing(with_smtp, mail_server):
    said = refused(with_smtp(mail_server.smtp_settings(security="tls")))

    assert said.startswith(f"No encrypted connection to 127.0.0.1:{mail_server.port}: ")
    assert "choose STARTTLS" in said


def test_a_password_never_leaves_this_host_without_encryption(with_smtp):
    # An address for documentation (RFC 5737): if anything were sent there, the test would take its 15 s.
    given = SmtpSettings("192.0.2.1", 25, "none", "me", PASSWORD, "deploy@example.com", "ops@example.com")

    said = refused(with_smtp(given))

    assert said == "The password is not sent to 192.0.2.1 without encryption. Choose STARTTLS or TLS."


def test_a_server_that_offers_no_login_is_told(with_smtp, mail_server):
    said = refused(with_smtp(mail_server.smtp_settings(username="me", password=PASSWORD)))

    assert "offers no login" in said


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("127.0.0.1", "127.0.0.1:{port} does not answer: Connection refused."),
        ("no-such-host.invalid", "There is no host no-such-host.invalid: "),
    ],
)
def test_a_server_that_is_not_there_is_told(with_smtp, host, words):
    given = SmtpSettings(host, free_port(), "none", from_="deploy@example.com", to="ops@example.com")

    assert refused(with_smtp(given)).startswith(words.format(port=given.port))


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_a_server_that_says_nothing_is_waited_for_within_bounds(security):
    with SilentServer() as silent:
        server = smtp.Server("127.0.0.1", silent.port, security)
        begun = time.monotonic()
        with pytest.raises(MailError, match=rf"127.0.0.1:{silent.port} did not answer within"):
            smtp.greet(server, total_s=0.3)
        assert time.monotonic() - begun < 10
        wait_until(lambda: silent.waiting == 1, "the connection")


def test_a_server_that_dribbles_is_cut_off_when_the_time_is_over():
    """Each read gets a byte in time, and no answer ever comes."""
    listening = socket.create_server(("127.0.0.1", 0))
    is_cut = threading.Event()

    def dribble() -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                while not is_cut.wait(0.02):
                    connection.sendall(b"2")
            except OSError:
                is_cut.set()

    thread = threading.Thread(target=dribble)
    thread.start()
    server = smtp.Server("127.0.0.1", listening.getsockname()[1], "none")
    try:
        with pytest.raises(MailError, match=r"did not answer within 0\.5 s"):
            smtp.send(server, b"", "a@b.example", ["c@d.example"], step_s=60, total_s=0.5)
        assert is_cut.wait(20)
    finally:
        is_cut.set()
        thread.join()
        listening.close()


def test_a_password_beyond_ascii_is_sent_as_utf8(with_smtp, make_mail_server, authority):
    server = make_mail_server("tls", login=True)
    server.password = "sésame, öffne dich"

    delivery.send_test(with_smtp(server.smtp_settings(ca_file=str(authority.ca_file))))
    assert len(server.mails) == 1

    said = refused(with_smtp(server.smtp_settings(ca_file=str(authority.ca_file), password="ö falsch")))
    assert "535" in said


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://d.example.com/x", "d.example.com"),
        ("http://127.0.0.1:8420", "[127.0.0.1]"),
        ("http://[::1]:8420", "[IPv6:::1]"),
    ],
)
def test_this_host_greets_with_its_public_name(url, name):
    assert smtp.name_of(url) == name


def test_the_greeting_is_what_the_server_hears(with_smtp, mail_server):
    delivery.send_test(with_smtp(mail_server.smtp_settings()))

    assert mail_server.greeted_by == "deploy.example.com"


def test_a_person_waits_at_most_15_seconds_for_a_test_mail():
    assert delivery.TEST_TIMEOUT_S <= 15


@pytest.mark.parametrize(
    ("refuse", "words", "is_permanent"),
    [
        ({"ops@example.com": "550 5.1.1 no such user"}, "refused ops@example.com: 550 5.1.1 no such user", True),
        ({"ops@example.com": "450 4.2.0 greylisted"}, "refused ops@example.com: 450 4.2.0 greylisted", False),
        ({"deploy@example.com": "553 5.7.1 not yours"}, "sender deploy@example.com: 553 5.7.1 not yours", True),
        ({"deploy@example.com": "530 5.7.0 log in first"}, "530 5.7.0 log in first", False),
        ({"DATA": "554 5.7.1 this looks like spam"}, "refused the mail: 554 5.7.1 this looks like spam", True),
        ({"DATA": "452 4.3.1 disk full"}, "refused the mail: 452 4.3.1 disk full", False),
    ],
)
def test_a_refusal_is_told_in_the_servers_words_and_said_to_last_or_not(
    with_smtp, mail_server, refuse, words, is_permanent
):
    mail_server.refuse = refuse
    with pytest.raises(MailError) as caught:
        delivery.send_test(with_smtp(mail_server.smtp_settings()))

    assert words in str(caught.value)
    assert caught.value.is_permanent is is_permanent
    assert mail_server.mails == []


def test_without_settings_nothing_is_tried(installation):
    assert refused(installation) == "SMTP not configured"
