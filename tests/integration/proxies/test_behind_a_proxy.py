"""Behind Caddy and nginx, set up as docs/proxy.md says."""

from __future__ import annotations

import http.client
import itertools
import json

import pytest
import sqlalchemy as sa

from deployer import logins
from deployer.models import AuditEvent, Delivery
from deployer.models.user import LoginSession, Throttle
from tests.integration.proxies.servers import CLIENT, HOST, TlsBrowser
from tests.support.events import Viewer
from tests.support.forge import Forge, push
from tests.support.standing import PASSWORD, USER, make_user
from tests.support.waiting import wait_until

FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
}
MIB = 1024 * 1024

_names = (f"person-{number}" for number in itertools.count(1))


@pytest.fixture
def forge(proxy, project) -> Forge:
    made = Forge(proxy.daemon, project)
    made._browser = TlsBrowser(proxy)
    return made


@pytest.fixture(autouse=True)
def unthrottled(daemon):
    """Every test's people come from the same address."""
    with daemon.installation.database.write() as connection:
        connection.execute(sa.delete(Throttle))


def test_a_login_over_tls_gets_a_cookie_that_travels_over_tls_only(stranger):
    answer = stranger.log_in(USER, PASSWORD)

    assert (answer.status, answer.location) == (302, "/")
    (cookie,) = answer.headers.get_all("Set-Cookie")
    assert {part.strip() for part in cookie.split(";")} >= {"Secure", "HttpOnly", "SameSite=Lax"}
    assert answer.headers["Strict-Transport-Security"]
    assert stranger.get("/").status == 200


def test_plain_http_leads_to_tls(proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.http_port, timeout=30)
    connection.request("GET", "/projects?x=1", headers={"Host": HOST})
    answer = connection.getresponse()

    assert answer.status in (301, 308)
    # Caddy, which knows that it is not at 443 here, names the port.
    assert answer.headers["Location"].replace(f":{proxy.port}", "") == f"https://{HOST}/projects?x=1"
    connection.close()


def test_a_signed_push_of_20_mib_is_deployed(forge, operator, repository):
    body = json.dumps(push(after=repository.tip(), padding="x" * (20 * MIB))).encode()

    answer = forge.send(body)

    assert (answer.status, answer.text) == (200, "Deployment triggered")
    assert operator.wait_for_end(answer.headers["X-Deployment-Id"]).status == "success"


def test_a_body_as_large_as_github_sends_passes_and_a_larger_one_does_not(proxy, forge):
    padded = json.dumps(push(ref="refs/heads/other", padding=""))

    answer = forge.send(padded.replace('"padding": ""', f'"padding": "{"x" * (25 * MIB - len(padded))}"').encode())
    assert answer.text.startswith("Branch other ignored"), (answer.status, answer.text)

    try:
        refused = forge.send(b"x" * (25 * MIB + 1)).status
    except OSError:
        refused = None  # closed while the body was still being sent
    # Deployer refuses by the head and closes; Caddy may learn of the end before it has read the answer.
    assert refused == 413 if proxy.name == "nginx" else refused in (413, 502, None)


def test_a_line_of_a_live_log_arrives_at_once(member, running, gate):
    with Viewer(member, running) as viewer:
        # The step waits for us: whatever gathers lines would wait for it.
        viewer.until_text("started")
        gate.open()
        viewer.until_text("ended")
        assert viewer.until("done")["status"] == "success"


def test_many_requests_over_one_connection_are_all_answered(proxy):
    connection = TlsBrowser(proxy).connection()
    for _ in range(20):
        connection.request("GET", "/login")
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()


def test_the_address_on_record_is_the_clients_and_not_the_proxys_or_a_forged_one(operator, proxy, forge, project):
    forger = TlsBrowser(proxy, headers=FORGED)
    assert forger.log_in(USER, PASSWORD).status == 302
    assert forger.post(f"/projects/{project.name}/secret").status == 302
    headers = {name.replace("-", "_"): value for name, value in FORGED.items()}
    forge.send(b"{}", X_Hub_Signature_256=None, **headers)

    def addresses(column, *conditions) -> list[str]:
        return [
            row.address for row in operator.rows(sa.select(column.label("address")).where(*conditions).distinct())
        ]

    is_ours = Delivery.project_id == project.id
    assert wait_until(lambda: addresses(Delivery.remote_address, is_ours), "the delivery's record") == [CLIENT]
    assert addresses(AuditEvent.address, AuditEvent.subject == project.name) == [CLIENT]
    assert addresses(LoginSession.address) == [CLIENT]


def test_who_guesses_is_throttled_whatever_addresses_are_forged(proxy, daemon):
    name = next(_names)
    make_user(daemon, name)
    for number in range(logins.FREE_FAILURES):
        guesser = TlsBrowser(proxy, headers={**FORGED, "X-Forwarded-For": f"203.0.113.{number}"})
        answer = guesser.post_json("/login", {"username": f"nobody-{number}", "password": "wrong"})
        assert answer.status == 401

    guesser = TlsBrowser(proxy, headers={**FORGED, "X-Forwarded-For": "198.51.100.1, 198.51.100.2"})
    assert guesser.post_json("/login", {"username": name, "password": PASSWORD}).status == 429


def test_links_are_made_of_the_configured_address_whatever_host_is_claimed(proxy, member, project):
    page = f"/projects/{project.name}"
    webhook = f"https://{HOST}/webhook/{project.id}"
    assert webhook in TlsBrowser(proxy, member.cookie, FORGED).get(page).text
    for headers in (FORGED, {**FORGED, "Host": "evil.example"}):
        known, unknown = TlsBrowser(proxy, member.cookie, headers), TlsBrowser(proxy, headers=headers)
        answers = [known.get(page), known.get("/"), unknown.get(page), unknown.get("/login")]
        if proxy.name == "nginx":  # Caddy answers for the names that it knows, and for no other.
            assert webhook in answers[0].text
        for answer in answers:
            assert "evil.example" not in answer.text + str(answer.headers)


def test_a_change_is_let_through_from_our_own_pages_alone(member):
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def post(**headers: str) -> int:
        return member.request("POST", "/settings/path", b"path=", {**form, **headers}).status

    assert post(Origin=f"https://{HOST}") == 302
    assert post(Origin="https://evil.example") == 403
    assert post(Origin="null") == 403
    assert post() == 403
