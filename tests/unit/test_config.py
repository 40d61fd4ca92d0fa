"""The configuration: defaults, overrides, and errors that name the place and what was expected."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from deployer import config as configuration
from deployer.config import Config
from deployer.config_file import load
from deployer.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"

SETTINGS = [
    (section, configuration.key_of(setting.name), getattr(getattr(Config(), section), setting.name))
    for section in configuration.SECTIONS
    for setting in fields(getattr(Config(), section))
]
"""Every setting: its section, its key and its default."""

OTHER_VALUES = {
    "server.bind": "0.0.0.0:80",
    "server.public_url": "https://deploy.example.com",
    "git.allow_file": True,
    "storage.database_url": "postgresql://deployer@db.example.com/deployer",
    "logs.level": "debug",
    "outbound.allow_private": True,
    "logs.max_bytes_per_command": 1 << 20,
    "logs.max_spool_bytes": 1 << 22,
    "smtp.host": "mail.example.com",
    "smtp.security": "tls",
    "smtp.from": "Deployer <deploy@example.com>",
    "smtp.to": "ops@example.com, ada@example.com",
}


def another_value(section: str, name: str, default: object) -> object:
    """A value that works and is not the default."""
    path = f"{section}.{name}"
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    return default + 1 if isinstance(default, int) else "/elsewhere"


def value_of(loaded: Config, section: str, key: str) -> object:
    return getattr(getattr(loaded, section), configuration.settings_of(section)[key].name)


@pytest.fixture
def write(tmp_path):
    """A configuration file with a text."""

    def make(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return make


def test_without_a_file_and_an_environment_everything_has_its_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load(environ={}) == Config()


def test_a_file_in_the_present_folder_is_read(tmp_path, monkeypatch, write):
    write("[server]\nthreads = 7\n")
    monkeypatch.chdir(tmp_path)

    assert load(environ={}).server.threads == 7


@pytest.mark.parametrize(("section", "name", "default"), SETTINGS)
def test_each_setting_can_be_set_in_the_file(write, section, name, default):
    value = another_value(section, name, default)
    written = str(value).lower() if isinstance(value, bool) else repr(value)

    loaded = load(write(f"[{section}]\n{name} = {written}\n"), environ={})

    assert value_of(loaded, section, name) == value


@pytest.mark.parametrize(("section", "name", "default"), SETTINGS)
def test_each_setting_can_be_overridden_by_the_environment(write, section, name, default):
    value = another_value(section, name, default)
    path = write(f"[{section}]\n")

    loaded = load(path, environ={f"DEPLOYER_{section}_{name}".upper(): str(value)})

    assert value_of(loaded, section, name) == value


def test_the_environment_wins_over_the_file(write):
    loaded = load(write("[server]\nthreads = 7\n"), environ={"DEPLOYER_SERVER_THREADS": "9"})

    assert loaded.server.threads == 9


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("on", True), ("0", False), ("no", False)]
)
def test_the_environment_says_yes_and_no_in_several_words(tmp_path, monkeypatch, text, value):
    monkeypatch.chdir(tmp_path)

    assert load(environ={"DEPLOYER_GIT_ALLOW_FILE": text}).git.allow_file is value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sever]\n", f"sever: unknown section; there are {', '.join(configuration.SECTIONS)}."),
        ("threads = 3\n", "threads: unknown section"),
        ("server = 3\n", "server: should be a section, written as [server]."),
        ("[server]\nthread = 3\n", "server.thread: unknown key; there are bind, public_url"),
        ("[server]\nthreads = 'many'\n", "server.threads: should be a whole number, but is 'many'."),
        ("[server]\nthreads = true\n", "server.threads: should be a whole number, but is True."),
        ("[server]\nthreads = 2.0\n", "server.threads: should be a whole number, but is 2.0."),
        ("[server]\nbind = 8420\n", "server.bind: should be a string, but is 8420."),
        ("[git]\nallow_file = 1\n", "git.allow_file: should be true or false, but is 1."),
        ("[git]\nallow_file = 'yes'\n", "git.allow_file: should be true or false, but is 'yes'."),
        ("[server]\nthreads = 1\n", "server.threads: should be between 2 and 1000, but is 1."),
        ("[server]\nthreads = -1\n", "server.threads: should be between"),
        ("[server]\ntrusted_proxies = 17\n", "server.trusted_proxies: should be between 0 and 16, but is 17."),
        ("[server]\nmax_streams = 0\n", "server.max_streams: should be between"),
        ("[runner]\nmax_queued = 0\n", "runner.max_queued: should be between"),
        ("[runner]\ndefault_timeout = 0\n", "runner.default_timeout: should be between"),
        ("[runner]\ncancel_grace = 601\n", "runner.cancel_grace: should be between"),
        ("[git]\ntimeout = 0\n", "git.timeout: should be between"),
        ("[logs]\nmax_bytes_per_command = 1\n", "logs.max_bytes_per_command: should be between"),
        ("[logs]\nmax_spool_bytes = 1\n", "logs.max_spool_bytes: should be between"),
        ("[auth]\nsession_days = 0\n", "auth.session_days: should be between"),
        ("[server]\nbind = '8420'\n", "server.bind: should be HOST:PORT, for example 127.0.0.1:8420, but is '8420'."),
        ("[server]\nbind = 'host:'\n", "server.bind: should be HOST:PORT"),
        ("[server]\nbind = 'host:0'\n", "server.bind: should be HOST:PORT"),
        ("[server]\nbind = 'host:65536'\n", "server.bind: should be HOST:PORT"),
        ("[server]\nbind = 'host:²'\n", "server.bind: should be HOST:PORT"),
        ("[server]\npublic_url = 'deploy.example.com'\n", "server.public_url: should be an address such as"),
        ("[server]\npublic_url = 'ftp://x'\n", "server.public_url: should be an address such as"),
        ("[server]\npublic_url = 'https://'\n", "server.public_url: should be an address such as"),
        ("[server]\npublic_url = 'https://x?y'\n", "server.public_url: should be an address such as"),
        ("[server]\npublic_url = 'https://[::1'\n", "server.public_url: should be an address such as"),
        ("[storage]\ndata_dir = ''\n", "storage.data_dir: should be a folder, but is ''."),
        ("[logs]\nlevel = 'loud'\n", "logs.level: should be debug, info, warning or error, but is 'loud'."),
        ("[smtp]\nhost = 'mail example com'\n", "smtp.host: should be the name or the address of a mail server"),
        ("[smtp]\nport = 65536\n", "smtp.port: should be between 0 and 65535, but is 65536."),
        ("[smtp]\nsecurity = 'ssl'\n", "smtp.security: should be starttls, tls or none, but is 'ssl'."),
        ("[smtp]\nfrom = 'deploy'\n", "smtp.from: should be an address such as deploy@example.com"),
        ("[smtp]\nfrom_ = 'deploy@example.com'\n", "smtp.from_: unknown key; there are host, port, security"),
        ("[smtp]\nto = 'a@example.com, b'\n", "smtp.to: should be e-mail addresses with commas between"),
        ("[smtp]\nca_file = 'ca.pem'\n", "smtp.ca_file: should be the absolute path"),
        ("[server\n", "is not valid TOML"),
    ],
)
def test_a_mistake_is_refused_with_the_file_the_key_and_what_was_expected(write, text, said):
    path = write(text)

    with pytest.raises(ConfigError) as caught:
        load(path, environ={})

    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("DEPLOYER_SERVER_THREADS", "many", "should be a whole number, but is 'many'."),
        ("DEPLOYER_SERVER_THREADS", "9" * 5000, "should be a whole number"),
        ("DEPLOYER_SERVER_THREADS", "", "should be a whole number, but is ''."),
        ("DEPLOYER_GIT_ALLOW_FILE", "perhaps", "should be true or false, but is 'perhaps'."),
        ("DEPLOYER_SERVER_THREAD", "3", "there is no such setting."),
    ],
)
def test_a_mistake_in_the_environment_is_refused_with_the_variables_name(tmp_path, monkeypatch, name, text, said):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as caught:
        load(environ={name: text})

    assert str(caught.value).startswith(f"environment: {name}: ")
    assert said in str(caught.value)


def test_other_variables_of_ours_are_not_taken_for_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert load(environ={"DEPLOYER_TOKEN": "x", "DEPLOYER": "y", "SERVER_THREADS": "3"}) == Config()


def test_a_file_that_was_named_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "nowhere.toml", environ={})


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"# \xe4\n")
    for path in (tmp_path, tmp_path / "latin.toml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path, environ={})


def test_the_public_address_is_what_is_configured_or_where_it_listens():
    assert Config().public_url == "http://127.0.0.1:8420"
    assert not Config().is_behind_tls
    given = load(environ={"DEPLOYER_SERVER_PUBLIC_URL": "https://deploy.example.com/"}, path=EXAMPLE)
    assert given.public_url == "https://deploy.example.com"
    assert given.is_behind_tls


def test_the_example_says_every_default(tmp_path):
    document = tomllib.loads(EXAMPLE.read_text())

    assert document == {
        section: {name: default for owner, name, default in SETTINGS if owner == section}
        for section in configuration.SECTIONS
    }


def test_the_example_is_a_configuration_that_equals_the_defaults():
    loaded = load(EXAMPLE, environ={})

    assert {name: getattr(loaded, name) for name in configuration.SECTIONS} == {
        name: getattr(Config(), name) for name in configuration.SECTIONS
    }


@pytest.mark.parametrize(("section", "name", "default"), SETTINGS)
def test_the_example_has_a_line_on_every_setting(section, name, default):
    lines = EXAMPLE.read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{name} = "))

    assert re.match(r"# \S.*[.]\Z", lines[place - 1])


@pytest.mark.parametrize("text", ["password = 12345678\n", "password = 'abc'\n"])
def test_a_password_is_shown_neither_by_its_error_nor_by_the_configuration(write, text):
    with pytest.raises(ConfigError, match=r"smtp\.password: should be") as caught:
        load(write(f"[smtp]\n{text}"), environ={})
    assert "1234" not in str(caught.value)
    assert "abc" not in str(caught.value)

    loaded = load(write("[smtp]\npassword = 'open sesame'\n"), environ={})
    assert loaded.smtp.password == "open sesame"
    assert "sesame" not in repr(loaded)
