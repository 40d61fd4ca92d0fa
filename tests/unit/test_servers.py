"""Servers: what may be entered, what becomes of it, and host keys as people compare them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer import server_check, servers
from deployer.deployments import claims
from deployer.errors import InvalidInput, InvalidTransition, NotFound, SecretUnreadable, ServerRefused
from deployer.executors import host_keys
from deployer.server_check import Finding, Level, Report
from deployer.servers import ServerInput

GOOD = {"name": "web1", "host": "web1.example.com"}
SHELL = set(" \t\r\n\0;&|<>()$`\\\"'*?[]#~=!{}^,/@")
"""What a shell, or a program that is given an address, would read as more than a name."""


def errors_of(**changes) -> dict[str, str]:
    try:
        servers.validate(ServerInput(**{**GOOD, **changes}))
    except InvalidInput as error:
        return error.fields
    return {}


# What may be entered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *(
            "web1",
            "web1.example.com",
            "web1.example.com.",
            "my_host",
            "192.0.2.1",
            "2001:db8::1",
            "xn--bcher-kva.example",
        ),
        *("fe80::1%eth0", "::1", "a" * 63 + ".example"),
    ],
)
def test_a_name_or_an_address_is_a_host(host):
    assert errors_of(host=host) == {}


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "-oProxyCommand=id",
            "a b",
            "a;b",
            "a.-b",
            "http://a",
            "a/b",
            "deploy@a",
            "a:22",
            "[::1]",
            "a..b",
            ".a",
        ),
        *("a\n", "ä.example", "a" * 64, "a" * 254, "fe80::1%$(id)", "fe80::1%-x", "fe80::1%", "192.0.2.1%eth0", "%a"),
    ],
)
def test_what_is_no_host_is_refused_at_its_field(host):
    assert errors_of(host=host) == {"host": "Give a host name or an IP address, without user and port."}


@pytest.mark.parametrize("username", ["deploy", "_apt", "a.b-c_d", "A1"])
def test_a_user_name_is_one(username):
    assert errors_of(username=username) == {}


@pytest.mark.parametrize("username", ["", "-l", "1a", "a b", "a@b", "a:b", "$(id)", "a$", "a\n", "ä", "a" * 65, ".a"])
def test_what_is_no_user_name_is_refused_at_its_field(username):
    assert list(errors_of(username=username)) == ["username"]


ODD = st.text(alphabet=st.sampled_from("ab1.-_:%$;|& \n@/~`'\"\\"), max_size=12)


@given(ODD | st.text(max_size=20) | st.from_regex(r"fe80::[0-9a-f]{1,4}%.{0,6}"))
def test_no_host_begins_with_a_dash_or_holds_what_a_shell_would_read(host):
    if not errors_of(host=host):
        assert host
        assert not host.startswith("-")
        assert not set(host) & SHELL
        assert host.isascii()


@given(ODD | st.text(max_size=20))
def test_no_user_begins_with_a_dash_or_holds_what_a_shell_would_read(username):
    if not errors_of(username=username):
        assert username
        assert not username.startswith("-")
        assert not set(username) & (SHELL | set(":%"))
        assert username.isascii()


@given(ODD | st.text(max_size=20))
def test_no_name_begins_with_a_dash_or_holds_what_an_address_would_read(name):
    """It stands in the comment of the key's line, and in addresses of pages."""
    if not errors_of(name=name):
        assert name
        assert not name.startswith(("-", "."))
        assert not set(name) & (SHELL | set(":%"))
        assert name not in ("local", "new")


@given(st.integers())
def test_a_port_is_between_1_and_65535(port):
    assert bool(errors_of(port=port)) == (not 1 <= port <= 65535)


@pytest.mark.parametrize("path", ["bin", "/a:/b", "/a\0", "~/bin", "/ok\nbin"])
def test_folders_for_path_are_absolute(path):
    assert list(errors_of(extra_path=path)) == ["extra_path"]


def test_all_errors_are_told_at_once():
    told = errors_of(name="", host="", port=0, username="", extra_path="x")

    assert set(told) == {"name", "host", "port", "username", "extra_path"}


# What becomes of it -----------------------------------------------------------------------------------------------


@pytest.fixture
def make_server(installation):
    def make(name: str = "web1", **changes):
        with installation.database.write_session() as session:
            return servers.create(session, ServerInput(**{**GOOD, **changes, "name": name}), installation.vault)

    return make


@pytest.fixture
def edit(installation):
    """Call a use case with a server that is loaded in a write transaction."""

    def call(server, function, *arguments):
        with installation.database.write_session() as session:
            present = servers.find(session, server.id)
            function(session, present, *arguments)
            session.flush()
            return present

    return call


def test_each_server_has_a_key_of_its_own_sealed_and_bound_to_it(installation, make_server):
    one, other = make_server("one"), make_server("two")

    assert one.public_key != other.public_key
    assert one.public_key.endswith(" deployer:one")
    assert b"PRIVATE KEY" not in one.private_key
    one.host_key = other.host_key = "ssh-ed25519 AAAA"
    private = servers.address_of(one, installation.vault).private_key
    assert private.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    other.private_key = one.private_key
    with pytest.raises(SecretUnreadable):
        servers.address_of(other, installation.vault)
    assert private.decode() not in repr(servers.address_of(one, installation.vault))


def test_the_line_allows_commands_and_nothing_else(make_server):
    assert servers.authorized_keys(make_server()).startswith("restrict ssh-ed25519 AAAA")


def test_a_server_is_found_by_name_and_by_id(installation, make_server):
    made = make_server()
    with installation.database.write_session() as session:
        assert servers.find(session, "web1").id == servers.find(session, made.id).id == made.id
        with pytest.raises(NotFound):
            servers.find(session, "web2")


def test_without_a_trusted_host_key_there_is_no_address(installation, make_server):
    with pytest.raises(ServerRefused, match="not trusted yet"):
        servers.address_of(make_server(), installation.vault)


def test_a_server_does_not_move_while_something_runs_there(installation, operator, make_project, make_server, edit):
    server = make_server()
    operator.deploy(make_project(server=server.id))
    with installation.database.write() as connection:
        assert claims.claim(connection, "one", server.id)

    for change in ({"host": "192.0.2.9"}, {"port": 23}, {"username": "other"}):
        with pytest.raises(InvalidTransition, match="A deployment of app is running on web1"):
            edit(server, servers.update, ServerInput(**{**GOOD, **change}))
    assert edit(server, servers.update, ServerInput("web2", GOOD["host"], extra_path="/opt/bin")).name == "web2"


def test_a_server_with_projects_is_not_deleted(make_project, make_server, edit):
    server = make_server()
    make_project(name="b", server=server.id)
    make_project(name="a", server=server.id)

    with pytest.raises(InvalidTransition, match="web1 is the server of a, b"):
        edit(server, lambda session, present: servers.delete(session, present))


def test_a_name_is_taken_only_by_another(make_server, edit):
    server = make_server()
    make_server("web2")

    with pytest.raises(InvalidInput, match="Another server has this name"):
        edit(server, servers.update, ServerInput(**{**GOOD, "name": "web2"}))
    edit(server, servers.update, ServerInput(**GOOD))


# Host keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.parametrize(("kind", "name"), [("ed25519", "ED25519"), ("ecdsa", "ECDSA"), ("rsa", "RSA")])
def test_a_fingerprint_reads_as_ssh_keygen_prints_it(tmp_path, kind, name):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a comment", "-f", str(key)], check=True)
    printed = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True).stdout
    public = key.with_suffix(".pub").read_text()

    assert host_keys.fingerprint(public) == printed.split()[1]
    assert host_keys.kind(public) == name
    assert printed.strip().endswith(f"({name})")


# Reports ------------------------------------------------------------------------------------------------------------


def test_a_report_is_the_same_after_it_was_stored():
    report = Report(
        (Finding(Level.OK, "git", "git version 2"), Finding(Level.FAILURE, "disk", "“full”", "Make room"))
    )

    assert Report.from_json(report.as_json()) == report
    assert not report.is_good


def test_warnings_do_not_make_a_report_bad():
    assert Report((Finding(Level.WARNING, "disk", "little"), Finding(Level.OK, "git", "there"))).is_good
    assert not Report((Finding(Level.OK, "git", "there"),)).is_of_pinned_key
    assert server_check.LIMIT_S == 15
