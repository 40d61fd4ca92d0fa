"""The first user: by a link that works once, and by nobody else."""

from __future__ import annotations

import re
import threading

import pytest

from tests.support.browser import Browser
from tests.support.daemon import Daemon
from tests.support.standing import PASSWORD

FIELDS = {"username": "ada", "email": "ada@example.com", "password": PASSWORD, "password_again": PASSWORD}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, empty_database):
    """A daemon without a user, and the token of its set-up link."""
    daemon = Daemon(tmp_path_factory.mktemp("fresh"), "web", server_public_url="https://deploy.example.com")
    daemon.begin_with(empty_database)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


def token_of(daemon) -> str:
    match = re.fullmatch(r"Deployer is ready\. Set it up: (.*)/setup\?token=(\S{20,})\n", daemon.greeting)
    assert match, daemon.greeting
    assert match[1] == daemon.config.public_url
    return match[2]


@pytest.mark.parametrize("token", ["", "wrong", "\0", "é", "x" * 5000])
def test_without_the_right_token_nobody_gets_in(fresh, token):
    browser = Browser(fresh)

    assert browser.get("/setup", {"Accept": "text/html"}).status == 403
    assert browser.post("/setup", {**FIELDS, "token": token}).status == 403
    assert browser.get("/").status == 302


def test_the_link_shows_the_form_and_wrong_input_shows_it_again(fresh):
    token = token_of(fresh)
    assert Browser(fresh).get(f"/setup?token={token}").page.value("token") == token

    def refused(**changes: str):
        answer = Browser(fresh).post("/setup", {**FIELDS, "token": token, **changes})
        assert answer.status == 400
        return answer.page

    page = refused(username="-ada")
    assert page.error_at("username").startswith("Use letters, digits")
    assert (page.value("email"), page.value("password")) == ("ada@example.com", "")
    assert refused(email="nobody").error_at("email") == "Give an e-mail address."
    assert refused(password="short", password_again="short").error_at("password") == "Use at least 10 characters."
    assert refused(password_again="other").error_at("password_again") == "The two passwords differ."
    # What is wrong is said at once, not one after the other.
    page = refused(email="nobody", password_again="other")
    assert page.error_at("email") == "Give an e-mail address."
    assert page.error_at("password_again") == "The two passwords differ."


def test_of_two_who_use_the_link_at_once_one_gets_in_and_then_it_is_no_longer_good(fresh):
    token = token_of(fresh)
    answers = []

    def use(name: str) -> None:
        answers.append(Browser(fresh).post("/setup", {**FIELDS, "token": token, "username": name}))

    threads = [threading.Thread(target=use, args=(f"user-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status for answer in answers)[0] == 302
    assert [answer.status for answer in answers].count(302) == 1
    with fresh.installation.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM users").scalar() == 1
    assert Browser(fresh).get(f"/setup?token={token}").status == 403
    assert Browser(fresh).post("/setup", {**FIELDS, "token": token, "username": "late"}).status == 403


def test_a_new_start_prints_a_new_link_and_the_old_one_is_no_longer_good(make_daemon):
    daemon = make_daemon("web").start()
    old = token_of(daemon)
    daemon.end()
    daemon.start()
    new = token_of(daemon)

    assert new != old
    assert Browser(daemon).get(f"/setup?token={old}").status == 403
    browser = Browser(daemon)
    answer = browser.post("/setup", {**FIELDS, "token": new})
    assert (answer.status, answer.location) == (302, "/")
    # One is logged in at once, and the next start has no link to print.
    assert browser.get("/").status == 200
    daemon.end()
    daemon.start()
    assert daemon.greeting == f"Deployer is ready: {daemon.config.public_url}\n"
    # A login outlives a restart.
    assert browser.get("/").status == 200
