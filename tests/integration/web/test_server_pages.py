"""Servers by pages and forms, without any script: added, let in, compared, tested, changed, removed."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from deployer import projects, servers
from deployer.executors.host_keys import fingerprint
from deployer.models import AuditEvent, Project, Server
from tests.support.browser import Answer, Browser
from tests.support.daemon import Daemon, free_port
from tests.support.operator import Operator
from tests.support.page import Page
from tests.support.ssh_server import SshServer
from tests.support.standing import cookie_of, shared

URL = "https://github.com/grace/app.git"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, empty_database) -> Iterator[Daemon]:
    """A web process of this module's own: the list of servers is everybody's."""
    with shared(Daemon(tmp_path_factory.mktemp("servers"), "web").begin_with(empty_database)) as made:
        yield made
    assert "BEGIN OPENSSH PRIVATE KEY" not in made.log


@pytest.fixture(scope="module")
def cookie(web: Daemon) -> str:
    return cookie_of(web)


@pytest.fixture
def operator(web: Daemon) -> Operator:
    return Operator(web.installation)


@pytest.fixture
def admin(web: Daemon, cookie: str) -> Iterator[Browser]:
    """At the end there is no server and no project any more."""
    yield Browser(web, cookie)
    with web.installation.database.write() as connection:
        for table in ("deployments", "projects", "servers"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def fields(port: int | str = 9, **given: str) -> dict[str, str]:
    return {"name": "web1", "host": "127.0.0.1", "port": str(port), "username": "deploy", "extra_path": "", **given}


@pytest.fixture
def web1(admin: Browser, ssh: SshServer) -> str:
    """The address of a server's page; nothing was done after it was added."""
    answer = admin.post("/servers/new", fields(ssh.port, username=ssh.user))
    assert (answer.status, answer.location) == (302, "/servers/web1")
    return answer.location


@pytest.fixture
def ready(admin: Browser, ssh: SshServer, web1: str) -> str:
    """A server that was let in and trusted by its page."""
    ssh.authorize(admin.get(web1).page.find(id="authorized-keys").words)
    trust(admin, web1)
    return web1


def trust(admin: Browser, address: str, given: str | None = None) -> Answer:
    shown = given or admin.get(address).page.value("fingerprint")
    return admin.post(f"{address}/trust", {"fingerprint": shown})


def as_sshkeygen_says(ssh: SshServer) -> str:
    """The fingerprint that a person reads at the server's own console."""
    words = ["ssh-keygen", "-lf", str(ssh.folder / "host_key.pub")]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1]


def reinstall(ssh: SshServer) -> None:
    ssh.stop()
    ssh.make_host_key()
    ssh.start()


def stored(operator: Operator, name: str = "web1") -> Any:
    (row,) = operator.rows(sa.select(*Server.__table__.columns).where(Server.name == name))
    return row


def states(page: Page) -> list[str]:
    """What the panels and rows say of themselves."""
    return [one.words for one in page.find_all("span", class_="status")]


def findings(page: Page) -> dict[str, str]:
    rows = page.find("ul", class_="findings").find_all("li")
    return {row.find_all("strong")[0].words: row.words for row in rows}


# The list -----------------------------------------------------------------------------------------------------------


def test_an_empty_list_teaches_the_three_steps(admin):
    page = admin.get("/servers").page

    assert "Every project runs on this host so far" in page.words
    assert len(page.find("ol", class_="path").find_all("li")) == 3
    assert page.find("a", href="/servers/new").words == "Add a server"


def test_the_list_says_how_far_each_server_is(admin, ssh, ready):
    admin.post("/servers/new", fields(free_port(), name="dead"))
    assert sorted(states(admin.get("/servers").page)) == ["host key not trusted yet", "not tested yet"]

    admin.post(f"{ready}/test")
    assert "ready" in states(admin.get("/servers").page)

    ssh.revoke_all()
    admin.post(f"{ready}/test")
    assert "last test failed" in states(admin.get("/servers").page)

    reinstall(ssh)
    admin.post(f"{ready}/scan")
    assert "host key changed" in states(admin.get("/servers").page)


def test_the_list_counts_the_projects_of_each(admin, operator, web1):
    server = stored(operator).id
    assert "no project" in admin.get("/servers").page.words
    operator.make_project(URL, name="one", server=server)
    assert "one project" in admin.get("/servers").page.words
    operator.make_project(URL, name="two", server=server)
    assert "2 projects" in admin.get("/servers").page.words


# Adding -------------------------------------------------------------------------------------------------------------


def test_a_new_server_shows_the_line_and_the_fingerprint_to_compare(admin, ssh, operator, web1):
    page = admin.get(web1).page

    line = page.find(id="authorized-keys").words
    assert line == f"restrict {stored(operator).public_key}"
    assert line.startswith("restrict ssh-ed25519 AAAA")
    assert page.find(id="offered").words == as_sshkeygen_says(ssh)
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in page.words
    assert states(page) == ["not trusted yet"]
    assert page.find_all("ul", class_="findings") == []


def test_the_command_that_is_shown_lets_deployer_in(admin, web1, operator, tmp_path):
    """It is run as it stands, in a home of its own."""
    command = admin.get(web1).page.find(id="authorize-command").text.strip()

    for _ in range(2):
        subprocess.run(["/bin/sh", "-ec", command], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, check=True)

    written = tmp_path / ".ssh" / "authorized_keys"
    assert written.read_text().splitlines()[0] == f"restrict {stored(operator).public_key}"
    assert (written.stat().st_mode & 0o777, written.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_server_that_does_not_answer_is_added_all_the_same(admin):
    port = free_port()

    answer = admin.post("/servers/new", fields(port))

    assert answer.location == "/servers/web1"
    page = admin.get("/servers/web1").page
    assert f"127.0.0.1 has not shown its host key yet: it did not answer on port {port}." in page.words
    assert page.find_all("input", name="fingerprint") == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "Use letters, digits"),
        ("name", "a b", "Use letters, digits"),
        ("name", "../x", "Use letters, digits"),
        ("name", "local", "“local” means this host"),
        ("name", "new", "“new” is the address of the form"),
        ("host", "", "Give a host name or an IP address"),
        ("host", "deploy@web1.example.com", "without user and port"),
        ("host", "web1.example.com:22", "without user and port"),
        ("host", "-oProxyCommand=id", "Give a host name or an IP address"),
        ("port", "", "A port is between 1 and 65535."),
        ("port", "ssh", "A port is between 1 and 65535."),
        ("port", "65536", "A port is between 1 and 65535."),
        ("port", "²²", "A port is between 1 and 65535."),
        ("username", "", "Give the user to log in as"),
        ("username", "root;id", "Give the user to log in as"),
        ("extra_path", "/opt/a\nbin", "bin: give absolute folders"),
        ("extra_path", "/opt/a:/opt/b", "without colons"),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field_and_kept_there(admin, field, value, words):
    answer = admin.post("/servers/new", fields(**{field: value}))

    assert answer.status == 400
    assert words in answer.page.error_at(field)
    assert answer.page.value(field) == value
    assert len(answer.page.find_all("p", class_="error")) == 1
    assert "Every project runs on this host so far" in admin.get("/servers").page.words


def test_all_errors_are_told_at_once(admin):
    answer = admin.post("/servers/new", {})

    for field in ("name", "host", "port", "username"):
        assert answer.page.error_at(field)


def test_a_name_that_is_taken_is_refused_at_its_field(admin, web1):
    answer = admin.post("/servers/new", fields())

    assert (answer.status, answer.page.error_at("name")) == (400, "Another server has this name.")


# The host key -------------------------------------------------------------------------------------------------------


def test_a_compared_key_is_pinned(admin, ssh, operator, web1):
    answer = trust(admin, web1)

    assert (answer.status, answer.location) == (302, f"{web1}#test")
    assert (stored(operator).host_key, stored(operator).offered_host_key) == (ssh.host_key, None)
    page = admin.get(web1).page
    assert states(page) == ["trusted"]
    assert as_sshkeygen_says(ssh) in page.find(id="host-key").words
    assert page.find_all("input", name="fingerprint") == []


@pytest.mark.parametrize("given", ["SHA256:" + "A" * 43, "", "MD5:00"])
def test_another_fingerprint_pins_nothing_and_says_why(admin, ssh, operator, web1, given):
    answer = admin.post(f"{web1}/trust", {"fingerprint": given})

    assert answer.status == 400
    said = answer.page.find(id="host-key").find(role="alert").words
    if given.startswith("SHA"):
        assert given in said
        assert as_sshkeygen_says(ssh) in said
    else:
        assert said == "Give the fingerprint as ssh-keygen -lf prints it: SHA256:…"
    assert stored(operator).host_key is None


def test_a_key_that_changed_between_the_page_and_the_button_is_not_trusted(admin, ssh, operator, web1):
    seen = admin.get(web1).page.value("fingerprint")
    reinstall(ssh)
    admin.post(f"{web1}/scan")

    answer = trust(admin, web1, seen)

    assert answer.status == 400
    assert stored(operator).host_key is None


def test_a_look_at_a_dead_host_is_told_in_place(admin, ssh, web1):
    ssh.stop()

    answer = admin.post(f"{web1}/scan")

    assert answer.status == 502
    said = answer.page.find(id="host-key").find(role="alert").words
    assert said == f"127.0.0.1:{ssh.port} cannot be reached: connection refused."


def test_a_changed_key_is_warned_of_with_both_fingerprints_until_one_is_trusted(
    admin,
    ssh,
    operator,
    ready,
):
    admin.post(f"{ready}/test")
    before = as_sshkeygen_says(ssh)
    reinstall(ssh)

    admin.post(f"{ready}/test")

    page = admin.get(ready).page
    panel = page.find(id="host-key")
    assert panel.find(role="alert").words.startswith("web1 shows another host key than the trusted one.")
    assert before in panel.words
    assert page.find(id="offered").words == as_sshkeygen_says(ssh)
    assert states(page)[:1] == ["changed"]
    assert "compare the new fingerprint" in findings(page)["host key"]
    assert stored(operator).host_key != ssh.host_key

    trust(admin, ready)

    page = admin.get(ready).page
    assert states(page) == ["trusted"]
    assert page.find_all("ul", class_="findings") == []
    assert stored(operator).host_key == ssh.host_key


def test_a_warning_goes_when_the_trusted_key_is_seen_again(admin, ssh, operator, ready):
    trusted = (ssh.folder / "host_key").read_bytes(), (ssh.folder / "host_key.pub").read_bytes()
    reinstall(ssh)
    admin.post(f"{ready}/scan")
    assert states(admin.get(ready).page) == ["changed"]
    ssh.stop()
    (ssh.folder / "host_key").write_bytes(trusted[0])
    (ssh.folder / "host_key.pub").write_bytes(trusted[1])
    ssh.start()

    admin.post(f"{ready}/test")

    assert stored(operator).offered_host_key is None
    assert "changed" not in states(admin.get(ready).page)


# The test -----------------------------------------------------------------------------------------------------------


def test_the_button_shows_what_was_found(admin, ready):
    answer = admin.post(f"{ready}/test")

    assert (answer.status, answer.location) == (302, f"{ready}#test")
    page = admin.get(ready).page
    assert list(findings(page)) == [*("connection", "system", "git", "setsid", "shell", "disk", "PATH", "durability")]
    assert states(page) == ["trusted", "ready"]


def test_a_server_that_does_not_let_deployer_in_is_told_with_what_to_do(admin, ssh, web1):
    trust(admin, web1)

    admin.post(f"{web1}/test")

    page = admin.get(web1).page
    assert states(page) == ["trusted", "not ready"]
    assert f"~{ssh.user}/.ssh/authorized_keys" in findings(page)["login"]


# Changing -----------------------------------------------------------------------------------------------------------


def edit(admin: Browser, address: str, **changes: str) -> Answer:
    page = admin.get(f"{address}/edit").page
    given = {name: page.value(name) for name in ("name", "host", "port", "username", "extra_path")}
    return admin.post(f"{address}/edit", {**given, **changes})


def test_the_form_holds_what_is_stored(admin, ssh, web1):
    edit(admin, web1, extra_path="/opt/a\r\n\r\n /opt/b ")

    page = admin.get(f"{web1}/edit").page

    assert [page.value(name) for name in ("name", "host", "port", "username", "extra_path")] == [
        *("web1", "127.0.0.1", str(ssh.port), ssh.user, "/opt/a\n/opt/b")
    ]


def test_another_name_keeps_key_trust_and_report(admin, ssh, operator, ready):
    admin.post(f"{ready}/test")
    before = stored(operator)

    answer = edit(admin, ready, name="web2")

    assert answer.location == "/servers/web2"
    after = stored(operator, "web2")
    assert (after.id, after.host_key, after.test_report) == (before.id, before.host_key, before.test_report)
    assert admin.get(ready).status == 404


def test_another_host_forgets_the_trusted_key_and_what_was_found(admin, operator, ready):
    admin.post(f"{ready}/test")

    edit(admin, ready, port=str(free_port()))

    assert (stored(operator).host_key, stored(operator).test_report) == (None, None)
    assert states(admin.get(ready).page) == ["not trusted yet"]


def test_another_host_offers_its_own_key_at_once(admin, operator, ready, make_ssh):
    other = make_ssh()

    edit(admin, ready, port=str(other.port))

    assert admin.get(ready).page.find(id="offered").words == as_sshkeygen_says(other)


def test_another_user_keeps_the_trusted_key_but_not_what_was_found(admin, ssh, operator, ready):
    admin.post(f"{ready}/test")

    edit(admin, ready, username="somebody")

    assert (stored(operator).host_key, stored(operator).test_report) == (ssh.host_key, None)


def test_a_refused_change_changes_nothing(admin, operator, ready):
    before = stored(operator)

    answer = edit(admin, ready, host="a b", name="x")

    assert answer.status == 400
    assert answer.page.error_at("host")
    assert answer.page.find("h1").words == "Edit web1"
    assert stored(operator) == before


def test_a_new_key_takes_the_place_of_the_present_one(admin, ssh, operator, ready):
    admin.post(f"{ready}/test")
    before = stored(operator)

    answer = admin.post(f"{ready}/key")

    after = stored(operator)
    assert answer.status == 302
    assert after.public_key != before.public_key
    assert after.private_key != before.private_key
    assert (after.host_key, after.test_report) == (before.host_key, None)
    page = admin.get(ready).page
    assert page.find(id="authorized-keys").words == f"restrict {after.public_key}"
    admin.post(f"{ready}/test")
    assert "refused the login" in findings(admin.get(ready).page)["login"]
    ssh.authorize(page.find(id="authorized-keys").words)
    admin.post(f"{ready}/test")
    assert states(admin.get(ready).page) == ["trusted", "ready"]


# Removing -----------------------------------------------------------------------------------------------------------


def test_a_server_with_projects_is_not_removed(admin, operator, web1):
    operator.make_project(URL, name="one", server=stored(operator).id)

    page = admin.get(f"{web1}/delete").page
    answer = admin.post(f"{web1}/delete")

    assert page.find_all("button", class_="danger") == []
    assert "It is the server of one. Choose another server for it first." in page.words
    assert answer.status == 409
    assert answer.page.find(role="alert").find("a", href="/projects/one/edit").words == "one"
    assert stored(operator).name == "web1"


def test_a_server_without_projects_is_removed(admin, web1):
    assert admin.get(f"{web1}/delete").page.find("button", class_="danger").words == "Remove the server"

    answer = admin.post(f"{web1}/delete")

    assert (answer.status, answer.location) == (302, "/servers")
    page = admin.get("/servers").page
    assert "Take its line out of ~/.ssh/authorized_keys there." in page.words
    assert admin.get(web1).status == 404


# A project's place --------------------------------------------------------------------------------------------------


def project_fields(**given: str) -> dict[str, str]:
    step = {"step_command": "true", "step_name": "", "step_timeout": ""}
    plain = {"name": f"app-{next(_numbers)}", "repository_url": URL, "branch": "main", "shell": "sh", "path": ""}
    return {**plain, **step, **given}


def project(operator: Operator, name: str) -> Project:
    with operator.database.write_session() as session:
        return projects.find(session, name)


def test_without_servers_the_form_says_where_to_add_one(admin):
    page = admin.get("/projects/new").page

    assert page.find_all(id="server") == []
    assert page.find("section", aria_labelledby="place-title").find("a", href="/servers").words


def test_a_project_is_made_for_a_server_from_that_servers_page(admin, operator, web1):
    (link,) = [one for one in admin.get(web1).page.find_all("a") if one.words == "make a new project here"]
    page = admin.get(link.attributes["href"]).page
    (chosen,) = [one for one in page.find(id="server").find_all("option") if "selected" in one.attributes]
    assert chosen.attributes["value"] == stored(operator).id
    assert chosen.words.endswith("not trusted yet")
    given = project_fields(server=chosen.attributes["value"])

    answer = admin.post("/projects/new", given)

    assert answer.status == 302
    made = project(operator, given["name"])
    assert (made.server_id, made.path) == (stored(operator).id, f"~/.deployer/checkouts/{given['name']}")
    assert given["name"] in admin.get(web1).page.words
    page = admin.get(f"/projects/{given['name']}/edit").page
    assert page.value("path") == ""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("apps/site", "Give an absolute path there, or one that begins with ~/ for the home directory."),
        ("~deploy/site", "Give an absolute path there"),
        ("~", "Give an absolute path there"),
        ("/", "Give a directory of its own, not a whole home directory or file system."),
        ("~/", "Give a directory of its own"),
        ("~/..", "Give a directory of its own"),
        ("~/.deployer", "Give a directory apart from Deployer's own (~/.deployer), or none."),
        ("~/x/../.deployer/spool", "Give a directory apart from Deployer's own"),
        ("/home/deploy/.deployer/checkouts/x", "Give a directory apart from Deployer's own"),
    ],
)
def test_a_path_there_that_cannot_be_used_is_refused_at_its_field(admin, operator, web1, path, words):
    answer = admin.post("/projects/new", project_fields(server=stored(operator).id, path=path))

    assert answer.status == 400
    assert answer.page.error_at("path").startswith(words)
    assert answer.page.value("path") == path


@pytest.mark.parametrize("path", ["~/apps/site", "/srv/site", "~/deployer", "~/.deployer-site"])
def test_a_path_there_that_can_be_used_is_kept(admin, operator, web1, path):
    given = project_fields(server=stored(operator).id, path=path)

    assert admin.post("/projects/new", given).status == 302
    assert project(operator, given["name"]).path == path


def test_a_path_in_a_home_is_none_on_this_host(admin, web1):
    answer = admin.post("/projects/new", project_fields(path="~/apps"))

    assert answer.page.error_at("path") == "Give an absolute path, beginning with a slash."


def test_a_server_that_is_not_there_is_refused_at_its_field(admin, web1):
    answer = admin.post("/projects/new", project_fields(server="00000000-0000-0000-0000-000000000000"))

    assert answer.status == 400
    assert answer.page.error_at("server").startswith("There is no server ")


def test_a_project_moves_between_a_server_and_this_host(admin, operator, web1):
    given = project_fields(server=stored(operator).id, path="~/apps/site")
    admin.post("/projects/new", given)

    # The form holds the path of the former place: there it is none, and that is told.
    refused = admin.post(f"/projects/{given['name']}/edit", {**given, "server": ""})
    moved = admin.post(f"/projects/{given['name']}/edit", {**given, "server": "", "path": ""})

    assert refused.page.error_at("path") == "Give an absolute path, beginning with a slash."
    assert moved.status == 302
    made = project(operator, given["name"])
    assert (made.server_id, made.path) == (
        None,
        str(operator.installation.data_dir.checkouts / given["name"]),
    )


# What is never shown, and what is noted -----------------------------------------------------------------------------


def test_no_page_shows_the_private_key(admin, operator, ready):
    admin.post(f"{ready}/test")
    operator.make_project(URL, name="one", server=stored(operator).id)
    with operator.database.write_session() as session:
        address = servers.address_of(servers.find(session, "web1"), operator.installation.vault)
    lines = [line for line in address.private_key.decode().splitlines() if line and not line.startswith("-----")]
    assert len(lines) > 3

    pages: list[Callable[[], Answer]] = [
        lambda: admin.get("/servers"),
        lambda: admin.get(ready),
        lambda: admin.get(f"{ready}/edit"),
        lambda: admin.get(f"{ready}/delete"),
        lambda: admin.get("/projects/one"),
        lambda: admin.get("/projects/one/edit"),
        lambda: admin.get("/settings/audit"),
        lambda: admin.post(f"{ready}/trust", {"fingerprint": "x"}),
    ]

    for page in pages:
        text = page().text
        assert "PRIVATE KEY" not in text
        assert not any(line in text for line in lines[1:])
    assert b"PRIVATE KEY" not in stored(operator).private_key


def test_what_was_done_is_in_the_audit_log(admin, ssh, operator, ready):
    admin.post(f"{ready}/test")

    noted = operator.rows(sa.select(*AuditEvent.__table__.columns).order_by(AuditEvent.id.desc()).limit(4))

    assert [(one.action, one.subject, one.actor, one.address) for one in reversed(noted)] == [
        (f"server.{what}", "web1", "ada", "127.0.0.1") for what in ("created", "scanned", "trusted", "tested")
    ]
    assert noted[1].detail == fingerprint(ssh.host_key)
