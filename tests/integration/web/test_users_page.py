"""Users, and invitations by a link that works once."""

from __future__ import annotations

import itertools
import re
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from deployer import clock
from deployer.models.user import Invitation, LoginSession
from tests.support import authenticator
from tests.support.browser import Browser
from tests.support.database import everything_stored
from tests.support.standing import MEMBER, PASSWORD, USER, logged_in, make_user

_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    return f"guest-{next(_numbers)}"


@pytest.fixture
def entry(admin):
    """A user's entry on the page."""

    def find(username: str):
        rows = admin.get("/settings/users").page.find_all("li", class_="person")
        return next((row for row in rows if row.find("strong").words == username), None)

    return find


def invite(admin, role: str = "member", email: str = "guest@example.com") -> str:
    """The path of a new link."""
    answer = admin.post("/settings/users/invitations", {"email": email, "role": role})
    assert answer.status == 200
    link = answer.page.find(id="invitation").words
    assert link.startswith(f"{admin.daemon.config.public_url}/join?token=")
    return link.removeprefix(admin.daemon.config.public_url)


def fields(link: str, name: str, **changes: str) -> dict[str, str]:
    given = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "password_again": PASSWORD}
    return {"token": link.partition("token=")[2], **given, **changes}


# Users


def test_the_page_lists_everybody_with_role_two_factor_and_last_login(admin, daemon, entry, name):
    make_user(daemon, name, is_admin=False)
    fresh = entry(name)
    assert fresh.find("span", class_="tag").words == "member"
    assert "never logged in" in fresh.words
    assert "two-factor off" in fresh.words

    logged_in(daemon, name)
    authenticator.switch_on(daemon.installation, name)

    known = entry(name)
    assert "last login just now" in known.words
    assert "two-factor on" in known.words
    assert [tag.words for tag in entry(USER).find_all("span", class_="tag")] == ["admin", "you"]


def test_a_role_is_changed(admin, daemon, entry, name):
    user = make_user(daemon, name, is_admin=False)

    assert admin.post(f"/settings/users/{user.id}/role", {"role": "admin"}).location == "/settings/users"
    assert entry(name).find("span", class_="tag").words == "admin"
    admin.post(f"/settings/users/{user.id}/role", {"role": "member"})
    assert entry(name).find("span", class_="tag").words == "member"


@pytest.mark.parametrize("role", ["", "root", "ADMIN"])
def test_a_role_that_is_none_is_refused(admin, daemon, name, role):
    user = make_user(daemon, name, is_admin=False)

    assert admin.post(f"/settings/users/{user.id}/role", {"role": role}).status == 400


def test_a_removed_users_sessions_end_at_once(admin, daemon, entry, name):
    user = make_user(daemon, name)
    browser = logged_in(daemon, name)
    assert f"Remove {name}" in admin.get(f"/settings/users/{user.id}/remove").page.words

    answer = admin.post(f"/settings/users/{user.id}/remove")

    assert (answer.status, answer.location) == (302, "/settings/users")
    assert browser.get("/").status == 302
    assert Browser(daemon).log_in(name, PASSWORD).status == 401
    assert entry(name) is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_at_the_question_removes_nobody(admin, daemon, entry, name, method):
    user = make_user(daemon, name)

    admin.request(method, f"/settings/users/{user.id}/remove")

    assert entry(name) is not None


def test_the_last_administrator_can_neither_be_demoted_nor_removed(make_daemon):
    daemon = make_daemon("web").start()
    user = make_user(daemon)
    make_user(daemon, MEMBER, is_admin=False)
    admin = logged_in(daemon)

    for answer in (
        admin.post(f"/settings/users/{user.id}/role", {"role": "member"}),
        admin.post(f"/settings/users/{user.id}/remove"),
    ):
        assert answer.status == 409
        words = "ada is the only administrator. Make somebody else an administrator first."
        assert answer.page.find(role="alert").words == words
    assert admin.get("/settings/users").status == 200


def test_an_administrator_may_step_down_where_there_is_another(daemon, name):
    user = make_user(daemon, name)
    browser = logged_in(daemon, name)

    answer = browser.post(f"/settings/users/{user.id}/role", {"role": "member"})

    assert (answer.status, answer.location) == (302, "/")
    assert browser.get("/settings/users").status == 403


def test_two_factor_is_reset_for_who_lost_the_device(admin, daemon, name):
    user = make_user(daemon, name)
    authenticator.switch_on(daemon.installation, name)
    assert Browser(daemon).log_in(name, PASSWORD).location == "/login/code"

    admin.post(f"/settings/users/{user.id}/reset-two-factor")

    assert Browser(daemon).log_in(name, PASSWORD).location == "/"


@pytest.mark.parametrize("path", ["role", "remove", "reset-two-factor"])
def test_nobody_of_that_id_is_not_found(admin, path):
    assert admin.post(f"/settings/users/nobody/{path}", {"role": "admin"}).status == 404


def test_the_page_shows_no_sessions_and_nothing_of_their_tokens(admin, plain_member, operator):
    page = admin.get("/settings/users").text

    for row in operator.rows(sa.select(*LoginSession.__table__.columns)):
        assert row.token_hash[:12] not in page


# Invitations


@pytest.mark.parametrize("role", ["member", "admin"])
def test_an_invitation_leads_to_an_account_of_the_role_that_it_says(admin, daemon, entry, name, role):
    link = invite(admin, role, email="new@example.com")
    guest = Browser(daemon)
    page = guest.get(link).page
    assert (page.value("email"), page.value("username")) == ("new@example.com", "")

    answer = guest.post("/join", fields(link, name))

    # One is logged in at once.
    assert (answer.status, answer.location) == (302, "/")
    assert guest.get("/settings").status == (200 if role == "admin" else 403)
    assert entry(name).find("span", class_="tag").words == role


def test_nobody_makes_themselves_an_administrator_by_the_form(admin, daemon, entry, name):
    link = invite(admin, "member")

    Browser(daemon).post("/join", fields(link, name, role="admin", is_admin="1"))

    assert entry(name).find("span", class_="tag").words == "member"


def test_of_those_who_use_a_link_at_once_one_gets_in_and_then_it_is_no_longer_good(admin, daemon, name, entry):
    link = invite(admin)
    answers = []

    def use(number: int) -> None:
        answers.append(Browser(daemon).post("/join", fields(link, f"{name}-{number}")).status)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers.count(302) == 1
    assert set(answers) <= {302, 400, 403}
    assert len([number for number in range(4) if entry(f"{name}-{number}")]) == 1
    assert Browser(daemon).get(link).status == 403
    assert Browser(daemon).post("/join", fields(link, f"{name}-late")).status == 403


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"username": "-"}, "username", "Use letters, digits and . _ @ -, beginning with a letter or digit."),
        ({"username": USER}, "username", "There is already a user of this name."),
        ({"email": "nobody"}, "email", "Give an e-mail address."),
        ({"password": "short", "password_again": "short"}, "password", "Use at least 10 characters."),
        ({"password_again": "another one"}, "password_again", "The two passwords differ."),
    ],
)
def test_wrong_input_is_told_at_its_field_and_does_not_use_the_link_up(admin, daemon, name, changes, field, words):
    link = invite(admin)

    refused = Browser(daemon).post("/join", fields(link, name, **changes))

    assert (refused.status, refused.page.error_at(field)) == (400, words)
    assert Browser(daemon).post("/join", fields(link, name)).status == 302


def test_an_invitation_is_taken_back(admin, daemon, operator, name):
    link = invite(admin, email=f"{name}@example.com")
    page = admin.get("/settings/users").page
    waiting = next(one for one in page.find_all("li", class_="invitation") if f"{name}@example.com" in one.words)

    admin.post(waiting.find("form").attributes["action"])

    assert Browser(daemon).get(link).status == 403
    assert f"{name}@example.com" not in str(admin.get("/settings/users").page.find_all("li", class_="invitation"))


def test_after_seven_days_an_invitation_is_no_longer_good(admin, daemon, operator, name):
    link = invite(admin, email=f"{name}@example.com")
    (row,) = operator.rows(sa.select(*Invitation.__table__.columns).where(Invitation.email == f"{name}@example.com"))
    assert row.expires_at - row.created_at == timedelta(days=7)
    with operator.database.write() as connection:
        past = clock.now() - timedelta(seconds=1)
        connection.execute(sa.update(Invitation).where(Invitation.id == row.id).values(expires_at=past))

    assert Browser(daemon).get(link).status == 403
    assert Browser(daemon).post("/join", fields(link, name)).status == 403
    assert f"{name}@example.com" not in admin.get("/settings/users").text


@pytest.mark.parametrize("token", ["", "wrong", "\0", "é", "x" * 5000])
def test_without_the_right_token_nobody_gets_in(stranger, token):
    assert stranger.get("/join", {"Accept": "text/html"}).status == 403
    assert stranger.post("/join", fields(f"token={token}", "somebody")).status == 403
    assert stranger.get("/").status == 302


@pytest.mark.parametrize("given", [{"email": "nobody", "role": "member"}, {"email": "a@example.com"}, {}])
def test_an_invitation_of_nobody_or_to_no_role_is_refused(admin, operator, given):
    before = operator.rows(sa.select(*Invitation.__table__.columns))

    answer = admin.post("/settings/users/invitations", given)

    assert answer.status == 400
    assert operator.rows(sa.select(*Invitation.__table__.columns)) == before


def test_the_link_is_shown_once_and_kept_nowhere(admin, daemon, operator, name):
    link = invite(admin)
    token = link.partition("token=")[2]
    Browser(daemon).get(link)
    Browser(daemon).post("/join", fields(link, name, password="short"))

    assert len(token) >= 43
    assert token not in admin.get("/settings/users").text
    assert token not in admin.get("/settings/audit").text
    assert token not in daemon.log
    assert token.encode() not in everything_stored(daemon.config)


def test_what_the_links_page_loads_does_not_hear_of_the_token(admin, daemon):
    """Else the address would be in the Referer header of each style and script, and in every log of those."""
    link = invite(admin)

    answer = Browser(daemon).get(link)

    assert answer.headers["Referrer-Policy"] == "strict-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    token = link.partition("token=")[2]
    # In the form alone, from which it is posted.
    assert re.findall(r'\S*="[^"]*' + re.escape(token), answer.text) == [f'value="{token}']
