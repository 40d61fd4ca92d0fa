"""Steps that are tried again, and deployments that are: entered, watched, and asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.models import Project
from deployer.project_input import StepInput
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import entry, has_commands, log, log_in, press, state, step
from tests.support.daemon import Daemon
from tests.support.operator import Operator
from tests.support.standing import PASSWORD, USER

pytestmark = pytest.mark.browser


def open_retries(page: Page, number: int) -> None:
    step(page, number).locator("summary", has_text="Retries").click()


def fill_retries(page: Page, number: int, retries: str, wait: str) -> None:
    step(page, number).get_by_label("Further tries").fill(retries)
    step(page, number).get_by_label("Wait before each").fill(wait)


def has_retries(page: Page, *wanted: tuple[str, str]) -> None:
    for number, (retries, wait) in enumerate(wanted, 1):
        expect(step(page, number).locator("[name=step_retries]")).to_have_value(retries)
        expect(step(page, number).locator("[name=step_retry_wait]")).to_have_value(wait)


def enter(page: Page, name: str) -> None:
    """Two steps, of which the second is tried again; then moved, added to and saved."""
    page.goto(f"/projects/{name}/edit")
    has_commands(page, "echo one", "echo two")
    expect(step(page, 2).get_by_label("Wait before each")).to_be_hidden()
    open_retries(page, 2)
    fill_retries(page, 2, "2", "30")
    press(page, "Move step 2 up")
    has_commands(page, "echo two", "echo one")
    has_retries(page, ("2", "30"), ("", ""))
    expect(step(page, 1).get_by_label("Wait before each")).to_be_visible()
    press(page, "Add a step")
    has_commands(page, "echo two", "echo one", "")
    has_retries(page, ("2", "30"), ("", ""), ("", ""))
    expect(step(page, 3).get_by_label("Wait before each")).to_be_hidden()
    page.get_by_label("Run again after an interruption").check()
    page.get_by_label("Look at the remote every … minutes").fill("5")
    page.get_by_label("Keep … deployments").fill("50")
    press(page, "Save")
    expect(page.locator(".flash")).to_contain_text("Saved.")
    expect(page.locator(".plan > li").first).to_contain_text("tried again 2 times at most, 30 s apart")
    expect(page.locator(".head")).to_contain_text("looked at every 5 min")


@pytest.fixture
def two_steps(make_project: Callable[..., Project]) -> Project:
    return make_project("echo one", "echo two")


@pytest.mark.parametrize("width", [1280, 390])
def test_retries_are_entered_at_their_step_and_move_with_it(page: Page, two_steps: Project, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    enter(page, two_steps.name)


def test_a_step_that_is_added_behind_one_with_retries_has_none(page: Page, two_steps: Project) -> None:
    page.goto(f"/projects/{two_steps.name}/edit")
    open_retries(page, 2)
    fill_retries(page, 2, "3", "1 min")
    press(page, "Add a step")
    has_retries(page, ("", ""), ("3", "1 min"), ("", ""))
    expect(step(page, 3).get_by_label("Wait before each")).to_be_hidden()
    expect(step(page, 3).locator("summary")).to_have_text("Retries of step 3")


def test_without_scripts_they_are_entered_too(plain: Page, two_steps: Project) -> None:
    plain.goto("/")
    log_in(plain, USER, PASSWORD)
    enter(plain, two_steps.name)


def test_a_refused_number_of_retries_is_pointed_out(page: Page, faults: Faults, two_steps: Project) -> None:
    faults.expect("status of 400")
    page.goto(f"/projects/{two_steps.name}/edit")
    open_retries(page, 2)
    fill_retries(page, 2, "11", "")
    press(page, "Save")
    expect(page.locator("#steps-error")).to_have_text("Step 2: the number of retries is from 0 to 10.")
    wrong = step(page, 2).get_by_label("Further tries")
    expect(wrong).to_be_visible()
    expect(wrong).to_have_value("11")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(page.locator("[aria-invalid=true]")).to_have_count(1)


def test_each_try_appears_in_its_place_while_one_watches(
    page: Page, operator: Operator, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    may_succeed = tmp_path / "may-succeed"
    flaky = StepInput(f"echo trying; [ -e {may_succeed} ]", name="flaky", retries=10, retry_wait_s=1)
    deployment_id = operator.deploy(make_project(flaky, StepInput("echo done", name="last")))
    page.goto(f"/deployments/{deployment_id}")
    tries = entry(page, "flaky")
    expect(tries.nth(1).locator(".command-note")).to_have_text("try 2 of 11")
    expect(tries.nth(0).locator(".command-note")).to_have_text("try 1 of 11")
    expect(tries.nth(0).locator(".log")).to_contain_text("trying\nTrying again in 1 s: try 2 of 11.")
    may_succeed.touch()
    expect(state(page)).to_have_text("success")
    expect(log(page, "last")).to_have_text("done")
    # Loaded, it reads the same.
    names = page.locator("#commands .command-name").all_text_contents()
    notes = page.locator("#commands .command-note").all_text_contents()
    statuses = page.locator("#commands .command-status").all_text_contents()
    assert names[-1] == "last"
    assert statuses[-3:] == ["failed", "success", "success"]
    page.reload()
    assert page.locator("#commands .command-name").all_text_contents() == names
    assert page.locator("#commands .command-note").all_text_contents() == notes


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_failed_deployment_is_retried_from_its_failed_step(
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    operator: Operator,
    make_project: Callable[..., Project],
    tmp_path: Path,
    scripts: bool,
    width: int,
) -> None:
    mended = tmp_path / "mended"
    project = make_project(StepInput("echo one", name="build"), StepInput(f"[ -e {mended} ]", name="restart"))
    first = operator.wait_for_end(operator.deploy(project))
    mended.touch()
    viewport = {"width": width, "height": 900}
    page = open_context(daemon, cookie, java_script_enabled=scripts, viewport=viewport).new_page()
    page.goto(f"/deployments/{first.id}")
    expect(page.get_by_role("button", name="Deploy this commit again")).to_have_count(0)
    press(page, "Retry from the failed step")
    expect(page.get_by_role("heading", level=1)).not_to_contain_text(f"DEP-{first.number:04d}")
    operator.wait_for_end(operator.deployments()[-1].id)
    if not scripts:
        page.reload()
    expect(state(page)).to_have_text("success")
    expect(entry(page, "build").locator(".command-status")).to_have_text("skipped")
    expect(entry(page, "build").locator(".command-note")).to_have_text(f"succeeded in DEP-{first.number:04d}")
    expect(page.locator("#about")).to_contain_text("retry by ada")
    page.get_by_role("link", name=f"DEP-{first.number:04d}").click()
    expect(page.locator("#about dd a.ref")).to_have_text(f"DEP-{first.number + 1:04d}")
    press(page, "Retry")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"DEP-{first.number + 2:04d}")
    operator.wait_for_end(operator.deployments()[-1].id)
    page.reload()
    expect(entry(page, "build").locator(".command-status")).to_have_text("success")
