"""What changes on a page by itself reaches those too who listen to it."""

from __future__ import annotations

import pytest

from tests.browser.parts import expect
from tests.support.standing import logged_in, make_user

pytestmark = pytest.mark.browser


def test_trouble_that_begins_and_ends_is_announced(make_daemon, open_context) -> None:
    daemon = make_daemon().start()
    make_user(daemon)
    page = open_context(daemon, logged_in(daemon).cookie).new_page()
    page.goto("/")
    announcer = page.locator("#announcer")
    expect(announcer).to_have_text("")
    key_file = daemon.installation.data_dir.key_file

    key_file.chmod(0o644)
    expect(page.locator("#health .trouble")).to_contain_text(
        "The key file can be read by other users", timeout=30_000
    )
    expect(announcer).to_contain_text("The key file can be read by other users")

    key_file.chmod(0o600)
    expect(announcer).to_contain_text("Nothing is wrong any more", timeout=30_000)
