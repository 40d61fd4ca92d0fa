"""Members look, deploy and cancel. Everything else needs an administrator, a view that is added tomorrow too."""

from __future__ import annotations

import itertools

import pytest

from deployer import accounts, servers
from deployer.servers import ServerInput
from tests.support.browser import FORM
from tests.support.routes import OPEN, addresses
from tests.support.standing import MEMBER, logged_in, make_user

_numbers = itertools.count(1)
REFUSED = "Only an administrator may do this."

MEMBERS_MAY = {
    ("POST", "/logout"),
    ("GET", "/"),
    ("GET", "/projects/<name>"),
    ("POST", "/projects/<name>/deploy"),
    ("POST", "/projects/<name>/rollback"),
    ("GET", "/projects/<name>/deliveries"),
    ("GET", "/projects/<name>/deliveries/<delivery_id>"),
    ("GET", "/projects/<name>/variables"),
    ("GET", "/deployments"),
    ("GET", "/changes/stream"),
    ("GET", "/deployments/<deployment_id>"),
    ("GET", "/deployments/<deployment_id>/stream"),
    ("GET", "/changes/stream"),
    ("POST", "/deployments/<deployment_id>/cancel"),
    ("POST", "/deployments/<deployment_id>/retry"),
    ("POST", "/deploy"),
    ("POST", "/deploy/<deployment_id>/retry"),
    ("GET", "/deploy/<deployment_id>"),
    ("GET", "/account"),
    ("POST", "/account/email"),
    ("POST", "/account/password"),
    ("POST", "/account/sessions/<session_id>/end"),
    ("POST", "/account/sessions/end-others"),
    ("GET", "/account/two-factor"),
    ("POST", "/account/two-factor"),
    ("POST", "/account/two-factor/recovery-codes"),
    ("POST", "/account/two-factor/off"),
}
"""What these tests know of it. A view that is added elsewhere must refuse members, or be added here on purpose."""


def filled(rule: str, project) -> str:
    """The address of a thing that is there, where the gate could let somebody through to it."""
    rule = rule.replace("<name>", project.name).replace("<variable_id>", project.variables[0].id)
    rule = rule.replace("<int:number>", "1")
    while "<" in rule:
        rule = rule[: rule.index("<")] + "some" + rule[rule.index(">") + 1 :]
    return rule


@pytest.fixture
def full(make_project, operator):
    """A project with everything that a page could show too much of."""
    with operator.database.write_session() as session:
        name = f"server-{next(_numbers)}"
        servers.create(session, ServerInput(name, "127.0.0.1", 9), operator.installation.vault)
    project = make_project(server=name)
    operator.set_variable(project, "NODE_ENV", "plain-but-private")
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    operator.make_deploy_key(project)
    return operator.change(project)


def stored(operator) -> list[tuple]:
    tables = ("projects", "steps", "variables", "deployments", "users", "invitations", "settings", "audit_events")
    tables += ("schedules",)
    with operator.database.read() as connection:
        return [tuple(row) for one in tables for row in connection.exec_driver_sql(f"SELECT * FROM {one} ORDER BY 1")]


def test_every_route_but_the_members_own_refuses_them_and_changes_nothing(plain_member, full, operator):
    closed = {
        (method, rule)
        for method, rule in addresses()
        if rule not in OPEN
        and ("GET" if method in ("HEAD", "OPTIONS") else method, rule) not in MEMBERS_MAY
        # Flask answers OPTIONS of what has no GET as the address of a POST.
        and not (method == "OPTIONS" and ("POST", rule) in MEMBERS_MAY)
    }
    assert len(closed) > 30
    before = stored(operator)
    for method, rule in sorted(closed):
        path = filled(rule, full)
        page = plain_member.request(method, path, b"", {"Content-Type": FORM, "Sec-Fetch-Site": "same-origin"})
        assert page.status == 403, (method, rule)
        assert method == "HEAD" or REFUSED in page.text, (method, rule)
    assert stored(operator) == before


def test_members_reach_what_is_theirs(plain_member, full, operator, running):
    for path in ("/", f"/projects/{full.name}", f"/deployments/{running}", f"/deploy/{running}", "/account"):
        assert plain_member.get(path).status == 200, path
    by_page = plain_member.post(f"/projects/{full.name}/deploy")
    by_program = plain_member.post_json("/deploy", {"projectId": full.id})
    cancelled = plain_member.post(f"/deployments/{running}/cancel")

    assert (by_page.status, by_program.status, cancelled.status) == (302, 200, 302)
    asked = operator.deployment(by_program.json["deployId"])
    assert asked.triggered_by == MEMBER
    assert operator.deployment(running).cancel_requested_by == MEMBER


def test_a_refusal_is_a_page_for_a_browser_and_json_for_a_program(plain_member, full):
    page = plain_member.get("/settings")
    document = plain_member.post_json(f"/projects/{full.name}/secret", {})

    assert (page.status, page.page.find("p", class_="lead").words) == (403, REFUSED)
    assert (document.status, document.json) == (403, {"success": False, "error": REFUSED})


def test_what_is_not_there_is_not_there_for_members_too(plain_member):
    assert plain_member.get("/no-such-page").status == 404
    assert plain_member.request("PUT", "/settings", headers={"Sec-Fetch-Site": "same-origin"}).status == 405


def test_a_projects_page_shows_members_no_secret_and_no_value(plain_member, admin, full):
    shown = admin.get(f"/projects/{full.name}").page
    secret = shown.find(id="webhook-secret").words

    for path in (f"/projects/{full.name}", f"/projects/{full.name}/variables"):
        text = plain_member.get(path).text
        for hidden in (secret, "plain-but-private", "hunter2hunter2", full.deploy_key_public, "/webhook/"):
            assert hidden not in text
        assert "NODE_ENV" in text


@pytest.mark.parametrize(
    "path", ["/", "/projects/{name}", "/projects/{name}/deliveries", "/deployments", "/deployments/{id}", "/account"]
)
def test_no_page_offers_members_what_they_may_not_do(plain_member, full, running, path):
    """Every link and every form of the pages that they see leads somewhere for them."""
    page = plain_member.get(path.format(name=full.name, id=running)).page
    forms = [one.attributes["action"] for one in page.find_all("form") if one.attributes.get("method") == "post"]
    links = {
        one.attributes["href"]
        for one in page.find_all("a")
        if one.attributes["href"].startswith("/") and not one.attributes["href"].startswith("/static/")
    }

    assert "/logout" in forms
    for link in links:
        assert plain_member.get(link).status == 200, link
    for action in forms:
        assert any(is_at(rule, action) for method, rule in MEMBERS_MAY if method == "POST"), action


def is_at(rule: str, path: str) -> bool:
    parts, wanted = path.split("#")[0].split("/"), rule.split("/")
    return len(parts) == len(wanted) and all(a == b or b.startswith("<") for a, b in zip(parts, wanted, strict=True))


def test_an_administrator_is_offered_all_of_it(admin, full):
    page = admin.get(f"/projects/{full.name}").page

    actions = {one.attributes["action"].partition("#")[0] for one in page.find_all("form")}
    assert f"/projects/{full.name}/secret" in actions
    assert [one for one in page.find_all("a") if one.attributes["href"] == "/settings"]


def test_a_role_that_changes_counts_from_the_next_request_on(daemon, operator):
    user = make_user(daemon, "barbara")
    browser = logged_in(daemon, "barbara")
    assert browser.get("/settings").status == 200

    with operator.database.write_session() as session:
        accounts.change_role(session, accounts.find(session, user.id), is_admin=False)
    assert (browser.get("/settings").status, browser.get("/").status) == (403, 200)

    with operator.database.write_session() as session:
        accounts.change_role(session, accounts.find(session, user.id), is_admin=True)
    assert browser.get("/settings").status == 200


def test_without_projects_members_are_told_who_makes_them(make_daemon):
    daemon = make_daemon("web").start()
    make_user(daemon)
    make_user(daemon, MEMBER, is_admin=False)

    page = logged_in(daemon, MEMBER).get("/").page

    assert "An administrator makes the projects." in page.words
    assert not [one for one in page.find_all("a") if one.attributes["href"] == "/projects/new"]
