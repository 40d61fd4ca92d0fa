"""Guessing passwords is slow, tells nobody who exists, and does not stop the daemon."""

from __future__ import annotations

import http.client
import itertools
import json
import threading

import pytest
import sqlalchemy as sa

from deployer import logins
from deployer.models import Delivery
from tests.support.browser import Browser
from tests.support.forge import Forge, push
from tests.support.operator import Operator
from tests.support.standing import PASSWORD, make_user
from tests.support.waiting import wait_until

WRONG = (401, {"success": False, "error": "Wrong user name or password"})
_addresses = (f"192.0.2.{n}" for n in itertools.count(1))


def guess(daemon, name: str, password: str = "wrong", address: str | None = None):
    browser = Browser(daemon, headers={"X-Forwarded-For": address or next(_addresses)})
    answer = browser.post_json("/login", {"username": name, "password": password})
    return answer


@pytest.fixture
def account(proxied_daemon) -> str:
    """A user of its own, so that tests do not throttle each other."""
    name = f"user-{next(_addresses)}"
    make_user(proxied_daemon, name)
    return name


def test_an_account_is_throttled_whatever_addresses_the_guesses_come_from(proxied_daemon, account):
    for _ in range(logins.FREE_FAILURES):
        answer = guess(proxied_daemon, account)
        assert (answer.status, answer.json) == WRONG

    refused = guess(proxied_daemon, account, PASSWORD)

    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= logins.FIRST_WAIT_S
    assert refused.json["error"].startswith("Too many failed logins. Try again in ")


def test_an_address_is_throttled_whatever_names_it_tries(proxied_daemon, account):
    address = next(_addresses)
    for number in range(logins.FREE_FAILURES):
        assert guess(proxied_daemon, f"nobody-{number}", address=address).status == 401

    assert guess(proxied_daemon, account, PASSWORD, address).status == 429
    assert guess(proxied_daemon, account, PASSWORD).status == 200


def test_the_login_page_says_how_long_to_wait(proxied_daemon, account):
    for _ in range(logins.FREE_FAILURES):
        guess(proxied_daemon, account)

    answer = Browser(proxied_daemon).log_in(account, PASSWORD)

    assert answer.status == 429
    assert answer.page.find(role="alert").words.startswith("Too many failed logins. Try again in ")


def test_a_success_forgets_the_failures_of_its_account(proxied_daemon, account):
    for _ in range(2):
        for _ in range(logins.FREE_FAILURES - 1):
            assert guess(proxied_daemon, account).status == 401
        assert guess(proxied_daemon, account, PASSWORD).status == 200


def test_guesses_that_come_at_once_are_no_more_than_guesses_one_by_one(proxied_daemon, account):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(guess(proxied_daemon, account).status)) for _ in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(answers) <= {401, 429}
    assert answers.count(401) <= logins.FREE_FAILURES


def test_nobody_learns_who_exists(proxied_daemon, account):
    """An unknown name gets the same answers as a known one, the throttle's too."""

    def answers(name: str):
        asked = [guess(proxied_daemon, name) for _ in range(logins.FREE_FAILURES + 1)]
        return [(one.status, one.text, sorted(name for name in one.headers if name != "Date")) for one in asked]

    assert answers(account) == answers("nobody-of-this-name")


def test_a_proxy_is_not_believed_where_none_is_configured(daemon, operator, forge, project):
    """Otherwise a stranger would choose the address that is throttled and recorded."""
    forge.send(b"{}", X_Hub_Signature_256=None, X_Forwarded_For="203.0.113.9", X_Real_IP="203.0.113.9")

    assert addresses_of(operator, project) == ["127.0.0.1"]


def test_only_as_many_proxies_are_believed_as_are_configured(proxied_daemon, repository):
    operator = Operator(proxied_daemon.installation)
    project = operator.make_project(repository.url, name="addresses")
    forge = Forge(proxied_daemon, project)

    forge.send(b"{}", X_Hub_Signature_256=None, X_Forwarded_For="203.0.113.9, 198.51.100.7")

    assert addresses_of(operator, project) == ["198.51.100.7"]


def test_proxies_are_believed_on_kept_connections_too(proxied_daemon, repository):
    operator = Operator(proxied_daemon.installation)
    project = operator.make_project(repository.url, name="kept")
    forge = Forge(proxied_daemon, project)
    body = json.dumps(push(ref="refs/heads/next")).encode()
    connection = http.client.HTTPConnection(proxied_daemon.host, proxied_daemon.port, timeout=30)
    for number in range(4):
        headers = {**forge.headers(body), "X-Forwarded-For": f"203.0.113.{number}"}
        connection.request("POST", forge.path, body, headers)
        assert connection.getresponse().read().startswith(b"Branch next ignored")
    connection.close()

    assert addresses_of(operator, project) == [f"203.0.113.{number}" for number in range(4)]


def addresses_of(operator, project) -> list[str]:
    wanted = sa.select(Delivery.remote_address).where(Delivery.project_id == project.id)
    in_order = wanted.order_by(Delivery.received_at, Delivery.id)
    return wait_until(lambda: [row.remote_address for row in operator.rows(in_order)], "the delivery's record")
