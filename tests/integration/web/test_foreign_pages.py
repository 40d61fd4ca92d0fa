"""A page of another site cannot act with a user's cookie."""

from __future__ import annotations

import pytest

from tests.support.browser import FORM, Browser
from tests.support.standing import logged_in, make_user


def tried(member, path: str, headers: dict[str, str]) -> int:
    return member.request("POST", path, b"", headers).status


def attempt(member, project, **headers: str) -> int:
    """A form of some page that asks for a deployment."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return tried(member, f"/projects/{project.name}/deploy", {"Content-Type": FORM, **named})


@pytest.fixture
def own(daemon) -> str:
    return f"http://{daemon.config.server.bind}"


def test_a_form_of_our_own_page_is_let_through(member, project, own):
    assert attempt(member, project, Sec_Fetch_Site="same-origin") == 302
    assert attempt(member, project, Sec_Fetch_Site="same-origin", Origin=own) == 302
    assert attempt(member, project, Origin=own) == 302


def test_what_the_user_typed_into_the_browser_is_let_through(member, project):
    assert attempt(member, project, Sec_Fetch_Site="none") == 302


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "nonsense"])
def test_a_form_of_another_site_is_refused_by_what_the_browser_says(member, project, operator, own, site):
    assert attempt(member, project, Sec_Fetch_Site=site) == 403
    assert attempt(member, project, Sec_Fetch_Site=site, Origin=own) == 403
    assert [one for one in operator.deployments() if one.project_id == project.id] == []


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1", "file://", "http://[", "evil"],
)
def test_a_form_of_another_origin_is_refused(member, project, origin):
    assert attempt(member, project, Origin=origin) == 403
    assert attempt(member, project, Origin=origin, Sec_Fetch_Site="same-origin") == 403


def test_a_form_that_does_not_say_where_it_comes_from_is_refused(member, project):
    assert attempt(member, project) == 403


@pytest.mark.parametrize("mimetype", ["text/plain", "multipart/form-data; boundary=x", "", "application/jsonx"])
def test_no_kind_of_body_that_a_form_can_send_passes_for_json(member, mimetype):
    assert tried(member, "/deploy", {"Content-Type": mimetype}) == 403


def test_json_without_any_of_it_is_let_through(member, project):
    """A form cannot send it, and a script of another site is not allowed to."""
    assert member.post_json("/deploy", {"projectId": project.id}).status == 200


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_json_of_another_site_is_refused(member, project, headers):
    answer = member.post_json("/deploy", {"projectId": project.id}, headers)

    assert (answer.status, answer.json["success"]) == (403, False)


def test_nobody_is_logged_in_or_out_from_another_site(daemon):
    member = logged_in(daemon)
    foreign = {"Sec-Fetch-Site": "cross-site", "Content-Type": FORM}

    assert tried(member, "/logout", foreign) == 403
    assert tried(Browser(daemon), "/login", foreign) == 403
    assert member.get("/").status == 200


def test_the_public_address_is_an_own_origin_behind_a_proxy_that_changes_the_host(make_daemon):
    daemon = make_daemon("web", server_public_url="https://deploy.example.com").start()
    make_user(daemon)
    member = Browser(daemon)
    member.log_in("ada", "correct horse battery")

    def attempt(origin: str) -> int:
        return tried(member, "/settings/path", {"Content-Type": FORM, "Origin": origin})

    assert attempt("https://deploy.example.com") == 302
    assert attempt("http://deploy.example.com") == 403
    assert attempt("https://deploy.example.com.evil.example") == 403
    assert attempt("https://evil.example") == 403


def test_the_host_header_decides_no_address(stranger, member, project, daemon):
    spoofed = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    for browser, path in (
        (stranger, "/"),
        (stranger, "/login"),
        (member, "/"),
        (member, f"/projects/{project.name}"),
    ):
        answer = browser.get(path, spoofed)
        assert "evil.example" not in answer.text + str(answer.headers)
    page = member.get(f"/projects/{project.name}", spoofed).page
    assert page.find(id="webhook-url").words == f"{daemon.config.public_url}/webhook/{project.id}"


@pytest.mark.parametrize("host", ["", "a b", "[", "x:y:z", "évil".encode().decode("latin-1")])
def test_a_host_header_that_is_none_breaks_nothing(member, host):
    for method in ("GET", "POST"):
        assert member.request(method, "/settings", headers={"Host": host}).status < 500
