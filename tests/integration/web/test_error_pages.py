"""Errors are answers in the asker's language: a page for a browser, JSON for a program."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa

from deployer.models import Project
from tests.support.browser import FORM
from tests.support.standing import logged_in, make_user

SAME = {"Sec-Fetch-Site": "same-origin"}


def shown(answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"].startswith("text/html")
    page = answer.page
    assert page.find("p", class_="code").words == str(answer.status)
    return answer.status, page.find("p", class_="lead").words


@pytest.mark.parametrize("path", ["/no-such-page", "/projects", "/static/none.css", "/projects/x/y/z"])
def test_what_is_not_there_is_a_page(member, path):
    assert shown(member.get(path)) == (404, "There is no such page.")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/projects/none", "Project not found"),
        ("/projects/%00", "Project not found"),
        ("/projects/%ff", "Project not found"),
        ("/deployments/none", "Deployment not found"),
        ("/deployments/DEP-0", "Deployment not found"),
        ("/deployments/DEP-999999999999999999", "Deployment not found"),
        ("/deployments/DEP-99999999999999999999", "Deployment not found"),
    ],
)
def test_what_cannot_be_found_is_named(member, path, words):
    answer = member.get(path)

    assert answer.status == 404
    assert words in answer.page.words or "There is no such page." in answer.page.words


def test_a_wrong_method_is_a_page_that_says_which_are_right(member):
    answer = member.request("PUT", "/settings", headers=SAME)

    assert shown(answer) == (405, "This address does not take that kind of request.")
    assert "GET" in answer.headers["Allow"]


def test_a_refused_foreign_request_is_a_page(member):
    status, words = shown(member.request("POST", "/settings/path", b"", {"Content-Type": FORM}))

    assert status == 403
    assert words.startswith("This request came from another site")


def test_a_form_that_is_too_large_is_a_page(member, daemon):
    body = b"path=" + b"x" * (2 * 1024 * 1024)

    answer = member.request("POST", "/settings/path", body, {"Content-Type": FORM, **SAME})

    assert shown(answer) == (413, "What was sent is too large.")


def test_a_form_of_too_many_fields_is_no_error_of_ours(member):
    body = b"&".join(b"step_command=x" for _ in range(5000))

    assert member.request("POST", "/projects/new", body, {"Content-Type": FORM, **SAME}).status == 400


def test_an_error_of_ours_is_a_page_that_tells_no_details(member, operator, project):
    with operator.database.write() as connection:
        connection.execute(sa.update(Project).where(Project.id == project.id).values(webhook_secret=bytes(60)))

    answer = member.get(f"/projects/{project.name}")

    assert answer.status == 500
    assert "Restore the key file that belongs to this database" in shown(answer)[1]
    assert "Traceback" not in answer.text


def test_an_error_is_json_for_who_asks_for_json(member):
    answer = member.get("/no-such-page", {"Accept": "application/json"})

    assert (answer.status, answer.json) == (404, {"success": False, "error": "There is no such page."})


def test_a_database_that_cannot_be_read_is_told_to_pages_and_programs(make_daemon):
    daemon = make_daemon("web").start()
    make_user(daemon)
    member = logged_in(daemon)
    with daemon.installation.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE login_sessions RENAME TO gone")
    try:
        page, document = member.get("/"), member.get("/deploy/x")
    finally:
        with contextlib.suppress(Exception), daemon.installation.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE gone RENAME TO login_sessions")

    assert shown(page)[0] == 503
    assert (document.status, document.json["success"]) == (503, False)
    assert "SELECT" not in page.text + document.text
    assert member.get("/").status == 200
