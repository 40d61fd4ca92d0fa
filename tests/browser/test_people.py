"""Two-factor login, invitations, sessions and roles, as people go through them: on a phone and at a desk."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest

from deployer.models import Project
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, Page, expect
from tests.browser.places import log_in, press, state
from tests.support.authenticator import Authenticator, forget_codes
from tests.support.daemon import Daemon
from tests.support.standing import PASSWORD, logged_in, make_user

pytestmark = pytest.mark.browser

SIZES = {"phone": {"width": 390, "height": 844}, "desk": {"width": 1280, "height": 900}}
_numbers = itertools.count(1)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> dict[str, int]:
    return SIZES[request.param]


@pytest.fixture
def visit(open_context: Callable[..., BrowserContext], daemon: Daemon, size: dict[str, int]) -> Callable[..., Page]:
    """A page of somebody: a stranger, or who is named."""

    def open_one(name: str | None = None, **options: object) -> Page:
        cookie = logged_in(daemon, name).cookie if name else None
        return open_context(daemon, cookie, viewport=size, **options).new_page()

    return open_one


@pytest.fixture
def person(daemon: Daemon) -> Callable[..., str]:
    """A user of the test's own."""

    def make(*, is_admin: bool = True) -> str:
        name = f"person-{next(_numbers)}"
        make_user(daemon, name, is_admin=is_admin)
        return name

    return make


def has_no_overflow(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_two_factor_login_is_set_up_used_and_switched_off(
    daemon: Daemon, visit: Callable[..., Page], person: Callable[..., str], faults: Faults
) -> None:
    faults.expect("status of 40[01]")
    name = person()
    page = visit(name)
    page.goto("/")
    page.get_by_role("link", name=f"Your account: {name}").click()
    page.get_by_role("link", name="Set it up").click()
    picture = page.get_by_role("img", name="QR code")
    expect(picture).to_be_visible()
    assert picture.locator("svg").bounding_box()["width"] > 150  # type: ignore[index]
    has_no_overflow(page)
    device = Authenticator(page.locator("#totp-key").inner_text())
    page.get_by_label("Code", exact=True).fill(device.wrong())
    press(page, "Switch it on")
    expect(page.locator("#code-error")).to_contain_text("This is not the current code.")
    expect(page.locator("#totp-key")).to_be_visible()
    page.get_by_label("Code", exact=True).fill(device.code())
    press(page, "Switch it on")
    expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    codes = page.locator("#recovery-codes").inner_text().split("\n")
    assert len(codes) == 10
    has_no_overflow(page)
    page.get_by_role("link", name="I have kept them").click()
    expect(page.locator("#two-factor")).to_contain_text("10 recovery codes are left")
    forget_codes(daemon.installation, name)

    other = visit()
    other.goto("/login?next=/account")
    log_in(other, name, PASSWORD)
    expect(other.get_by_label("Code from your authenticator app")).to_be_focused()
    other.get_by_label("Code from your authenticator app").fill(device.wrong())
    press(other, "Log in")
    expect(other.get_by_role("alert")).to_contain_text("This code is wrong")
    other.get_by_label("Code from your authenticator app").fill(device.code())
    press(other, "Log in")
    expect(other.get_by_role("heading", name="Your account")).to_be_visible()

    lost = visit()
    lost.goto("/login")
    log_in(lost, name, PASSWORD)
    lost.get_by_label("Code from your authenticator app").fill(codes[0])
    press(lost, "Log in")
    expect(lost.locator(".flash")).to_contain_text("That recovery code is used up; 9 are left.")
    lost.goto("/account/two-factor")
    lost.get_by_label("Your password").fill(PASSWORD)
    press(lost, "Switch it off")
    expect(lost.locator(".flash")).to_have_text("Two-factor login is off.")
    expect(lost.get_by_role("link", name="Set it up")).to_be_visible()


def test_somebody_is_invited_joins_and_sees_what_a_member_sees(
    visit: Callable[..., Page], person: Callable[..., str], project: Project, faults: Faults
) -> None:
    faults.expect("status of 40[03]")
    page, guest = visit(person()), visit()
    name = f"guest-{next(_numbers)}"
    page.goto("/settings/users")
    page.get_by_label("E-mail address").fill(f"{name}@example.com")
    press(page, "Make a link")
    link = page.locator("#invitation").inner_text()
    has_no_overflow(page)
    expect(page.locator(".invitation").filter(has_text=name)).to_have_count(1)

    guest.goto(link)
    expect(guest.get_by_label("E-mail address")).to_have_value(f"{name}@example.com")
    guest.get_by_label("User name").fill(name)
    guest.get_by_label("Password", exact=True).fill(PASSWORD)
    guest.get_by_label("The same password again").fill("something else")
    press(guest, "Create the account")
    expect(guest.locator("#password_again-error")).to_have_text("The two passwords differ.")
    guest.get_by_label("Password", exact=True).fill(PASSWORD)
    guest.get_by_label("The same password again").fill(PASSWORD)
    press(guest, "Create the account")
    expect(guest.get_by_role("heading", level=1, name="Projects")).to_be_visible()
    assert "token" not in guest.url
    expect(guest.get_by_role("link", name="New project")).to_have_count(0)
    expect(guest.get_by_role("link", name="Settings")).to_have_count(0)

    guest.goto(f"/projects/{project.name}")
    for button in ("Make a new secret", "Check access", "Set the variable"):
        expect(guest.get_by_role("button", name=button)).to_have_count(0)
    press(guest, "Deploy now")
    expect(state(guest)).to_have_text("success")
    expect(guest.locator("#about")).to_contain_text(name)
    guest.goto("/settings/users")
    expect(guest.get_by_text("Only an administrator may do this.")).to_be_visible()
    again = visit()
    again.goto(link)
    expect(again.get_by_text("This invitation is no longer good")).to_be_visible()

    # Made an administrator, the guest may do the rest; removed, nothing.
    page.goto("/settings/users")
    press(page, f"Make an admin of {name}")
    expect(page.locator(".flash")).to_have_text(f"{name} is an administrator now.")
    guest.goto("/settings/users")
    expect(guest.get_by_role("heading", name="Invite somebody")).to_be_visible()
    page.get_by_role("link", name=f"Remove… {name}").click()
    press(page, "Remove the user")
    expect(page.locator(".flash")).to_have_text(f"{name} is removed.")
    guest.reload()
    expect(guest.get_by_role("heading", name="Log in")).to_be_visible()
    page.goto(f"/settings/audit?text={name}")
    for action in ("invitation.created", "user.created", "user.role_changed", "user.removed"):
        expect(page.locator(".event").filter(has_text=action)).to_have_count(1)
    has_no_overflow(page)


def test_an_invitation_is_copied_with_one_press_and_taken_back(
    visit: Callable[..., Page], person: Callable[..., str], faults: Faults
) -> None:
    faults.expect("status of 403")
    page = visit(person(), permissions=["clipboard-read", "clipboard-write"])
    page.goto("/settings/users")
    email = f"guest-{next(_numbers)}@example.com"
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("radio", name="Admin").check()
    press(page, "Make a link")
    link = page.locator("#invitation").inner_text()
    page.get_by_role("button", name="Copy the link").click()
    expect(page.locator("#announcer")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == link
    press(page, f"Revoke the invitation of {email}")
    expect(page.locator(".flash")).to_have_text(f"The invitation of {email} is no longer good.")
    guest = visit()
    guest.goto(link)
    expect(guest.get_by_role("heading", name="Not allowed")).to_be_visible()


def test_a_session_on_another_device_is_ended(visit: Callable[..., Page], person: Callable[..., str]) -> None:
    name = person(is_admin=False)
    phone, tablet, page = visit(), visit(), visit()
    for one in (phone, tablet, page):
        one.goto("/login?next=/account")
        log_in(one, name, PASSWORD)
        expect(one.get_by_role("heading", name="Where you are logged in")).to_be_visible()
    page.reload()
    rows = page.locator(".session")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("this one")
    expect(rows.first).to_contain_text(re.compile("Chrome on (Linux|Windows|Mac)"))
    rows.last.get_by_role("button").click()
    expect(page.locator(".flash")).to_have_text("The session is ended.")
    phone.reload()
    expect(phone.get_by_role("heading", name="Log in")).to_be_visible()
    press(page, "End all others")
    expect(rows).to_have_count(1)
    tablet.reload()
    expect(tablet.get_by_role("heading", name="Log in")).to_be_visible()
    has_no_overflow(page)


def test_the_audit_log_is_filtered_without_scripts_too(
    visit: Callable[..., Page], person: Callable[..., str], project: Project
) -> None:
    name = person()
    page = visit(name, java_script_enabled=False)
    page.goto(f"/projects/{project.name}")
    press(page, "Deploy now")
    page.goto("/settings/audit")
    page.get_by_label("Who", exact=True).select_option(name)
    page.get_by_label("What", exact=True).select_option("deployment.requested")
    press(page, "Filter")
    expect(page.locator(".event")).to_have_count(1)
    page.locator(".event").get_by_role("link", name=project.name).click()
    expect(page.get_by_role("heading", level=1, name=project.name)).to_be_visible()
