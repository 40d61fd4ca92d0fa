"""The pages of variables: those of one project and of all, as a file, in and out as text."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from deployer import project_secrets, projects, variables
from deployer.models import AuditEvent, Variable

pytestmark = pytest.mark.usefixtures("nothing_of_all_projects")


def opened(operator, project) -> dict[str, str]:
    with operator.database.write_session() as session:
        found = projects.find(session, project.id)
        return project_secrets.read_secrets(session, found, operator.installation.vault).variables


def secret_names(operator, project) -> set[str]:
    with operator.database.write_session() as session:
        return {one.name for one in variables.of_scope(session, project) if one.is_secret}


def rows(answer) -> dict[str, str]:
    found = answer.page.find_all("ul", class_="variables")
    return {one.find(class_="name").find("code").words: one.words for ul in found for one in ul.find_all("li")}


def test_a_projects_page_shows_what_is_in_force_and_whose_it_is(admin, operator, make_project):
    project = make_project()
    operator.set_variable(None, "REGION", "everywhere")
    operator.set_variable(None, "TIER", "basic")
    operator.set_variable(project, "TIER", "special")

    shown = rows(admin.get(f"/projects/{project.name}/variables"))

    assert shown.keys() == {"REGION", "TIER"}
    assert shown["REGION"].startswith("REGION all projects everywhere")
    assert "overrides the one of all projects" in shown["TIER"]
    assert "special" in shown["TIER"]
    assert "all projects" not in rows(admin.get("/settings/variables"))["TIER"]
    summary = admin.get(f"/projects/{project.name}").page.find("ul", class_="names").words
    assert summary.split() == ["REGION", "TIER"]


def test_those_of_all_projects_are_set_changed_and_deleted_in_the_settings(admin, operator, make_project):
    project = make_project()
    refused = admin.post("/settings/variables", {"variable_name": "1A", "value": "x"})
    assert admin.post("/settings/variables", {"variable_name": "A", "value": "b"}).location == "/settings/variables"
    with operator.database.write_session() as session:
        one = variables.find_by_name(session, None, "A")

    assert (refused.status, bool(refused.page.error_at("variable_name"))) == (400, True)
    assert admin.post(f"/settings/variables/{one.id}", {"value": "c"}).status == 302
    assert opened(operator, project) == {"A": "c"}
    assert admin.post(f"/settings/variables/{one.id}/delete").status == 302
    assert opened(operator, project) == {}


def test_one_of_all_projects_is_not_changed_by_a_projects_addresses_nor_the_other_way_round(
    admin, operator, make_project
):
    project = make_project()
    operator.set_variable(None, "A", "of all")
    operator.set_variable(project, "A", "its own")
    with operator.database.write_session() as session:
        of_all = variables.find_by_name(session, None, "A").id
        own = variables.find_by_name(session, projects.find(session, project.id), "A").id

    answers = [
        admin.post(f"{place}{end}", {"value": "x"})
        for place in (f"/projects/{project.name}/variables/{of_all}", f"/settings/variables/{own}")
        for end in ("", "/delete")
    ]

    assert [answer.status for answer in answers] == [404] * 4
    assert opened(operator, project) == {"A": "its own"}


def test_a_text_is_imported_with_the_secret_ones_chosen_by_their_names(admin, operator, make_project):
    project = make_project()
    path = f"/projects/{project.name}/variables/import"
    text = "export NODE_ENV=production # where\r\nAPI_KEY='hunter2 hunter2'\r\nNOTE=\"two\\nlines\"\r\n"

    chosen = admin.post(path, {"text": text, "action": "choose"})
    boxes = {
        one.attributes["value"]: "checked" in one.attributes
        for one in chosen.page.find_all("input")
        if one.attributes.get("name") == "secret_name"
    }
    assert opened(operator, project) == {}
    done = admin.post(path, {"text": chosen.page.find(id="text").text, "secret_name": "API_KEY"})

    assert (chosen.status, boxes) == (200, {"NODE_ENV": False, "API_KEY": True, "NOTE": False})
    assert (done.status, done.location) == (302, f"/projects/{project.name}/variables")
    assert opened(operator, project) == {
        "NODE_ENV": "production",
        "API_KEY": "hunter2 hunter2",
        "NOTE": "two\nlines",
    }
    assert secret_names(operator, project) == {"API_KEY"}
    with operator.database.read() as connection:
        row = connection.execute(sa.select(AuditEvent).order_by(AuditEvent.id.desc())).first()
    assert (row.action, row.subject, row.detail) == ("variables.imported", project.name, "NODE_ENV, API_KEY, NOTE")


def test_all_of_them_may_be_secret_and_what_is_secret_stays_so(admin, operator, make_project):
    project = make_project()
    operator.set_variable(project, "OLD", "hunter2hunter2", secret=True)

    admin.post(f"/projects/{project.name}/variables/import", {"text": "NEW=correct-horse", "all_secret": "on"})
    admin.post(f"/projects/{project.name}/variables/import", {"text": "OLD=battery-staple\nPLAIN=1"})

    assert opened(operator, project) == {"NEW": "correct-horse", "OLD": "battery-staple", "PLAIN": "1"}
    assert secret_names(operator, project) == {"NEW", "OLD"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\nsqueamish", "Line 2: give NAME=value"),
        ("A=1\nDEPLOY_ID=squeamish", "Line 2: DEPLOY_ID cannot be set. Names that begin with DEPLOY_"),
        ("A=1\nB=x", "Line 2: B cannot be set. A secret has at least 4 bytes"),
        ("A=1\n\nB='squeamish", "Line 3: the quote ' is not closed."),
        ("# nothing", "There is no variable in it."),
    ],
)
def test_a_text_with_a_mistake_is_refused_with_its_line_and_nothing_of_it_is_set(
    admin, operator, make_project, text, said
):
    project = make_project()
    text = text.replace("A=1", "A=squeamish")

    answer = admin.post(f"/projects/{project.name}/variables/import", {"text": text, "all_secret": "on"})

    assert answer.status == 400
    assert answer.page.error_at("text").startswith(said)
    # It was said to be secret.
    assert "squeamish" not in answer.text
    assert opened(operator, project) == {}


def test_an_export_comes_back_by_an_import_without_the_secret_values(admin, operator, make_project):
    project, other = make_project(), make_project()
    hard = 'it\'s "hard" $X `y` \\ \r\n and more'
    operator.set_variable(project, "HARD", hard)
    operator.set_variable(project, "TOKEN", "hunter2hunter2", secret=True)
    operator.set_variable(None, "SHARED", "not its own")

    answer = admin.get(f"/projects/{project.name}/variables/export")

    assert answer.headers["Content-Disposition"] == f"attachment; filename={project.name}.env"
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "# TOKEN is secret, and its value is not exported." in answer.text
    assert "hunter2" not in answer.text
    admin.post(f"/projects/{other.name}/variables/import", {"text": answer.text})
    assert opened(operator, other) == {"HARD": hard, "SHARED": "not its own"}
    assert "SHARED='not its own'" in admin.get("/settings/variables/export").text


def test_where_the_file_is_written_is_chosen_shown_and_given_up(admin, operator, make_project):
    project = make_project()
    path = f"/projects/{project.name}/variables/file"

    assert admin.post(path, {"variables_file": "conf/x.json", "variables_format": "json"}).status == 302
    page = admin.get(f"/projects/{project.name}/variables").page
    assert page.value("variables_file") == "conf/x.json"
    assert "Written into conf/x.json before the steps run." in admin.get(f"/projects/{project.name}").page.words
    assert admin.post(path, {"action": "remove"}).status == 302
    assert admin.get(f"/projects/{project.name}/variables").page.value("variables_file") == ""


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"variables_file": "", "variables_format": "json"}, "variables_file"),
        ({"variables_file": "../x", "variables_format": "json"}, "variables_file"),
        ({"variables_file": "/etc/passwd", "variables_format": "json"}, "variables_file"),
        ({"variables_file": ".git/hooks/x", "variables_format": "json"}, "variables_file"),
        ({"variables_file": ".env", "variables_format": "yaml"}, "variables_format"),
        ({"variables_file": ".env", "variables_format": "dotenv"}, "variables_format"),
    ],
)
def test_a_file_that_cannot_be_is_refused_at_its_field(admin, operator, make_project, given, field):
    project = make_project()
    operator.set_variable(project, "HARD", "squeamish'\"", secret=True)

    answer = admin.post(f"/projects/{project.name}/variables/file", given)

    assert answer.status == 400
    assert answer.page.find(id=f"{field}-error").words
    assert "squeamish" not in answer.text


def test_a_secret_of_another_key_can_be_entered_anew_on_the_page(admin, operator, make_project):
    project = make_project()
    operator.set_variable(project, "API_KEY", "squeamish", secret=True)
    operator.write_variables_into(project, ".env")
    with operator.database.write() as connection:
        sealed = b"with the key of another installation"
        connection.execute(sa.update(Variable).where(Variable.project_id == project.id).values(secret_value=sealed))
    path = f"/projects/{project.name}/variables"

    answer = admin.get(path)

    assert answer.status == 200
    assert "cannot be decrypted with the present key file" in answer.text
    given = {"variable_name": "API_KEY", "value": "ossifrage", "secret": "on"}
    assert admin.post(path, given).status == 302
    assert opened(operator, project) == {"API_KEY": "ossifrage"}


def test_a_value_that_the_chosen_format_cannot_hold_is_refused_or_told_where_it_is_of_all_projects(
    admin, operator, make_project
):
    project = make_project()
    operator.write_variables_into(project, ".env")

    own = admin.post(f"/projects/{project.name}/variables", {"variable_name": "A", "value": "'\""})
    operator.set_variable(None, "A", "'\"")
    page = admin.get(f"/projects/{project.name}/variables").page

    assert own.page.error_at("value").startswith("A cannot be written into a dotenv file")
    assert "The next deployment will fail. A cannot be written into a dotenv file" in page.words


def test_a_member_sees_the_names_and_nothing_to_change(plain_member, operator, make_project):
    project = make_project()
    operator.set_variable(None, "SHARED", "plain-but-private")

    answer = plain_member.get(f"/projects/{project.name}/variables")

    assert rows(answer) == {"SHARED": "SHARED all projects set"}
    assert "plain-but-private" not in answer.text
    assert not [one for one in answer.page.find_all("form") if "variables" in one.attributes.get("action", "")]
