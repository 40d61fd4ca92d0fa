"""Where things are on the pages, and what a reader does there."""

from __future__ import annotations

from tests.browser.parts import Locator, Page, expect


def step(page: Page, number: int) -> Locator:
    """A row of the step list in the project's form; the first is 1."""
    return page.locator("#steps > .step").nth(number - 1)


def command_of(page: Page, number: int) -> Locator:
    return step(page, number).locator("[name=step_command]")


def has_commands(page: Page, *wanted: str) -> None:
    """Wait until the step list holds these."""
    fields = page.locator("[name=step_command]")
    expect(fields).to_have_count(len(wanted))
    for number, command in enumerate(wanted):
        expect(fields.nth(number)).to_have_value(command)


def fill_step(page: Page, number: int, command: str, *, name: str = "", timeout: str = "") -> None:
    row = step(page, number)
    row.locator("[name=step_command]").fill(command)
    row.locator("[name=step_name]").fill(name)
    row.locator("[name=step_timeout]").fill(timeout)


def press(page: Page, name: str) -> None:
    """The button that reads so."""
    page.get_by_role("button", name=name, exact=True).click()


def confirm(page: Page, name: str) -> None:
    """The button that reads so, behind the disclosure that says what it costs."""
    page.locator(".confirm > summary", has_text=f"{name}…").click()
    press(page, name)


def entry(page: Page, name: str) -> Locator:
    """A command on a deployment's page."""
    return page.locator("#commands > .command").filter(has=page.locator(".command-name", has_text=name))


def log(page: Page, name: str) -> Locator:
    return entry(page, name).locator(".log")


def state(page: Page) -> Locator:
    """A deployment's status, at the top of its page."""
    return page.locator("#about h1 .status")


def log_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(password)
    press(page, "Log in")
