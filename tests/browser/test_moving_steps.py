"""Steps are moved by drawing them at their handles, with a mouse and with a finger."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deployer.models import Project
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import has_commands, press, step
from tests.support.daemon import Daemon

pytestmark = pytest.mark.browser

STEPS = ("echo one", "echo two\necho and\necho more", "echo three", "echo four")


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(*STEPS)


def middle_of_handle(page: Page, number: int) -> tuple[float, float]:
    box = step(page, number).locator(".handle").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def lower_end(page: Page, number: int) -> float:
    box = step(page, number).bounding_box()
    assert box
    return box["y"] + box["height"] - 4


@pytest.fixture
def page(page: Page) -> Page:
    """High enough for the whole list: near its edges the page would go along."""
    page.set_viewport_size({"width": 1280, "height": 1500})
    return page


def test_a_step_is_drawn_with_the_mouse_and_saved_where_it_was_let_go(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    page.mouse.move(*middle_of_handle(page, 1))
    page.mouse.down()
    page.mouse.move(middle_of_handle(page, 1)[0], lower_end(page, 3), steps=8)
    expect(page.locator(".drawn [name=step_command]")).to_have_value("echo one")
    page.mouse.up()

    has_commands(page, STEPS[1], STEPS[2], STEPS[0], STEPS[3])
    expect(page.locator("#announcer")).to_have_text("Step 1 is now step 3")
    expect(page.locator(".drawn")).to_have_count(0)
    expect(step(page, 1).get_by_role("button", name="Move step 1 up")).to_be_disabled()
    # The buttons know the new order, and so does what is saved.
    press(page, "Move step 4 up")
    has_commands(page, STEPS[1], STEPS[2], STEPS[3], STEPS[0])
    press(page, "Save")
    expect(page.locator(".plan > li")).to_have_count(4)
    expect(page.locator(".plan > li").first).to_contain_text("echo two")
    expect(page.locator(".plan > li").last).to_contain_text("echo one")


def test_upwards_and_beyond_the_end_it_stays_in_the_list(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    step(page, 4).scroll_into_view_if_needed()
    x, _ = middle_of_handle(page, 4)
    page.mouse.move(*middle_of_handle(page, 4))
    page.mouse.down()
    page.mouse.move(x, 0, steps=12)
    page.mouse.up()

    has_commands(page, STEPS[3], *STEPS[:3])


def test_escape_puts_it_back(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    page.mouse.move(*middle_of_handle(page, 1))
    page.mouse.down()
    page.mouse.move(middle_of_handle(page, 1)[0], lower_end(page, 3), steps=8)
    page.keyboard.press("Escape")

    has_commands(page, *STEPS)
    page.mouse.move(middle_of_handle(page, 1)[0], lower_end(page, 4), steps=4)
    page.mouse.up()
    has_commands(page, *STEPS)
    expect(page.locator("#announcer")).to_have_text("")


def test_other_buttons_of_the_mouse_and_a_mere_press_move_nothing(page: Page, project: Project) -> None:
    page.goto(f"/projects/{project.name}/edit")
    page.mouse.move(*middle_of_handle(page, 1))
    page.mouse.down(button="right")
    page.mouse.move(middle_of_handle(page, 1)[0], lower_end(page, 3), steps=4)
    page.mouse.up(button="right")
    step(page, 2).locator(".handle").click()

    has_commands(page, *STEPS)


def test_a_step_is_drawn_with_a_finger_and_the_page_does_not_scroll_away(
    open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, project: Project
) -> None:
    context = open_context(daemon, cookie, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(f"/projects/{project.name}/edit")
    step(page, 1).evaluate("(row) => row.scrollIntoView({block: 'start'})")
    scrolled = page.evaluate("scrollY")
    x, y = middle_of_handle(page, 1)
    end = lower_end(page, 2)
    assert end < 844 - 56
    finger = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    touch("touchStart", (x, y))
    for part in range(1, 11):
        touch("touchMove", (x, y + (end - y) * part / 10))
    touch("touchEnd")

    has_commands(page, STEPS[1], STEPS[0], *STEPS[2:])
    expect(page.locator("#announcer")).to_have_text("Step 1 is now step 2")
    assert page.evaluate("scrollY") == scrolled


def test_the_handle_is_there_only_where_scripts_are(
    open_context: Callable[..., BrowserContext], daemon: Daemon, cookie: str, project: Project
) -> None:
    page = open_context(daemon, cookie, java_script_enabled=False).new_page()
    page.goto(f"/projects/{project.name}/edit")
    has_commands(page, *STEPS)
    expect(page.locator(".handle").first).to_be_hidden()
