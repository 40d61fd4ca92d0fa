"""Login and logout: the cookie, the session behind it, and where one goes afterwards."""

from __future__ import annotations

import json
from http.cookies import SimpleCookie

import pytest

from tests.support.browser import FORM, Browser
from tests.support.standing import PASSWORD, USER, logged_in, make_user

EVIL = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\x00/evil.example",
    "evil.example",
    "?next=//evil.example",
    "",
]


def cookie_of(answer):
    (line,) = answer.headers.get_all("Set-Cookie")
    return SimpleCookie(line)["connect.sid"]


def test_a_login_by_form_sets_a_cookie_that_scripts_and_foreign_posts_do_not_get(daemon):
    answer = Browser(daemon).log_in(USER, PASSWORD)

    cookie = cookie_of(answer)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Lax", "/", "")
    assert cookie["domain"] == ""


def test_behind_tls_the_cookie_is_only_for_tls_and_browsers_are_told_to_stay_there(make_daemon):
    daemon = make_daemon("web", server_public_url="https://deploy.example.com").start()
    make_user(daemon)

    answer = Browser(daemon).log_in(USER, PASSWORD)

    assert cookie_of(answer)["secure"] is True
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_login_by_json_is_answered_with_success(stranger):
    answer = stranger.post_json("/login", {"username": USER, "password": PASSWORD})

    assert (answer.status, answer.json) == (200, {"success": True})
    assert stranger.get("/").status == 200


def test_a_login_without_a_cookie_from_curl_works(stranger):
    """No browser, so no header says where it comes from; and there is no cookie that could be misused."""
    body = f"username={USER}&password={PASSWORD.replace(' ', '+')}".encode()

    answer = stranger.request("POST", "/login", body, {"Content-Type": FORM})

    assert (answer.status, answer.location) == (302, "/")


@pytest.mark.parametrize(
    "document", [{}, {"username": USER}, {"username": USER, "password": ""}, [], None, {"username": 1, "password": 2}]
)
def test_a_login_without_name_or_password_is_a_bad_request(stranger, document):
    answer = stranger.post_json("/login", document)

    assert (answer.status, answer.json) == (400, {"success": False, "error": "Give user name and password"})


def test_the_form_is_shown_again_with_the_name_and_without_the_password(stranger):
    answer = stranger.log_in("somebody", "", next="/settings")

    page = answer.page
    assert answer.status == 400
    assert (page.value("username"), page.value("password"), page.value("next")) == ("somebody", "", "/settings")
    assert page.find(role="alert").words == "Give user name and password"


def test_pages_send_strangers_to_the_login_and_back(stranger, project):
    sent = stranger.get(f"/projects/{project.name}?a=b")
    assert sent.status == 302
    assert sent.location.startswith("/login?next=")
    wanted = stranger.get(sent.location).page.value("next")

    answer = stranger.log_in(USER, PASSWORD, next=wanted)

    assert (answer.status, answer.location) == (302, f"/projects/{project.name}?a=b")


@pytest.mark.parametrize("target", EVIL)
def test_after_the_login_one_stays_on_this_site(daemon, target):
    answer = Browser(daemon).log_in(USER, PASSWORD, next=target)

    assert (answer.status, answer.location) == (302, "/")


@pytest.mark.parametrize(
    "target", ["//evil.example", "/%5Cevil.example", "https://evil.example", "/%09/evil.example"]
)
def test_who_is_logged_in_already_stays_on_this_site_too(member, target):
    answer = member.get(f"/login?next={target}")

    assert (answer.status, answer.location) == (302, "/")


def test_a_login_begins_a_new_session_whatever_cookie_was_there(daemon):
    browser = Browser(daemon, cookie="chosen-by-somebody-else")

    browser.log_in(USER, PASSWORD)

    assert browser.cookie != "chosen-by-somebody-else"
    assert browser.get("/").status == 200


def test_a_logout_ends_the_session_on_the_server(daemon):
    browser = logged_in(daemon)
    old = browser.cookie

    answer = browser.post("/logout")

    assert (answer.status, answer.location) == (302, "/login")
    assert Browser(daemon, old).get("/settings").status == 302
    assert Browser(daemon, old).get("/deploy/x").status == 401


def test_a_logout_by_json_is_answered_with_success(daemon):
    browser = logged_in(daemon)

    answer = browser.post_json("/logout", {})

    assert (answer.status, answer.json) == (200, {"success": True})
    assert browser.get("/deploy/x").status == 401


def test_a_logout_ends_this_session_alone(daemon):
    here, there = logged_in(daemon), logged_in(daemon)

    here.post("/logout")

    assert there.get("/").status == 200


def test_a_logout_is_no_link(member):
    assert member.get("/logout").status == 405


@pytest.mark.parametrize("field", ["username", "password"])
@pytest.mark.parametrize("text", ["\0", "\ufffe", "x" * 100_000])
def test_strange_names_and_passwords_are_simply_wrong(proxied, field, text):
    document = {"username": USER, "password": PASSWORD, field: text}

    answer = proxied.post_json("/login", document)

    assert (answer.status, answer.json) == (401, {"success": False, "error": "Wrong user name or password"})


def test_the_cookie_holds_no_password_and_no_name(member):
    assert USER not in json.dumps(member.cookie)
    assert PASSWORD not in member.cookie
