"""Wrong input shows the form again, with each field's error at it and everything else kept."""

from __future__ import annotations

import re

import pytest

from deployer.models import Project
from tests.browser.faults import Faults
from tests.browser.parts import Page, expect
from tests.browser.places import command_of, fill_step, has_commands, press, step
from tests.support.repository import Repository

pytestmark = pytest.mark.browser


def refused(page: Page, field: str) -> str:
    """The words at a field that was refused."""
    expect(page.locator(f"#{field}")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(f"#{field}")).to_have_attribute("aria-describedby", re.compile(rf"\b{field}-error\b"))
    expect(page.locator(f"#{field}-error")).to_be_visible()
    return page.locator(f"#{field}-error").inner_text()


def test_each_refused_field_of_a_project_says_so_and_keeps_what_was_entered(
    page: Page, faults: Faults, repository: Repository
) -> None:
    faults.expect("status of 400")
    page.goto("/projects/new")
    given = {"name": "not a name", "repository_url": "ftp://example.com/x", "branch": "a..b", "path": "here"}
    for field, value in given.items():
        page.locator(f"#{field}").fill(value)
    fill_step(page, 2, "npm ci\nnpm run build", name="Build", timeout="10 min")
    page.get_by_label("bash -eo pipefail").check()
    page.get_by_label("Deploy each push").uncheck()
    press(page, "Create the project")
    expect(page.get_by_role("alert")).to_have_text("Not saved yet: 4 fields need another look.")
    for field, value in given.items():
        assert refused(page, field)
        expect(page.locator(f"#{field}")).to_have_value(value)
    has_commands(page, "git pull origin main", "npm ci\nnpm run build")
    expect(page.get_by_label("bash -eo pipefail")).to_be_checked()
    expect(page.get_by_label("Deploy each push")).not_to_be_checked()
    page.locator("#name").fill("mended")
    page.locator("#repository_url").fill(repository.url)
    page.locator("#branch").fill("main")
    page.locator("#path").fill("")
    press(page, "Create the project")
    expect(page.get_by_role("heading", level=1, name="mended")).to_be_visible()
    expect(page.get_by_text("by hand only")).to_be_visible()


def test_a_refused_step_is_pointed_out(page: Page, faults: Faults, project: Project) -> None:
    faults.expect("status of 400")
    page.goto(f"/projects/{project.name}/edit")
    press(page, "Add a step")
    fill_step(page, 2, "npm test", timeout="soon")
    press(page, "Save")
    expect(page.locator("#steps-error")).to_have_text("Step 2: give the timeout as 90 s, 10 min or 1 h.")
    timeout = step(page, 2).locator("[name=step_timeout]")
    expect(timeout).to_have_value("soon")
    expect(timeout).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[aria-invalid=true]")).to_have_count(1)
    expect(timeout).to_have_attribute("aria-describedby", "steps-error")
    timeout.fill("90 s")
    press(page, "Save")
    expect(page.locator(".flash")).to_contain_text("Saved.")
    expect(page.locator("#steps")).to_contain_text("npm test")


def test_a_timeout_that_cannot_be_read_hides_no_other_error(page: Page, faults: Faults) -> None:
    faults.expect("status of 400")
    page.goto("/projects/new")
    page.locator("#name").fill("not a name")
    fill_step(page, 1, "npm test", timeout="soon")
    press(page, "Create the project")
    expect(page.get_by_role("alert").first).to_have_text("Not saved yet: 3 fields need another look.")
    assert refused(page, "name")
    assert refused(page, "repository_url")
    expect(page.locator("#steps-error")).to_be_visible()


def test_return_in_a_field_saves_and_does_not_move_a_step(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    page.locator("#branch").fill("release")
    page.locator("#branch").press("Enter")
    expect(page.locator(".flash")).to_contain_text("Saved.")
    expect(page.locator(".head .branch")).to_have_text("release")


def test_the_last_step_is_emptied_where_it_would_be_removed(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    has_commands(page, "true")
    press(page, "Remove step 1")
    has_commands(page, "")
    expect(command_of(page, 1)).to_be_focused()
    press(page, "Save")
    expect(page.get_by_text("No steps yet: a push would change nothing.")).to_be_visible()


def test_settings_refuse_a_folder_that_is_not_absolute_and_keep_the_text(page: Page, faults: Faults) -> None:
    faults.expect("status of 400")
    page.goto("/settings")
    page.locator("#path").fill("/opt/node/bin\nbin")
    press(page, "Save")
    assert refused(page, "path").startswith("bin:")
    expect(page.locator("#path")).to_have_value("/opt/node/bin\nbin")
