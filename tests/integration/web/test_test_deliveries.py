"""A test delivery, through nginx to the daemon: what stands in the way is named, with what to do about it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from deployer import patience, webhook_check
from deployer.audit import Actor
from deployer.models import AuditEvent, Delivery, Project
from tests.support.daemon import free_port
from tests.support.operator import Operator
from tests.support.standing import logged_in, make_user
from tests.support.way import Way

ADA = Actor("ada", "192.0.2.9")


@pytest.fixture(scope="session")
def way(daemon, tmp_path_factory) -> Iterator[Way]:
    with Way(daemon.config.server.bind, tmp_path_factory.mktemp("way") / "nginx").open() as opened:
        yield opened


@pytest.fixture
def send(installation, project):
    """``send("https://…")``: what came of a test delivery to that address, a webhook of this project."""

    def send(base: str, *, deploys: bool = False) -> webhook_check.Outcome:
        with installation.database.write_session() as session:
            target = webhook_check.target(session, session.get(Project, project.id), base, installation.vault)
        return webhook_check.run(installation, target, ADA, deploys=deploys)

    return send


@pytest.fixture
def hook(project) -> str:
    return f"/webhook/{project.id}"


def deliveries(operator, project) -> list:
    wanted = sa.select(*Delivery.__table__.columns).where(Delivery.project_id == project.id)
    return operator.rows(wanted.order_by(Delivery.received_at))


# What arrives ---------------------------------------------------------------------------------------------------


def test_it_arrives_through_a_proxy_is_recorded_and_deploys_nothing(send, way, hook, operator, project, repository):
    before = len(operator.deployments())

    outcome = send(way.url("through", hook))

    assert outcome.said.is_well
    assert outcome.said.message == (
        "Test delivery: it arrived, and its signature is right. It was not to deploy anything."
    )
    assert outcome.said.reply.status == 200
    assert 0 < outcome.took_s < patience.LIMIT_S
    (row,) = deliveries(operator, project)
    assert (row.id, row.verdict, row.asked_by) == (outcome.delivery_id, "test", "ada")
    assert (row.ref, row.commit_sha) == ("refs/heads/main", repository.tip())
    assert len(operator.deployments()) == before


def test_with_the_tick_it_is_a_push_that_is_deployed(send, way, hook, operator, project, repository):
    outcome = send(way.url("through", hook), deploys=True)

    assert outcome.said.message == "It arrived. It led to a deployment."
    (row,) = deliveries(operator, project)
    made = operator.wait_for_end(row.deployment_id)
    assert (made.status, made.trigger, made.commit_sha) == ("success", "push", repository.tip())


def test_one_that_a_proxy_names_otherwise_is_found_nevertheless(send, way, hook, operator, project):
    """Bitbucket Server's header for a delivery's id is one that proxies set themselves."""
    operator.change_pushes(project, provider="bitbucket-server")

    outcome = send(way.url("naming", hook))

    assert outcome.said.is_well
    (row,) = deliveries(operator, project)
    assert (row.id, row.verdict) == (outcome.delivery_id, "test")


def test_it_is_in_the_audit_log(send, way, hook, operator, project):
    send(way.url("through", hook), deploys=True)

    (event,) = operator.rows(
        sa.select(*AuditEvent.__table__.columns).where(
            AuditEvent.action == "delivery.test_sent", AuditEvent.subject == project.name
        )
    )
    assert (event.actor, event.address, event.detail) == ("ada", "192.0.2.9", "to be deployed")


def test_a_certificate_that_holds_lets_it_through(send, way, hook, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(way.trust))

    assert send(way.url("through", hook, tls=True)).said.is_well


# What stands in the way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "message", "hint"),
    [
        ("redirect", "301 Moved Permanently: it redirects to https://deploy.example.com/redirect", "no redirects"),
        ("small", "413 Request Entity Too Large: it takes no body of this size", "client_max_body_size"),
        ("closing", "closed the connection without an answer", "look into its log"),
        ("login", "401 Unauthorized: it asks for a login", "Exempt /webhook/"),
        ("forbidden", "403 Forbidden: it does not let the request through", "firewall"),
        ("many", "429 Too Many Requests: it lets only so many", "rate limit"),
        ("nowhere", "404 Not Found: this address does not lead to Deployer", "pass /webhook/ on"),
        ("down", "502 Bad Gateway: it does not reach Deployer behind it", "server.bind"),
        ("welcome", "200 OK, but no delivery arrived here", "Something else answers"),
        ("rewriting", "Deployer got it, but its signature did not match any more", "rewrites bodies"),
        ("through/elsewhere", "A Deployer answered, but not at its webhooks", "The proxy changes the path"),
    ],
)
def test_what_stands_in_the_way_is_named(send, way, hook, operator, project, prefix, message, hint):
    outcome = send(way.url(prefix, hook))

    assert not outcome.said.is_well
    assert message in outcome.said.message
    assert hint in outcome.said.hint
    assert outcome.delivery_id is None
    assert [one.verdict for one in deliveries(operator, project) if one.verdict != "unverified"] == []


def test_another_installation_says_that_it_is_another(send, way, hook):
    outcome = send(way.url("through", "/webhook/01234567-89ab-7cde-8f01-23456789abcd"))

    assert outcome.said.message == "Another Deployer answered: it does not know this project."


def test_an_answer_that_is_lost_on_the_way_back_is_told_apart(send, way, hook, operator, project, daemon):
    """It arrived, but the forge would not know."""
    garbled = send(way.url("garbling", hook))
    with answering(b"", onward=daemon.port) as server:
        lost = send(f"http://127.0.0.1:{server.port}{hook}")

    for outcome in (garbled, lost):
        assert not outcome.said.is_well
        assert outcome.said.message.startswith("Test delivery: it arrived, and its signature is right.")
        assert "would count it as failed" in outcome.said.hint
        assert outcome.delivery_id is not None
    assert "is not Deployer's: 502 Bad Gateway." in garbled.said.message
    assert "But no answer came back." in lost.said.message
    assert len(deliveries(operator, project)) == 2


def test_a_redirect_is_not_followed(send, hook, installation):
    """Not even to where an answer would be: a forge would not go there either."""
    with answering(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://%s\r\nContent-Length: 0\r\n\r\n") as server:
        outcome = send(f"http://127.0.0.1:{server.port}{hook}")

    assert server.requests == 1
    assert "it redirects to" in outcome.said.message


def test_nothing_listens(send, hook):
    port = free_port()

    outcome = send(f"http://127.0.0.1:{port}{hook}")

    assert outcome.said.message == f"Nothing listens at 127.0.0.1:{port}: the connection was refused."


def test_a_name_that_leads_nowhere(send, hook, monkeypatch):
    def no_such_name(host, *_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)

    outcome = send(f"https://deploy.example.com{hook}")

    assert outcome.said.message == "The name deploy.example.com leads to no address (Name or service not known)."


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0"])
def test_metadata_and_group_addresses_are_not_reached(send, hook, host):
    outcome = send(f"http://{host}{hook}")

    assert "is refused" in outcome.said.message
    assert "server.public_url" in outcome.said.hint


def test_a_certificate_that_does_not_hold(send, way, hook):
    outcome = send(way.url("through", hook, tls=True))

    assert "does not hold: self-signed certificate" in outcome.said.message.replace("self signed", "self-signed")
    assert outcome.delivery_id is None


def test_a_port_that_speaks_no_tls(send, way, hook):
    outcome = send(way.url("through", hook).replace("http:", "https:"))

    assert "no TLS came about" in outcome.said.message
    assert "plain http" in outcome.said.hint


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 nonsense\r\n\r\n"])
def test_what_speaks_no_http(send, hook, answer):
    with answering(answer) as server:
        outcome = send(f"http://127.0.0.1:{server.port}{hook}")

    assert outcome.said.message == f"What 127.0.0.1:{server.port} answered is no HTTP."


def test_without_a_branch_nothing_is_sent(send, way, hook, operator, project):
    operator.change(project, branch="missing")

    outcome = send(way.url("through", hook))

    assert outcome.said.message == "Nothing was sent: the repository answers, but has no branch missing."
    assert outcome.took_s is None
    assert deliveries(operator, project) == []


# Who answers slowly ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "scheme", "message"),
    [
        (b"", "http", "took the request, but did not answer within 300 ms"),
        (b"", "https", "takes connections, but no TLS handshake was made within 300 ms"),
        # Byte by byte, each in time.
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000, "http", "took the request, but did not answer within 300 ms"),
    ],
)
def test_whoever_answers_slowly_is_given_up(answer, scheme, message):
    with answering(answer, is_slow=True) as server:
        begun = time.monotonic()
        said, _ = webhook_check.send(f"{scheme}://127.0.0.1:{server.port}/webhook/x", b"{}", {}, 0.3)

        assert message in said.message
        assert time.monotonic() - begun < 5


class _Server:
    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.requests = 0


@contextlib.contextmanager
def answering(answer: bytes, *, is_slow: bool = False, onward: int = 0) -> Iterator[_Server]:
    """Something that answers with these bytes (``%s`` is its own address), slowly where that is asked for; it passes
    on what came to the port ``onward``, and keeps what is answered there."""
    server = _Server()
    is_over = threading.Event()
    said = answer.replace(b"%s", f"127.0.0.1:{server.port}".encode())

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.sock.accept()
                server.requests += 1
                with connection, contextlib.suppress(OSError):
                    if not is_slow:
                        came = connection.recv(64 * 1024)
                        while onward and b"head_commit" not in came:
                            came += connection.recv(64 * 1024)
                        if onward:
                            with socket.create_connection(("127.0.0.1", onward), 10) as there:
                                there.sendall(came)
                                there.recv(1)
                        connection.sendall(said)
                        continue
                    for byte in said:
                        connection.sendall(bytes([byte]))
                        if is_over.wait(0.05):
                            break
                    is_over.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server
    finally:
        is_over.set()
        server.sock.shutdown(socket.SHUT_RDWR)
        server.sock.close()
        thread.join(10)


# On the page ----------------------------------------------------------------------------------------------------


def test_the_button_sends_it_and_says_what_came_back(admin, project, operator):
    """The shared daemon's public address is its own, so that it sends to itself, and answers meanwhile."""
    path = f"/projects/{project.name}/deliveries"
    (form,) = [one for one in admin.get(path).page.find_all("form") if "/test" in one.attributes["action"]]

    answer = admin.post(form.attributes["action"].partition("#")[0])

    assert answer.status == 200
    said = answer.page.find(id="test-said")
    assert said.find("p", class_="said").words.startswith("Test delivery: it arrived")
    assert "200 OK" in said.words
    assert [one.find(class_="verdict").words for one in answer.page.find_all("li", class_="delivery")] == ["test"]
    assert "sent by ada" in answer.page.words
    assert deliveries(operator, project)[0].deployment_id is None


def test_the_tick_makes_it_deploy(admin, project, operator):
    admin.post(f"/projects/{project.name}/deliveries/test", {"deploy": "on"})

    (row,) = deliveries(operator, project)
    assert operator.wait_for_end(row.deployment_id).status == "success"


def test_what_came_back_is_shown_as_text_without_secrets(make_daemon, repository):
    secret = "hunter2hunter2"
    body = f"<script>alert(1)</script> {secret} \x1b[31mred".encode()
    head = b"HTTP/1.1 500 Oh no\r\nServer: %b\r\nContent-Length: %d\r\n\r\n" % (secret.encode(), len(body))
    with answering(head + body) as server:
        daemon = make_daemon("web", server_public_url=f"http://127.0.0.1:{server.port}").start()
        make_user(daemon)
        browser, person = logged_in(daemon), Operator(daemon.installation)
        project = person.make_project(repository.url)
        person.set_variable(project, "TOKEN", secret, secret=True)

        answer = browser.post(f"/projects/{project.name}/deliveries/test")

    said = answer.page.find(id="test-said")
    assert "500 Oh no" in said.find("p", class_="said").words
    assert said.find("pre").text.strip() == "<script>alert(1)</script> *** red"
    assert said.find_all("script") == []
    assert secret not in answer.text
