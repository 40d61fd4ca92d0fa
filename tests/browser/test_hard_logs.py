"""Output that is hard to show: a page that follows it goes on answering, and shows how it ends."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from deployer.web import ansi
from tests.browser.parts import Page, expect
from tests.browser.places import log, state
from tests.support.operator import Operator

pytestmark = pytest.mark.browser

GATE = "echo started; while [ ! -e {go} ]; do sleep 0.02; done"

STALL_MS = 5000

# How long nothing else could happen on the page, in milliseconds.
WATCH = """
window.stall = 0;
let last = performance.now();
setInterval(() => {
  window.stall = Math.max(window.stall, performance.now() - last - 20);
  last = performance.now();
}, 20);
"""


def follow(page: Page, operator: Operator, project, go: Path) -> str:
    """Open the page of a deployment that waits at its gate, and let it go on."""
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"started")
    page.goto(f"/deployments/{deployment_id}")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate(WATCH)
    go.touch()
    return deployment_id


def test_a_line_of_fifty_megabytes_does_not_freeze_the_page_and_its_end_is_seen(
    page: Page, operator: Operator, make_project, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    flood = "head -c 50000000 /dev/zero | tr '\\0' y; echo; echo the end of it"
    project = make_project(f"{GATE.format(go=go)}; {flood}")
    deployment_id = follow(page, operator, project, go)

    expect(state(page)).to_have_text("success", timeout=60_000)
    expect(log(page, "echo started")).to_contain_text("the end of it", timeout=60_000)

    shown = log(page, "echo started").evaluate("node => node.textContent.length")
    assert shown < 3_000_000
    assert page.evaluate("window.stall") < STALL_MS
    page.reload()
    expect(log(page, "echo started")).to_contain_text("the end of it")
    assert log(page, "echo started").evaluate("node => node.textContent.length") < 300_000
    assert operator.status(deployment_id) == "success"


def test_a_progress_bar_of_a_million_steps_is_seen_as_its_last_one(
    page: Page, operator: Operator, make_project, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    bar = 'awk \'BEGIN { for (n = 1; n <= 1000000; n++) printf "%d %%\\r", n; print "all of it" }\''
    follow(page, operator, make_project(f"{GATE.format(go=go)}; {bar}"), go)

    expect(state(page)).to_have_text("success", timeout=60_000)

    expect(log(page, "echo started")).to_have_text("started\nall of it\n", timeout=60_000)
    assert page.evaluate("window.stall") < STALL_MS


LINES = [
    b"plain\nlines\n",
    b"1 %\r2 %\r3 %\ndone\n",
    b"windows\r\nlines\r\n",
    b"ends open\r",
    b"\r\rbegins with it\n",
    b"two\r\r\rat once\nand\r\r\n",
    b"\x1b[32mgreen\r\x1b[31mred\x1b[0m\rplain\n",
    b"a longer line before\rshort\nnext",
]

WRITE = """async ([text, portion]) => {
    const { Screen } = await import("/static/ansi.js");
    const node = document.createElement("pre");
    const screen = new Screen(node);
    for (let at = 0; at < text.length; at += portion) screen.write(text.slice(at, at + portion));
    return node.textContent;
}"""


@pytest.mark.parametrize("portion", [1, 3, 1000])
def test_what_is_written_as_it_comes_is_what_the_server_renders_of_the_whole(page: Page, portion: int) -> None:
    page.goto("/")
    for line in LINES:
        rendered = html.unescape(re.sub("<[^>]*>", "", ansi.render(line)))
        assert page.evaluate(WRITE, [line.decode(), portion]) == rendered.removesuffix("\r"), line
