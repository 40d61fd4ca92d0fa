"""What is in force of the mail settings: the configuration first, field by field, then the dashboard."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from deployer import settings
from deployer.config import SmtpSettings
from deployer.errors import InvalidInput, SecretUnreadable
from deployer.installation import Installation
from deployer.notifications import mail_settings
from deployer.security.vault import Vault

GOOD = {
    "host": "smtp.example.com",
    "port": "",
    "security": "starttls",
    "username": "deployer",
    "from_": "Deployer <deploy@example.com>",
    "to": "ops@example.com",
}
PASSWORD = "open sesame"


class Mail:
    """The settings of an installation as a person changes and sees them."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.config = installation.config

    def save(self, password: str = "", **given: str):
        with self.installation.database.write() as connection:
            return mail_settings.save(
                connection, {**GOOD, **given}, password, config=self.config, vault=self.installation.vault
            )

    def errors(self, password: str = "", **given: str) -> dict[str, str]:
        with pytest.raises(InvalidInput) as caught:
            self.save(password, **given)
        return caught.value.fields

    @property
    def found(self):
        with self.installation.database.read() as connection:
            return mail_settings.load(connection, self.config)

    def password(self, vault: Vault | None = None) -> str:
        with self.installation.database.read() as connection:
            return mail_settings.password(connection, self.config, vault or self.installation.vault)

    @property
    def is_marked(self) -> bool:
        with self.installation.database.read() as connection:
            return mail_settings.is_marked(connection)

    def stored(self) -> list[tuple[str, str]]:
        with self.installation.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql("SELECT name, value FROM settings")]

    def configure(self, **given) -> None:
        self.config = replace(self.config, smtp=SmtpSettings(**given))


@pytest.fixture
def mail(installation) -> Mail:
    return Mail(installation)


def test_at_first_nothing_is_set_up(mail):
    assert not mail.found.is_complete
    assert mail.password() == ""


def test_what_was_entered_is_in_force(mail):
    found = mail.save(PASSWORD, port="2525", security="tls")

    assert mail.found == found
    assert (found.host, found.port_in_use, found.security) == ("smtp.example.com", 2525, "tls")
    assert (found.username, found.from_, found.to) == ("deployer", GOOD["from_"], "ops@example.com")
    assert (found.is_complete, found.has_password, found.fixed) == (True, True, frozenset())
    assert mail.password() == PASSWORD


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_from_the_encryption(mail, security, port):
    assert mail.save(security=security).port_in_use == port


def test_the_password_is_stored_sealed_in_its_place_alone(mail):
    mail.save(PASSWORD)

    stored = dict(mail.stored())
    assert PASSWORD not in str(stored)
    sealed = bytes.fromhex(stored["mail.password"])
    with pytest.raises(SecretUnreadable):
        mail.installation.vault.open(sealed, "elsewhere")
    with pytest.raises(SecretUnreadable):
        mail.password(Vault(b"x" * 32))


def test_an_empty_password_keeps_the_one_that_is_set(mail):
    mail.save(PASSWORD)
    mail.save(to="ada@example.com")

    assert (mail.password(), mail.found.to) == (PASSWORD, "ada@example.com")


def test_a_password_does_not_follow_to_another_server(mail):
    mail.save(PASSWORD)

    said = mail.errors(host="smtp.example.net")
    assert said == {"password": "Enter the password again: it was given for another server."}
    # Nor by way of no server.
    mail.save(host="")
    assert "password" in mail.errors(host="smtp.example.net")

    mail.save("another one", host="smtp.example.net")
    assert mail.password() == "another one"


def test_without_a_user_name_the_password_is_forgotten(mail):
    mail.save(PASSWORD)
    mail.save(username="")

    assert (mail.password(), mail.found.has_password) == ("", False)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"host": "smtp example"}, "host"),
        ({"host": "smtp.example.com\r\nx"}, "host"),
        ({"host": "-x"}, "host"),
        ({"port": "0"}, "port"),
        ({"port": "65536"}, "port"),
        ({"port": "x"}, "port"),
        ({"port": "²"}, "port"),
        ({"security": "ssl"}, "security"),
        ({"security": ""}, "security"),
        ({"username": "a\nb"}, "username"),
        ({"from_": ""}, "from_"),
        ({"from_": "deploy"}, "from_"),
        ({"from_": "a@b.example\r\nBcc: x@y.example"}, "from_"),
        ({"from_": "a@b.example, c@d.example"}, "from_"),
        ({"to": ""}, "to"),
        ({"to": "ops@example.com, nobody"}, "to"),
        ({"to": ", ".join(f"a{number}@example.com" for number in range(21))}, "to"),
    ],
)
def test_what_cannot_be_used_is_refused_at_its_field_and_nothing_is_stored(mail, given, field):
    assert field in mail.errors(**given)
    assert mail.stored() == []


def test_a_short_password_and_one_without_a_user_are_refused(mail):
    assert list(mail.errors("abc")) == ["password"]
    assert list(mail.errors(PASSWORD, username="")) == ["username"]


@pytest.mark.parametrize("host", ["smtp.example.com", "192.0.2.1", "10.0.0.1"])
def test_a_password_is_not_to_be_sent_without_encryption_beyond_this_host(mail, host):
    assert list(mail.errors(PASSWORD, security="none", host=host)) == ["security"]
    assert mail.save(PASSWORD, security="none", host="localhost").host == "localhost"
    assert mail.save(security="none", host=host, username="").host == host


def test_without_a_host_everything_else_may_stay_and_no_mail_is_sent(mail):
    mail.save()
    assert mail.is_marked

    found = mail.save(host="", from_="", to="")

    assert not found.is_complete
    assert not mail.is_marked


# The configuration ----------------------------------------------------------------------------------------------


def test_the_configuration_wins_field_by_field(mail):
    mail.save(PASSWORD, port="2525")
    mail.configure(host="relay.example.org", to="admins@example.org")

    found = mail.found
    assert (found.host, found.to) == ("relay.example.org", "admins@example.org")
    assert (found.port, found.username, found.from_) == (2525, "deployer", GOOD["from_"])
    assert found.fixed == {"host", "to"}


@pytest.mark.parametrize("name", [one.name for one in fields(SmtpSettings)])
def test_each_setting_of_the_configuration_is_said_to_be_fixed(mail, name):
    value = {"port": 2526, "security": "tls"}.get(name, "a@b.example")
    mail.configure(**{name: value})

    assert mail.found.fixed == {name}


def test_a_password_of_the_configuration_wins_and_is_not_stored(mail):
    mail.save(PASSWORD)
    mail.configure(password="from the environment")

    mail.save("typed nevertheless")

    assert mail.password() == "from the environment"
    mail.configure()
    assert mail.password() == PASSWORD


def test_what_the_configuration_sets_is_not_changed_by_the_dashboard(mail):
    mail.save()
    mail.configure(host="relay.example.org")

    mail.save(host="evil.example.net", to="ada@example.com")

    assert (mail.found.host, mail.found.to) == ("relay.example.org", "ada@example.com")
    mail.configure()
    assert mail.found.host == "smtp.example.com"


def test_a_complete_configuration_needs_nothing_from_the_dashboard(mail):
    mail.configure(host="127.0.0.1", from_="deploy@example.com", to="ops@example.com")

    assert mail.found.is_complete
    assert mail.stored() == []
    with mail.installation.database.write() as connection:
        mail_settings.mark(connection, mail.config)
        mail_settings.mark(connection, mail.config)
        assert settings.get(connection, "mail.is_configured") == "yes"
