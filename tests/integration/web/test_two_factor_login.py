"""Two-factor login: the second question, by page and by program, and that guessing it is as slow as a password."""

from __future__ import annotations

import itertools

import pytest
from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from deployer import clock, logins
from deployer.security import keyfile
from tests.support import authenticator
from tests.support.browser import Browser
from tests.support.standing import PASSWORD, logged_in, make_user

_addresses = (f"198.18.0.{number}" for number in itertools.count(1))


class Person:
    def __init__(self, daemon, name: str) -> None:
        self.daemon = daemon
        self.name = name
        self.user_id = make_user(daemon, name).id
        self.device, self.recovery_codes = authenticator.switch_on(daemon.installation, name)

    def browser(self) -> Browser:
        """From an address of its own."""
        return Browser(self.daemon, headers={"X-Forwarded-For": next(_addresses)})

    def at_the_second_page(self, **fields: str) -> Browser:
        browser = self.browser()
        answer = browser.log_in(self.name, PASSWORD, **fields)
        assert (answer.status, answer.location) == (302, "/login/code")
        return browser

    def by_program(self, code: object = None):
        given = {"username": self.name, "password": PASSWORD}
        return self.browser().post_json("/login", given if code is None else {**given, "code": code})


_numbers = itertools.count(1)


@pytest.fixture
def person(proxied_daemon) -> Person:
    return Person(proxied_daemon, f"holder-{next(_numbers)}")


def give(browser: Browser, code: str):
    return browser.post("/login/code", {"code": code})


def test_a_login_asks_for_a_code_after_the_password_and_leads_where_one_was_going(person):
    browser = person.at_the_second_page(next="/settings")
    assert browser.get("/login/code").page.find("h1").words == "Your code"
    assert browser.get("/").status == 302

    answer = give(browser, person.device.code())

    assert (answer.status, answer.location) == (302, "/settings")
    assert browser.get("/").status == 200


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_the_second_page_leads_to_no_other_site(person, target):
    assert give(person.at_the_second_page(next=target), person.device.code()).location == "/"


def test_the_password_alone_opens_nothing(person):
    browser = person.at_the_second_page()

    for path in ("/", "/settings", "/account", "/account/two-factor"):
        assert browser.get(path).location.startswith("/login"), path
    assert browser.post_json("/deploy", {"projectId": "x"}).status == 401


def test_a_wrong_code_is_told_and_asked_for_again(person):
    browser = person.at_the_second_page()

    refused = give(browser, person.device.wrong())

    assert refused.status == 401
    assert refused.page.find(role="alert").words.startswith("This code is wrong, or was used already.")
    assert give(browser, person.device.code()).location == "/"


def test_a_code_that_was_used_is_wrong(person):
    code = person.device.code()
    assert give(person.at_the_second_page(), code).status == 302

    assert give(person.at_the_second_page(), code).status == 401


def test_a_recovery_code_stands_in_once_and_one_is_told_how_many_are_left(person):
    browser = person.at_the_second_page()

    assert give(browser, person.recovery_codes[0]).location == "/"

    assert "That recovery code is used up; 9 are left." in browser.get("/").page.words
    assert give(person.at_the_second_page(), person.recovery_codes[0]).status == 401


def test_wrong_codes_count_into_the_accounts_throttle_and_the_right_password_does_not_clear_it(person):
    """Else somebody who knows the password could guess codes without an end."""
    for _ in range(logins.FREE_FAILURES):
        assert give(person.at_the_second_page(), person.device.wrong()).status == 401

    by_password = person.browser().log_in(person.name, PASSWORD)
    assert by_password.status == 429
    assert 0 < int(by_password.headers["Retry-After"]) <= logins.FIRST_WAIT_S


def test_who_waits_at_the_second_page_is_throttled_there_too(person):
    browser = person.at_the_second_page()
    for _ in range(logins.FREE_FAILURES):
        give(browser, person.device.wrong())

    refused = give(browser, person.device.code())

    assert refused.status == 429
    assert refused.page.find(role="alert").words.startswith("Too many failed logins. Try again in ")


def test_a_change_of_the_password_ends_what_waits_for_a_code(person):
    waiting = person.at_the_second_page()
    inside = person.at_the_second_page()
    give(inside, person.recovery_codes[0])
    changed = inside.post(
        "/account/password",
        {"present_password": PASSWORD, "new_password": PASSWORD + "!", "new_password_again": PASSWORD + "!"},
    )
    assert changed.status == 302

    assert give(waiting, person.device.code()).location == "/login"
    assert waiting.get("/login/code").location == "/login"


def test_what_waits_for_a_code_waits_for_five_minutes(person):
    """The cookie is signed, so only its maker can write another time into it."""
    browser = person.at_the_second_page()
    app = Flask("cookies")
    app.secret_key = keyfile.derive(person.daemon.installation.key, "session").hex()
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    pending = serializer.loads(browser.cookie)["pending"]
    assert 0 < pending["until"] - clock.now().timestamp() <= 300
    assert browser.get("/login/code").status == 200

    browser.cookie = serializer.dumps({"pending": {**pending, "until": clock.now().timestamp() - 1}})

    assert give(browser, person.device.code()).location == "/login"


def test_the_waiting_cookie_holds_neither_password_nor_secret(person):
    app = Flask("cookies")
    app.secret_key = keyfile.derive(person.daemon.installation.key, "session").hex()
    held = str(SecureCookieSessionInterface().get_signing_serializer(app).loads(person.at_the_second_page().cookie))

    assert PASSWORD not in held
    assert "argon2" not in held
    assert person.name not in held


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_without_a_right_password_there_is_no_second_page(stranger, method):
    answer = stranger.request(method, "/login/code", headers={"Sec-Fetch-Site": "same-origin"})

    assert (answer.status, answer.location) == (302, "/login")


def test_a_program_gives_the_code_along(person):
    answer = person.by_program(person.device.code())

    assert (answer.status, answer.json) == (200, {"success": True})


@pytest.mark.parametrize("code", [None, "", 123456, []])
def test_a_program_without_a_code_is_told_so(person, code):
    answer = person.by_program(code)

    assert (answer.status, answer.json) == (401, {"success": False, "error": "Code required"})


def test_a_program_with_a_wrong_code_is_told_so(person):
    answer = person.by_program(person.device.wrong())

    assert (answer.status, answer.json) == (401, {"success": False, "error": "Wrong code"})


def test_nobody_learns_without_the_password_who_has_two_factor(person):
    answer = person.browser().post_json("/login", {"username": person.name, "password": "wrong", "code": "000000"})

    assert (answer.status, answer.json) == (401, {"success": False, "error": "Wrong user name or password"})


# Setting it up


@pytest.fixture
def account(daemon) -> str:
    name = f"setter-{next(_numbers)}"
    make_user(daemon, name)
    return name


def begin(browser: Browser) -> tuple[str, authenticator.Authenticator]:
    page = browser.get("/account/two-factor").page
    return page.value("set_up"), authenticator.Authenticator(page.find(id="totp-key").words)


def test_it_is_set_up_by_a_code_and_answered_with_recovery_codes(daemon, account):
    browser = logged_in(daemon, account)
    set_up, device = begin(browser)

    done = browser.post("/account/two-factor", {"set_up": set_up, "code": device.code()})

    codes = done.page.find(id="recovery-codes").text.split("\n")
    assert len(codes) == 10
    # They are shown once.
    assert not any(code in browser.get("/account").text + browser.get("/account/two-factor").text for code in codes)
    assert "10 recovery codes are left" in browser.get("/account").page.words
    second = Browser(daemon)
    assert second.log_in(account, PASSWORD).location == "/login/code"
    assert give(second, codes[3]).location == "/"


def test_it_is_off_until_it_is_confirmed_and_a_wrong_code_keeps_the_same_key(daemon, account):
    browser = logged_in(daemon, account)
    set_up, device = begin(browser)

    refused = browser.post("/account/two-factor", {"set_up": set_up, "code": device.wrong()})

    assert refused.status == 400
    assert refused.page.error_at("code").startswith("This is not the current code.")
    assert refused.page.value("set_up") == set_up
    assert Browser(daemon).log_in(account, PASSWORD).location == "/"
    assert browser.post("/account/two-factor", {"set_up": set_up, "code": device.code()}).status == 200


@pytest.mark.parametrize("set_up", ["", "x", "%%%", "AAAA" * 30])
def test_a_set_up_that_is_none_begins_anew(daemon, account, set_up):
    browser = logged_in(daemon, account)

    answer = browser.post("/account/two-factor", {"set_up": set_up, "code": "000000"})

    assert answer.status == 400
    assert answer.page.error_at("code") == "This set-up is no longer good. Begin it again."
    assert answer.page.value("set_up")


def test_the_page_shows_a_qr_code_without_any_style(daemon, account):
    page = logged_in(daemon, account).get("/account/two-factor").page

    (picture,) = page.find_all("svg", class_="qr")
    assert [one for one in picture.walk() if one.tag == "path"]
    for one in (picture, *picture.walk()):
        assert "style" not in one.attributes


def test_new_recovery_codes_and_switching_off_ask_for_the_password(daemon, account):
    device, old = authenticator.switch_on(daemon.installation, account)
    browser = Browser(daemon)
    browser.log_in(account, PASSWORD)
    give(browser, device.code())
    for path in ("/account/two-factor/recovery-codes", "/account/two-factor/off"):
        refused = browser.post(path, {"present_password": "wrong"})
        assert (refused.status, refused.page.error_at("present_password")) == (
            400,
            "This is not your current password.",
        )

    renewed = browser.post("/account/two-factor/recovery-codes", {"present_password": PASSWORD}).page
    new = renewed.find(id="recovery-codes").text.split("\n")

    other = Browser(daemon)
    other.log_in(account, PASSWORD)
    assert [give(other, old[0]).status, give(other, new[0]).status] == [401, 302]
    assert browser.post("/account/two-factor/off", {"present_password": PASSWORD}).location == "/account"
    assert Browser(daemon).log_in(account, PASSWORD).location == "/"


def test_guessing_the_password_of_a_session_that_is_open_is_slow_too(daemon, account):
    browser = logged_in(daemon, account)
    authenticator.switch_on(daemon.installation, account)
    for _ in range(logins.FREE_FAILURES):
        browser.post("/account/two-factor/off", {"present_password": "wrong"})

    refused = browser.post("/account/two-factor/off", {"present_password": PASSWORD})

    assert refused.status == 400
    assert refused.page.error_at("present_password").startswith("Too many wrong passwords. Try again in ")
