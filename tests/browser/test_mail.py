"""Mail is set up, tried and switched on for a project in the browser, on a phone and on a desk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from deployer.models import Setting
from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, expect
from tests.browser.places import press
from tests.support.daemon import Daemon
from tests.support.mail_server import MailServer
from tests.support.operator import Operator
from tests.support.repository import Repository

pytestmark = pytest.mark.browser


@pytest.fixture
def no_mail(daemon: Daemon) -> Iterator[None]:
    """At first, and at the end, no mail server is set up."""
    yield
    with daemon.installation.database.write() as connection:
        connection.execute(sa.delete(Setting).where(Setting.name.startswith("mail.")))


@pytest.mark.usefixtures("no_mail")
@pytest.mark.parametrize(("width", "scripts"), [(390, True), (1280, True), (1280, False)])
def test_mail_is_set_up_tried_and_comes(
    width: int,
    scripts: bool,
    open_context: Callable[..., BrowserContext],
    daemon: Daemon,
    cookie: str,
    operator: Operator,
    repository: Repository,
    faults: Faults,
) -> None:
    faults.expect("status of 400")
    viewport = {"width": width, "height": 900}
    page = open_context(daemon, cookie, viewport=viewport, java_script_enabled=scripts).new_page()
    name = f"mailed-{width}-{scripts}"
    operator.make_project(repository.url, ["echo the reason; exit 3"], name=name, mail_on_failure=False)
    answer = page.locator("#test-said")
    with MailServer(login=True) as server:
        page.goto("/settings")
        page.get_by_role("navigation", name="Settings").get_by_role("link", name="Mail").click()
        press(page, "Send a test mail")
        expect(answer).to_have_text("SMTP not configured")

        page.get_by_label("Host", exact=True).fill("127.0.0.1")
        page.get_by_label("Port (optional)").fill(str(server.port))
        page.get_by_role("radio", name="None").check()
        page.get_by_label("User name (optional)").fill("deployer")
        page.get_by_label("Password", exact=True).fill("a wrong one")
        page.get_by_label("From", exact=True).fill("Deployer <deploy@example.com>")
        page.get_by_label("To", exact=True).fill("ops@example.com")
        press(page, "Save")
        expect(page.get_by_text("set up", exact=True)).to_be_visible()
        press(page, "Send a test mail")
        expect(answer).to_contain_text("535 5.7.8 Authentication credentials invalid")

        page.get_by_label("Another password").fill("open sesame")
        press(page, "Save")
        press(page, "Send a test mail")
        expect(answer).to_contain_text("Test email sent")
        assert [mail["Subject"] for mail in server.mails] == ["[Deployer] test mail"]

        page.goto(f"/projects/{name}/edit")
        page.get_by_label("Failures").check()
        page.get_by_label("Also send to").fill("ada@example.com")
        press(page, "Save")
        press(page, "Deploy now")
        _, mail = server.wait_for(2)
        assert server.envelopes[1].rcpt_tos == ["ops@example.com", "ada@example.com"]
        assert mail["Subject"].startswith(f"[{name}] failed: DEP-")
        page.goto("/settings/mail")
        sent = page.locator(".notification").filter(has_text=name)
        if not scripts:
            # The page says what was true when it was asked for; the mail may be on record a moment later.
            operator.wait_for_end(operator.deployments()[-1].id)
        expect(sent).to_contain_text("failure of")
