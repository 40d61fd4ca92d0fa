"""Whoever watches a log while the daemon dies misses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.faults import Faults
from tests.browser.parts import BrowserContext, expect
from tests.browser.places import log, state
from tests.support.daemon import Daemon
from tests.support.operator import Operator
from tests.support.repository import Repository
from tests.support.standing import logged_in, make_user
from tests.support.waiting import wait_until

pytestmark = pytest.mark.browser


def kill(daemon: Daemon) -> None:
    """SIGKILL to web and runner, as a host without memory does it."""
    runner = daemon.runner_pid
    daemon.end(signal.SIGKILL)
    if runner is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(runner, signal.SIGKILL)
    wait_until(lambda: daemon.runner_pid is None, "the end of the runner")


def test_a_reader_of_a_live_log_gets_every_line_once_although_the_daemon_is_killed(
    make_daemon: Callable[..., Daemon],
    open_context: Callable[..., BrowserContext],
    faults: Faults,
    repository: Repository,
    tmp_path: Path,
) -> None:
    faults.expect("net::ERR_")
    daemon = make_daemon().start()
    make_user(daemon)
    operator = Operator(daemon.installation)
    is_open = tmp_path / "open"
    counting = (
        f"i=0; while [ ! -e {is_open} ]; do i=$((i+1)); echo line $i; sleep 0.01; done; echo $i > {tmp_path}/last"
    )
    deployment_id = operator.deploy(operator.make_project(repository.url, [counting, "echo afterwards"]))
    page = open_context(daemon, logged_in(daemon).cookie).new_page()
    page.goto(f"/deployments/{deployment_id}")
    page.evaluate("document.body.dataset.untouched = 'yes'")
    expect(log(page, "i=0")).to_contain_text("line 50\n")
    kill(daemon)
    expect(page.locator("#live")).to_have_text("Reconnecting…")
    daemon.start()
    expect(page.locator("#live")).to_have_text("Live")
    seen = len((log(page, "i=0").text_content() or "").splitlines())
    expect(log(page, "i=0")).to_contain_text(f"line {seen + 20}\n")
    is_open.touch()
    expect(state(page)).to_have_text("success")
    expect(log(page, "echo afterwards")).to_have_text("afterwards")
    last = int((tmp_path / "last").read_text())
    assert (log(page, "i=0").text_content() or "").splitlines() == [f"line {n}" for n in range(1, last + 1)]
    assert page.evaluate("document.body.dataset.untouched") == "yes"
