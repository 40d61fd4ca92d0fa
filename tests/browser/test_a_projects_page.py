"""What a reader does on a project's page besides deploying."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployer import project_secrets, projects
from deployer.models import Project
from tests.browser.faults import Faults
from tests.browser.parts import Page, expect
from tests.browser.places import confirm, press, state
from tests.support.operator import Operator
from tests.support.repository import Repository

pytestmark = pytest.mark.browser


def clipboard(page: Page) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def secret_of(operator: Operator, name: str) -> str:
    with operator.database.write_session() as session:
        project = projects.find(session, name)
        return project_secrets.webhook_secret(project, operator.installation.vault).decode()


def test_copy_buttons_copy_the_address_and_the_revealed_secret(
    page: Page, operator: Operator, project: Project
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/projects/{project.name}")
    press(page, "Copy the payload URL")
    expect(page.get_by_role("button", name="Copied the payload URL")).to_be_visible()
    assert clipboard(page).endswith(f"/webhook/{project.id}")
    secret = secret_of(operator, project.name)
    expect(page.get_by_text(secret)).to_be_hidden()
    page.get_by_text("Show", exact=True).click()
    expect(page.get_by_text(secret)).to_be_visible()
    press(page, "Copy the secret")
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert clipboard(page) == secret


def test_a_copy_button_selects_the_text_where_there_is_no_clipboard(page: Page, project: Project) -> None:
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(f"/projects/{project.name}")
    press(page, "Copy the payload URL")
    assert page.evaluate("getSelection().toString()") == page.locator("#webhook-url").inner_text()


def test_a_rotated_secret_takes_the_place_of_the_old_one(page: Page, operator: Operator, project: Project) -> None:
    old = secret_of(operator, project.name)
    page.goto(f"/projects/{project.name}")
    confirm(page, "Make a new secret")
    expect(page.locator(".flash")).to_contain_text("new secret")
    page.get_by_text("Show", exact=True).click()
    shown = page.locator("#webhook-secret").inner_text()
    assert shown == secret_of(operator, project.name) != old


def test_variables_are_added_and_deleted_and_a_secret_one_is_not_shown_again(
    page: Page, faults: Faults, project: Project
) -> None:
    faults.expect("status of 400")
    page.goto(f"/projects/{project.name}")
    page.get_by_role("link", name="Edit the variables").click()
    section = page.locator("#variables")
    name, value = section.get_by_label("Name", exact=True), section.get_by_label("Value", exact=True)
    name.fill("NODE_ENV")
    value.fill("production")
    press(page, "Set the variable")
    expect(section.locator("li .plain-value")).to_have_text("production")
    name.fill("API KEY")
    value.fill("a plain value")
    press(page, "Set the variable")
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(section.locator("#variable_name-error")).to_be_visible()
    expect(name).to_have_value("API KEY")
    expect(value).to_have_value("a plain value")
    name.fill("API_KEY")
    value.fill("squeamish ossifrage")
    section.get_by_label("Secret").check()
    press(page, "Set the variable")
    expect(section.locator("li", has_text="API_KEY")).to_contain_text("secret, not shown again")
    assert "squeamish" not in page.content()
    # Changed where they stand: the plain one by its text, the secret one by a new value.
    section.get_by_text("Change NODE_ENV").click()
    of_plain = section.get_by_label("Value of NODE_ENV")
    expect(of_plain).to_have_value("production")
    of_plain.fill("test\nand more")
    press(page, "Save the value of NODE_ENV")
    expect(section.get_by_role("region", name="Value of NODE_ENV")).to_have_text(
        "test\nand more", use_inner_text=False
    )
    section.get_by_text("Replace API_KEY").click()
    of_secret = section.get_by_label("New value of API_KEY")
    expect(of_secret).to_have_value("")
    of_secret.fill("abc")
    press(page, "Replace the secret of API_KEY")
    expect(of_secret).to_have_attribute("aria-invalid", "true")
    expect(of_secret).to_have_value("")
    of_secret.fill("another ossifrage")
    press(page, "Replace the secret of API_KEY")
    expect(of_secret).to_be_hidden()
    assert "ossifrage" not in page.content()
    section.get_by_text("Change NODE_ENV").click()
    section.get_by_text("Delete NODE_ENV…").click()
    press(page, "Delete the variable NODE_ENV")
    expect(section.locator("li", has_text="NODE_ENV")).to_have_count(0)
    expect(section.locator("li")).to_have_count(1)


def test_check_access_says_what_was_found_and_what_to_do(
    page: Page, make_project: Callable[..., Project], repository: Repository
) -> None:
    good, lost = make_project(), make_project(url=f"{repository.url}-elsewhere")
    page.goto(f"/projects/{good.name}")
    press(page, "Check access")
    said = page.locator(".access-said .box")
    expect(said.locator(".said")).to_have_text(f"The repository answers; main is at {repository.tip()[:7]}.")
    expect(said).to_be_in_viewport()
    page.goto(f"/projects/{lost.name}")
    press(page, "Check access")
    expect(said).to_have_class("box danger")
    expect(said.locator("p")).to_have_count(2)


def test_a_deploy_key_is_made_and_a_token_is_kept_unseen(page: Page, faults: Faults, project: Project) -> None:
    faults.expect("status of 400")
    page.goto(f"/projects/{project.name}")
    press(page, "Make a deploy key")
    expect(page.locator("#deploy-key")).to_contain_text("ssh-ed25519 ")
    press(page, "Set the token")
    expect(page.locator("#https_token")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Token", exact=True).fill("ghp_0123456789abcdef")
    press(page, "Set the token")
    expect(page.get_by_text("It is encrypted, and not shown again.")).to_be_visible()
    assert "ghp_0123456789abcdef" not in page.content()
    confirm(page, "Remove the token")
    expect(page.get_by_label("Token", exact=True)).to_be_visible()


def test_a_project_is_deleted_only_after_its_name_was_typed(page: Page, faults: Faults, project: Project) -> None:
    faults.expect("status of 40[04]")
    page.goto(f"/projects/{project.name}")
    page.get_by_role("link", name="Delete this project…").click()
    expect(page.locator("#name")).to_be_focused()
    page.locator("#name").fill("another")
    press(page, "Delete the project")
    expect(page.locator("#name")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#name-error")).to_have_text("Type the project's name to confirm.")
    page.locator("#name").fill(project.name)
    press(page, "Delete the project")
    expect(page.locator(".flash")).to_have_text(f"{project.name} is deleted.")
    expect(page.get_by_role("heading", name=project.name)).to_have_count(0)
    page.goto(f"/projects/{project.name}")
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def test_a_project_without_steps_says_where_to_add_one(
    page: Page, faults: Faults, operator: Operator, project: Project
) -> None:
    faults.expect("status of 400")
    operator.change(project, steps=[])
    page.goto(f"/projects/{project.name}")
    press(page, "Deploy now")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("alert").get_by_role("link", name="Add a step").click()
    expect(page.get_by_role("heading", name="Steps")).to_be_in_viewport()


def test_a_certain_commit_is_deployed_and_a_wrong_one_refused_at_its_field(
    page: Page, faults: Faults, project: Project, repository: Repository, operator: Operator
) -> None:
    faults.expect("status of 400")
    page.goto(f"/projects/{project.name}")
    page.get_by_text("Deploy a certain commit").click()
    field = page.get_by_label("Commit of main")
    field.fill("main")
    press(page, "Deploy this commit")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#commit-error")).to_contain_text("Give a commit's id")
    field.fill(repository.tip()[:9])
    press(page, "Deploy this commit")
    expect(state(page)).to_have_text("success")
    expect(page.locator("#about")).to_contain_text(repository.tip()[:7])
    press(page, "Deploy this commit again")
    expect(page.get_by_role("heading", level=1)).to_contain_text("success")
    commits = [one.commit_sha for one in operator.deployments() if one.project_id == project.id]
    assert commits == [repository.tip()] * 2
