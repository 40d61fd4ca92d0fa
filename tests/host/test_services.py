"""The units at work: what they start, survive and keep out."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest

from tests.support.browser import Browser
from tests.support.events import Viewer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.host


def test_a_push_that_finds_no_web_process_starts_it_and_is_deployed(machine, member, sha):
    project = machine.make_project("pushed", "echo hello; touch /tmp/of-a-step")
    machine.sh("systemctl stop deployer-web.service")
    assert not machine.answers("systemctl is-active deployer-web.service")

    found = machine.wait_for_end(member, project.pushed(sha))

    assert found["deployment"]["status"] == "success"
    assert (found["deployment"]["trigger"], found["deployment"]["commit_sha"]) == ("push", sha)
    assert found["logs"][-1]["log"] == "hello\n"
    assert machine.answers("systemctl is-active deployer-web.service")
    assert machine.answers("test -e /tmp/of-a-step"), "a step's /tmp is the host's"


def test_a_step_may_restart_the_runner_that_runs_it(machine, member, sha):
    steps = ("echo before", "sudo systemctl restart deployer-runner; echo restarted", "echo after")
    project = machine.make_project("restarting", *steps)
    former = machine.pid("deployer-runner")

    found = machine.wait_for_end(member, project.pushed(sha))

    assert found["deployment"]["status"] == "success", found
    assert [one["log"] for one in found["logs"][2:]] == ["before\n", "restarted\n", "after\n"]
    assert machine.pid("deployer-runner") not in (0, former)


def test_a_step_may_restart_the_web_process_too(machine, member, sha):
    former = machine.pid("deployer-web")
    project = machine.make_project("restarting-web", "sudo systemctl restart deployer-web.service", "echo after")

    found = machine.wait_for_end(member, project.pushed(sha))

    assert found["deployment"]["status"] == "success", found
    assert machine.pid("deployer-web") not in (0, former)


@pytest.mark.parametrize(
    "command",
    ["systemctl stop deployer-runner", "systemctl restart deployer-runner dbus", "systemctl restart dbus", "id"],
)
def test_that_is_all_that_the_installation_lets_a_step_do_as_root(machine, command):
    words = machine.fails(f"cd /; runuser -u deployer -- sudo --non-interactive {command}")

    assert "password is required" in words


def test_requests_that_come_while_the_web_process_is_restarted_are_all_answered(machine, sha):
    project = machine.make_project("busy", "true")
    machine.sh("systemctl stop deployer-runner")
    over = threading.Event()
    answers: list[int | str] = []

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(Browser(machine).get("/login").status)
                answers.append(project.push(sha).status)
            except OSError as error:
                answers.append(repr(error))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(3):
            machine.sh("systemctl restart deployer-web")
            seen = len(answers)
            wait_until(lambda: len(answers) > seen + 8, "more answers")  # noqa: B023
    finally:
        over.set()
        for asker in askers:
            asker.join()
        machine.sh("systemctl start deployer-runner")

    assert set(answers) == {200}


def test_an_open_live_log_does_not_hold_up_a_restart(machine, member, sha):
    machine.sh("rm -f /tmp/go")
    deployment_id = machine.make_project(
        "watched", "echo started; while [ ! -e /tmp/go ]; do sleep 0.1; done"
    ).pushed(sha)
    with Viewer(member, deployment_id) as viewer:
        viewer.until_text("started")
        since = time.monotonic()

        machine.sh("systemctl restart deployer-web")

        # A second is what it takes; a stream that held it would take ten.
        assert time.monotonic() - since < 8
        assert not [frame for frame in viewer.frames() if frame["type"] == "done"]
    machine.sh("touch /tmp/go")
    assert machine.wait_for_end(member, deployment_id)["deployment"]["status"] == "success"


@pytest.mark.parametrize("how", ["reboot", "lose_power"])
def test_a_reboot_during_a_step_interrupts_it_and_what_waits_is_deployed(machine, member, sha, how):
    project = machine.make_project(f"at-{how.replace('_', '-')}", "echo started; sleep 600", "echo never")
    waiting = machine.make_project(f"behind-{how.replace('_', '-')}", "echo deployed")
    deployment_id = project.pushed(sha)
    machine.wait_for_output(member, deployment_id, "started")
    next_id = waiting.pushed(sha)
    boot_id = machine.sh("cat /proc/sys/kernel/random/boot_id")

    getattr(machine, how)()

    assert machine.sh("cat /proc/sys/kernel/random/boot_id") != boot_id
    found = machine.wait_for_end(member, deployment_id)
    assert found["deployment"]["status"] == "interrupted", found
    assert "reboot" in found["deployment"]["cause"]
    assert found["logs"][-1]["cmd"] == "echo started; sleep 600"
    assert found["logs"][-1]["log"].startswith("started\n")
    assert machine.wait_for_end(member, next_id)["deployment"]["status"] == "success"


def test_the_journal_has_a_line_for_each_event_with_the_reference_and_its_priority(machine, member, sha):
    deployment_id = machine.make_project("noted", "true").pushed(sha)
    found = machine.wait_for_end(member, deployment_id)
    name = f"{found['deployment']['ref']} noted"

    def entries() -> list[dict[str, str]]:
        lines = machine.sh("journalctl --output=json -u deployer-runner").splitlines()
        said = [one for one in map(json.loads, lines) if one["MESSAGE"].startswith(name)]
        return said if len(said) > 1 else []

    said = wait_until(entries, "the lines in the journal")
    messages = [one["MESSAGE"] for one in said]
    assert messages[0] == f"{name}: started (push by grace, {sha[:7]})"
    assert re.fullmatch(rf"{name}: success in \d.*", messages[1])
    assert {one["PRIORITY"] for one in said} == {"6"}
    assert machine.journal("--priority=err") == []


def test_the_web_process_reaches_its_data_folder_and_repositories_and_nothing_else(machine, member, sha):
    project = machine.make_project("confined", "true")

    checked = member.post(f"/projects/{project.name}/check-access")

    assert checked.status in (200, 302, 303)
    page = member.get(checked.location).text if checked.location else checked.text
    assert "can be reached" in page or sha[:7] in page, page
    status = machine.sh(f"cat /proc/{machine.pid('deployer-web')}/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["CapBnd"].strip("0")) == ("1", "2", "")
    # Places where the daemon's user may write everywhere else on the host.
    inside = f"nsenter -m -t {machine.pid('deployer-web')} runuser -u deployer --"
    assert machine.answers(f"{inside} touch /var/lib/deployer/scratch/x")
    for place in ("/srv/git/app.git/x", "/home/deployer/x"):
        assert machine.answers(f"cd /; install -d -o deployer /home/deployer; runuser -u deployer -- touch {place}")
        assert "Read-only file system" in machine.fails(f"{inside} touch {place}")
    assert not machine.answers(f"{inside} test -e /tmp/of-a-step")


def test_steps_may_use_sudo_and_see_the_hosts_files(machine, member, sha):
    project = machine.make_project("open", "grep NoNewPrivs /proc/self/status; umask; readlink /proc/self/ns/mnt")
    found = machine.wait_for_end(member, project.pushed(sha))

    flag, mask, namespace = found["logs"][-1]["log"].split("\n")[:3]

    assert (flag.split(), mask) == (["NoNewPrivs:", "0"], "0022")
    assert namespace == machine.sh("readlink /proc/1/ns/mnt").strip()


def test_the_web_unit_as_it_is_installed_is_hardened(machine):
    said = machine.sh("systemd-analyze security --no-pager deployer-web.service | tail -1")

    assert float(said.split(":")[1].split()[0]) < 2.0
    assert (
        machine.sh("systemd-analyze verify deployer-web.socket deployer-web.service deployer-runner.service 2>&1")
        == ""
    )
