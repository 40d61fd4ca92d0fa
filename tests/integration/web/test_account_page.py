"""One's own account: address and sessions. Passwords have their tests with the settings, codes with the login."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from deployer.models.user import LoginSession
from tests.support.browser import Browser
from tests.support.standing import PASSWORD, logged_in, make_user

_numbers = itertools.count(1)
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1"


@pytest.fixture
def account(daemon) -> str:
    name = f"owner-{next(_numbers)}"
    make_user(daemon, name, is_admin=False)
    return name


def listed(browser: Browser) -> list:
    return browser.get("/account").page.find_all("li", class_="session")


def test_the_address_is_changed_and_a_wrong_one_refused_at_its_field(daemon, account):
    browser = logged_in(daemon, account)

    refused = browser.post("/account/email", {"email": "nobody"})
    assert (refused.status, refused.page.error_at("email")) == (400, "Give an e-mail address.")
    assert refused.page.value("email") == "nobody"
    assert browser.post("/account/email", {"email": "new@example.com"}).location == "/account"
    assert browser.get("/account").page.value("email") == "new@example.com"


def test_ones_sessions_are_listed_in_words_and_the_present_one_is_marked(daemon, account):
    here = logged_in(daemon, account)
    Browser(daemon, headers={"User-Agent": PHONE}).log_in(account, PASSWORD)

    first, second = listed(here)

    assert "this one" in first.words
    assert not first.find_all("form")
    assert second.words.startswith("Safari on iPhone since just now from 127.0.0.1")
    assert "this one" not in second.words


def test_one_session_is_ended_and_the_others_go_on(daemon, account):
    here, there = logged_in(daemon, account), logged_in(daemon, account)
    phone = Browser(daemon, headers={"User-Agent": PHONE})
    phone.log_in(account, PASSWORD)
    (row,) = [one for one in listed(here) if "Safari on iPhone" in one.words]

    answer = here.post(row.find("form").attributes["action"])

    assert answer.location == "/account#sessions"
    assert [one.get("/").status for one in (here, there, phone)] == [200, 200, 302]


def test_all_others_are_ended_at_once(daemon, account, member):
    here, there, elsewhere = (logged_in(daemon, account) for _ in range(3))

    here.post("/account/sessions/end-others")

    assert [one.get("/").status for one in (here, there, elsewhere, member)] == [200, 302, 302, 200]
    assert len(listed(here)) == 1


def test_nobody_ends_anybody_elses_session(daemon, account, admin):
    """Not even an administrator, who may remove the user instead."""
    browser = logged_in(daemon, account)
    logged_in(daemon, account)
    own = next(one.find("form").attributes["action"] for one in listed(browser) if one.find_all("form"))

    assert admin.post(own).status == 404
    assert len(listed(browser)) == 2


@pytest.mark.parametrize("wrong", ["x", "0" * 16, "%00", "..", "%"])
def test_a_session_that_is_none_is_not_found(daemon, account, wrong):
    assert logged_in(daemon, account).post(f"/account/sessions/{wrong}/end").status in (400, 404, 405)


def test_what_the_page_says_of_a_session_opens_none(daemon, account, operator):
    browser = logged_in(daemon, account)
    text = browser.get("/account").text

    for row in operator.rows(sa.select(*LoginSession.__table__.columns)):
        assert row.token_hash not in text


def test_sessions_that_have_ended_are_not_listed(daemon, account, operator):
    browser = logged_in(daemon, account)
    logged_in(daemon, account)
    with operator.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE login_sessions SET expires_at = 1 WHERE created_at = (SELECT max(created_at) FROM login_sessions)"
        )

    assert len(listed(browser)) == 1
