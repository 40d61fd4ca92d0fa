"""PATH, password, logging in and out."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from deployer.models import Project
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import log, log_in, press, state
from tests.support.daemon import Daemon
from tests.support.standing import PASSWORD, USER, make_user

pytestmark = pytest.mark.browser


def test_extra_folders_come_first_in_the_path_of_commands(page: Page, make_project: Callable[..., Project]) -> None:
    project = make_project('echo "it is $PATH"')
    page.goto("/settings")
    page.get_by_label("Extra directories").fill("/opt/node/bin\n/opt/tools")
    press(page, "Save")
    expect(page.locator(".flash")).to_contain_text("Saved.")
    expect(page.get_by_label("Extra directories")).to_have_value("/opt/node/bin\n/opt/tools")
    page.goto(f"/projects/{project.name}")
    press(page, "Deploy now")
    expect(log(page, "echo")).to_contain_text("it is /opt/node/bin:/opt/tools:/")
    expect(state(page)).to_have_text("success")


def test_a_changed_password_ends_other_sessions_and_takes_the_place_of_the_old_one(
    daemon: Daemon, open_context: Callable[..., BrowserContext], faults: Faults
) -> None:
    faults.expect("status of 40[01]")
    make_user(daemon, "grace", "an old long phrase")
    page, other = open_context(daemon).new_page(), open_context(daemon).new_page()
    for one in (page, other):
        one.goto("/login?next=/account")
        log_in(one, "grace", "an old long phrase")
        expect(one.get_by_role("heading", name="Your account")).to_be_visible()
    page.get_by_label("Current password").fill("not this one")
    page.get_by_label("New password", exact=True).fill("a new long phrase")
    page.get_by_label("New password again").fill("a new long phrase")
    press(page, "Change the password")
    expect(page.get_by_label("Current password")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#present_password-error")).to_have_text("This is not your current password.")
    page.get_by_label("Current password").fill("an old long phrase")
    page.get_by_label("New password", exact=True).fill("a new long phrase")
    page.get_by_label("New password again").fill("a new long phrase")
    press(page, "Change the password")
    expect(page.locator(".flash")).to_contain_text("Your password is changed")
    other.reload()
    expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(other, "grace", "an old long phrase")
    expect(other.get_by_role("alert")).to_have_text("Wrong user name or password")
    expect(other.get_by_label("User name")).to_have_value("grace")
    other.get_by_label("Password").fill("a new long phrase")
    press(other, "Log in")
    expect(other.get_by_role("heading", name="Your account")).to_be_visible()


def test_after_a_logout_the_back_button_shows_nothing(stranger: Page, project: Project) -> None:
    page = stranger
    page.goto(f"/login?next=/projects/{project.name}")
    log_in(page, USER, PASSWORD)
    expect(page.get_by_role("heading", level=1, name=project.name)).to_be_visible()
    answer = page.reload()
    assert answer is not None
    assert answer.headers["cache-control"] == "no-store"
    press(page, "Log out")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(r"/login\?next="))
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(page.get_by_text(project.name)).to_have_count(0)


def test_a_stranger_is_sent_to_the_login_and_from_there_to_the_page_asked_for(
    stranger: Page, project: Project
) -> None:
    page = stranger
    page.goto(f"/projects/{project.name}/edit")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    expect(page.get_by_label("User name")).to_be_focused()
    log_in(page, USER, PASSWORD)
    expect(page.get_by_role("heading", level=1, name=f"Edit {project.name}")).to_be_visible()


def test_a_failed_login_forgets_neither_the_name_nor_the_page_asked_for(stranger: Page, faults: Faults) -> None:
    faults.expect("status of 401")
    page = stranger
    page.goto("/settings")
    log_in(page, USER, "a wrong one")
    expect(page.get_by_role("alert")).to_have_text("Wrong user name or password")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("User name")).to_have_value(USER)
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Log in")
    expect(page).to_have_url(re.compile(r"/settings$"))


@pytest.mark.parametrize(
    "target", ["https://example.com/", "//example.com/", "/\\example.com/", "javascript:alert(1)"]
)
def test_the_login_leads_to_no_other_site(stranger: Page, target: str) -> None:
    page = stranger
    page.goto("/login")
    page.locator("[name=next]").evaluate("(field, target) => { field.value = target }", target)
    log_in(page, USER, PASSWORD)
    expect(page.get_by_role("heading", level=1, name="Projects")).to_be_visible()
    expect(page).to_have_url(re.compile(r"^http://127\.0\.0\.1:\d+/$"))


def test_who_is_logged_in_is_not_asked_again(page: Page) -> None:
    page.goto("/login?next=/settings")
    expect(page).to_have_url(re.compile(r"/settings$"))
