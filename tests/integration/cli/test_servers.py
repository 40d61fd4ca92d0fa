"""``server add``, ``trust``, ``test``, ``list``, ``scan`` and ``remove``, and projects that are deployed to one."""

from __future__ import annotations

import base64
import json
import re
import subprocess

import pytest
import sqlalchemy as sa

from deployer import projects, servers
from deployer.executors.host_keys import fingerprint
from deployer.models import AuditEvent
from tests.support.daemon import free_port

URL = "https://github.com/grace/app.git"
pytestmark = pytest.mark.usefixtures("operator")


def add(shell, ssh, name: str = "web1", *words: str):
    return shell("server", "add", name, "--host", "127.0.0.1", "--port", str(ssh.port), "--user", ssh.user, *words)


@pytest.fixture
def web1(shell, ssh) -> dict[str, str]:
    """A server that is added, and nothing more; what was answered."""
    return json.loads(add(shell, ssh, "web1", "--json").stdout)


@pytest.fixture
def trusted(shell, ssh, web1) -> dict[str, str]:
    """A server that is ready for projects."""
    ssh.authorize(web1["authorized_keys"])
    shell("server", "trust", "web1", web1["host_key_fingerprint"])
    return web1


def stored(operator, name: str):
    with operator.database.write_session() as session:
        return servers.find(session, name)


def as_sshkeygen_says(ssh) -> str:
    """The fingerprint that a person reads at the server's own console."""
    words = ["ssh-keygen", "-lf", str(ssh.folder / "host_key.pub")]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]


# Adding -----------------------------------------------------------------------------------------------------------


def test_what_remains_is_told_with_the_line_and_the_fingerprint(shell, ssh, operator):
    done = add(shell, ssh)

    server = stored(operator, "web1")
    assert (server.host, server.port, server.username) == ("127.0.0.1", ssh.port, ssh.user)
    assert "web1 is added. Three steps remain.\n" in done.stdout
    assert f"put this line into ~{ssh.user}/.ssh/authorized_keys:\n   restrict ssh-ed25519 AAAA" in done.stdout
    assert f"deployer server trust web1 {as_sshkeygen_says(ssh)}\n" in done.stdout
    assert done.stdout.endswith("3. deployer server test web1\n")
    assert (server.host_key, server.offered_host_key) == (None, ssh.host_key)


def test_json_has_four_facts_and_nothing_else(shell, ssh, operator):
    facts = json.loads(add(shell, ssh, "web1", "--json").stdout)

    assert list(facts) == ["id", "public_key", "authorized_keys", "host_key_fingerprint"]
    server = stored(operator, "web1")
    assert facts["id"] == server.id
    assert re.fullmatch(r"ssh-ed25519 [A-Za-z0-9+/=]+ deployer:web1", facts["public_key"])
    assert facts["authorized_keys"] == f"restrict {facts['public_key']}"
    assert facts["host_key_fingerprint"] == as_sshkeygen_says(ssh)


def test_where_nothing_answers_the_server_is_added_all_the_same(shell, operator):
    port = str(free_port())
    words = ("--host", "127.0.0.1", "--port", port, "--user", "deploy")

    facts = json.loads(shell("server", "add", "web1", *words, "--json").stdout)
    done = shell("server", "add", "web2", *words)

    assert facts["host_key_fingerprint"] is None
    assert facts["public_key"].startswith("ssh-ed25519 ")
    assert f"127.0.0.1 port {port} does not answer yet. When it does: deployer server scan web2\n" in done.stdout
    assert stored(operator, "web1").offered_host_key is None


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("a b", {}, "name: Use letters, digits"),
        ("local", {}, "name: “local” means this host"),
        ("new", {}, "name: “new” is the address of the form"),
        ("web1", {"host": "deploy@example.com"}, "host: Give a host name or an IP address, without user and port."),
        ("web1", {"host": "-oProxyCommand=id"}, "host: Give a host name"),
        ("web1", {"port": "0"}, "port: A port is between 1 and 65535."),
        ("web1", {"port": "65536"}, "port: A port is between 1 and 65535."),
        ("web1", {"user": "-l"}, "username: Give the user to log in as"),
        ("web1", {"user": "a;id"}, "username: Give the user to log in as"),
        ("web1", {"extra-path": "bin"}, "extra_path: bin: give absolute folders"),
    ],
)
def test_input_that_cannot_be_used_is_told_in_one_line_and_nothing_is_added(shell, name, given, words):
    options = {"host": "127.0.0.1", "port": "9", "user": "deploy", **given}

    done = shell("server", "add", name, *(f"--{key}={value}" for key, value in options.items()), code=1)

    assert done.stderr.startswith(f"Error: {words}")
    assert done.stderr.count("\n") == 1
    assert shell("server", "list", "--json").stdout == "[]\n"


def test_a_name_that_is_taken_is_told(shell, web1):
    done = shell("server", "add", "web1", "--host", "127.0.0.1", "--user", "deploy", code=1)

    assert done.stderr == "Error: name: Another server has this name.\n"


# Trusting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["SHA256:", ""])
def test_the_right_fingerprint_pins_the_key_with_its_prefix_and_without(shell, ssh, operator, web1, prefix):
    given = prefix + as_sshkeygen_says(ssh).removeprefix("SHA256:")

    done = shell("server", "trust", "web1", given)

    assert done.stdout == "The host key of web1 is pinned. Next: deployer server test web1\n"
    assert (stored(operator, "web1").host_key, stored(operator, "web1").offered_host_key) == (ssh.host_key, None)


def test_a_wrong_fingerprint_is_refused_with_both_and_pins_nothing(shell, ssh, operator, web1):
    wrong = "SHA256:" + "A" * 43

    done = shell("server", "trust", "web1", wrong, code=1)

    assert wrong in done.stderr
    assert as_sshkeygen_says(ssh) in done.stderr
    assert stored(operator, "web1").host_key is None


def test_a_trusted_key_stays_where_another_fingerprint_is_given(shell, ssh, operator, trusted):
    done = shell("server", "trust", "web1", "SHA256:" + "A" * 43, code=1)

    assert as_sshkeygen_says(ssh) in done.stderr
    assert stored(operator, "web1").host_key == ssh.host_key
    shell("server", "trust", "web1", as_sshkeygen_says(ssh))


@pytest.mark.parametrize("given", ["MD5:aa:bb", "SHA256:", "x" * 42, "SHA256:" + "A" * 44])
def test_what_is_no_fingerprint_is_told(shell, web1, given):
    done = shell("server", "trust", "web1", given, code=1)

    assert done.stderr == "Error: fingerprint: Give the fingerprint as ssh-keygen -lf prints it: SHA256:…\n"


def test_a_server_that_came_up_later_is_trusted_without_a_scan(shell, ssh, operator):
    ssh.stop()
    assert json.loads(add(shell, ssh, "web1", "--json").stdout)["host_key_fingerprint"] is None
    done = shell("server", "trust", "web1", as_sshkeygen_says(ssh), code=1)
    assert done.stderr == "Error: fingerprint: web1 has offered no host key yet. Scan it first.\n"
    ssh.start()

    shell("server", "trust", "web1", as_sshkeygen_says(ssh))

    assert stored(operator, "web1").host_key == ssh.host_key


def test_a_scan_shows_what_is_offered_and_what_is_pinned(shell, ssh, trusted):
    before = as_sshkeygen_says(ssh)
    assert json.loads(shell("server", "scan", "web1", "--json").stdout) == {"offered": before, "pinned": before}
    assert "Compare" not in shell("server", "scan", "web1").stdout
    ssh.stop()
    ssh.make_host_key()
    ssh.start()

    done = shell("server", "scan", "web1")

    assert f"offered  ED25519 {as_sshkeygen_says(ssh)}\n" in done.stdout
    assert f"pinned   ED25519 {before}\n" in done.stdout
    assert done.stdout.endswith(f"then: deployer server trust web1 {as_sshkeygen_says(ssh)}\n")


def test_a_scan_of_what_does_not_answer_is_told_in_one_line(shell, ssh, trusted):
    ssh.stop()

    done = shell("server", "scan", "web1", code=1)

    assert done.stderr == f"Error: 127.0.0.1:{ssh.port} cannot be reached: connection refused.\n"


# Testing ----------------------------------------------------------------------------------------------------------


def test_a_test_in_which_all_is_good_ends_with_0(shell, ssh, trusted):
    done = shell("server", "test", "web1")
    document = json.loads(shell("server", "test", "web1", "--json").stdout)

    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 8
    assert done.stdout.splitlines()[0].split()[:2] == ["ok", "connection"]
    assert document["ok"] is True
    assert {one["level"] for one in document["findings"]} == {"ok"}
    assert list(document["findings"][0]) == ["level", "about", "text", "mend"]


def changed_key(ssh) -> None:
    ssh.stop()
    ssh.make_host_key()
    ssh.start()


@pytest.mark.parametrize(
    ("happens", "said", "mend"),
    [
        (lambda ssh: ssh.revoke_all(), "refused the login: it does not take Deployer's key.", "authorized_keys"),
        (
            changed_key,
            "The host key of web1 is another one: pinned is ED25519 SHA256:",
            "compare the new fingerprint",
        ),
        (lambda ssh: ssh.stop(), "web1 cannot be reached: connection refused.", "Check host, port and firewall"),
    ],
    ids=["key not let in", "host key changed", "nothing listens"],
)
def test_a_test_that_fails_ends_with_1_and_says_what_to_do(shell, ssh, trusted, happens, said, mend):
    happens(ssh)

    done = shell("server", "test", "web1", code=1)

    failure, what_to_do = done.stdout.splitlines()
    assert failure.startswith("failure")
    assert said in failure
    assert what_to_do.strip().startswith("→")
    assert mend in what_to_do
    assert json.loads(shell("server", "test", "web1", "--json", code=1).stdout)["ok"] is False


def test_a_changed_key_is_told_with_both_fingerprints(shell, ssh, trusted):
    before = as_sshkeygen_says(ssh)
    changed_key(ssh)

    done = shell("server", "test", "web1", code=1)

    assert before in done.stdout
    assert as_sshkeygen_says(ssh) in done.stdout


def test_a_server_that_is_not_trusted_yet_is_told_how_to_trust_it(shell, ssh, web1):
    done = shell("server", "test", "web1", code=1)

    assert "The host key of web1 is not trusted yet." in done.stdout
    assert "→ Compare its fingerprint" in done.stdout


# The list, and the end --------------------------------------------------------------------------------------------


def test_the_list_says_what_to_do_while_it_is_empty(shell):
    done = shell("server", "list")

    assert done.stdout == (
        "Projects run on this host. Add another: deployer server add NAME --host HOST --user USER\n"
    )


def test_the_list_shows_each_server_with_its_address_and_key(shell, ssh, trusted):
    shell("server", "add", "api", "--host", "api.example.invalid", "--user", "deploy")

    lines = [line.split() for line in shell("server", "list").stdout.splitlines()]
    first, second = json.loads(shell("server", "list", "--json").stdout)

    assert lines[0] == ["NAME", "ADDRESS", "HOST", "KEY"]
    assert lines[1] == ["api", "deploy@api.example.invalid:22", "not", "trusted", "yet"]
    assert lines[2] == ["web1", f"{ssh.user}@127.0.0.1:{ssh.port}", as_sshkeygen_says(ssh)]
    assert list(first) == ["id", "name", "host", "port", "user", "host_key_fingerprint"]
    assert (first["host_key_fingerprint"], second["id"]) == (None, trusted["id"])


def test_a_server_is_removed_after_a_yes_but_not_while_projects_use_it(shell, operator, web1):
    shell("project", "create", "app", "--repo", URL, "--server", "web1")
    assert shell("server", "remove", "web1", given="n\n", code=1).stderr == "Aborted!\n"
    done = shell("server", "remove", "web1", "--yes", code=1)
    assert done.stderr == (
        "Error: web1 is the server of app. Move these projects to another server, or delete them first.\n"
    )
    shell("project", "edit", "app", "--server", "local")

    done = shell("server", "remove", "web1", given="y\n")

    assert done.stdout.endswith("web1 is removed. Take its line out of ~/.ssh/authorized_keys there.\n")
    assert shell("server", "list", "--json").stdout == "[]\n"


@pytest.mark.parametrize("words", [["scan"], ["trust"], ["test"], ["remove"]])
def test_a_server_that_is_not_there_is_told(shell, words):
    rest = {"trust": ["SHA256:x"], "remove": ["--yes"]}.get(words[0], [])

    assert shell("server", *words, "web9", *rest, code=1).stderr == "Error: There is no server web9.\n"


# Projects ---------------------------------------------------------------------------------------------------------


def project(operator, name: str):
    with operator.database.write_session() as session:
        return projects.find(session, name)


def test_a_project_is_made_for_a_server_in_a_place_of_deployers_own_or_another(shell, operator, web1):
    shell("project", "create", "app", "--repo", URL, "--server", "web1")
    shell("project", "create", "site", "--repo", URL, "--server", web1["id"], "--path", "~/apps//site/")
    shell("project", "create", "here", "--repo", URL, "--server", "local")

    assert (project(operator, "app").server_id, project(operator, "app").path) == (
        web1["id"],
        "~/.deployer/checkouts/app",
    )
    assert (project(operator, "site").server_id, project(operator, "site").path) == (web1["id"], "~/apps/site")
    assert project(operator, "here").server_id is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--server", "web9"], "server: There is no server web9."),
        (["--server", "web1", "--path", "apps"], "path: Give an absolute path there, or one that begins with ~/"),
        (["--server", "web1", "--path", "~/.deployer/x"], "path: Give a directory apart from Deployer's own"),
        (["--server", "web1", "--path", "~/"], "path: Give a directory of its own"),
        (["--path", "~/apps"], "path: Give an absolute path, beginning with a slash."),
    ],
)
def test_a_place_that_cannot_be_used_is_told_in_one_line(shell, web1, options, words):
    done = shell("project", "create", "app", "--repo", URL, *options, code=1)

    assert done.stderr.startswith(f"Error: {words}")
    assert done.stderr.count("\n") == 1


def test_a_project_moves_back_to_this_host_and_its_path_there_is_forgotten(shell, operator, web1):
    shell("project", "create", "app", "--repo", URL, "--server", "web1", "--path", "~/apps/site")

    shell("project", "edit", "app", "--server", "local")

    assert project(operator, "app").server_id is None
    assert project(operator, "app").path == str(operator.installation.data_dir.checkouts / "app")


# What is noted, and what is never said ----------------------------------------------------------------------------


def test_every_change_is_in_the_audit_log_with_who_made_it(shell, ssh, operator, trusted):
    shell("server", "scan", "web1")
    shell("server", "test", "web1")
    shell("server", "remove", "web1", "--yes")
    shell("server", "remove", "web1", "--yes", code=1)

    noted = operator.rows(sa.select(*AuditEvent.__table__.columns).order_by(AuditEvent.id))

    assert [(one.action, one.subject) for one in noted] == [
        (f"server.{what}", "web1") for what in ("created", "scanned", "trusted", "scanned", "tested", "deleted")
    ]
    assert {one.actor.endswith("(command line)") for one in noted} == {True}
    assert noted[2].detail == fingerprint(ssh.host_key)


def test_the_private_key_is_nowhere_to_be_read(shell, ssh, operator, trusted, tmp_path):
    shown = [
        shell("server", *words).stdout
        for words in (["list"], ["list", "--json"], ["scan", "web1"], ["test", "web1"], ["test", "web1", "--json"])
    ]
    shown += [shell("audit", "--json").stdout, json.dumps(trusted), add(shell, ssh, "web2").stdout]

    server = stored(operator, "web1")
    private = servers.address_of(server, operator.installation.vault).private_key
    lines = [line for line in private.splitlines() if line and not line.startswith(b"-----")]
    secret = base64.b64decode(b"".join(lines))[-80:-30]
    assert len(secret) == 50
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    there = b"".join(files) + "".join(shown).encode()
    assert b"BEGIN OPENSSH PRIVATE KEY" not in there
    assert secret not in there
    assert not any(line in there for line in lines[1:])
