"""``make install``, again for an upgrade, and ``make uninstall``."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.browser import Browser
from tests.support.standing import PASSWORD, USER
from tests.support.waiting import wait_until

pytestmark = pytest.mark.host

STEP = "echo started; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo ended"


def test_the_first_installation_says_where_everything_is_and_how_to_go_on(installing):
    assert re.search(r"^Deployer \S+ is installed and runs as the user deployer\.$", installing, re.MULTILINE)
    for place in ("/etc/deployer/config.toml", "/var/lib/deployer", "journalctl -u deployer-web", "docs/proxy.md"):
        assert place in installing
    assert "/setup?token=" in installing


def test_each_file_is_whose_it_should_be(machine):
    places = {
        "/etc/deployer/config.toml": "640 root:deployer",
        "/var/lib/deployer": "700 deployer:deployer",
        "/var/lib/deployer/key": "600 deployer:deployer",
        "/usr/local/bin/deployer": "755 root:root",
        "/etc/sudoers.d/deployer": "440 root:root",
        "/etc/systemd/system/deployer-web.socket": "644 root:root",
        "/etc/systemd/system/deployer-web.service": "644 root:root",
        "/etc/systemd/system/deployer-runner.service": "644 root:root",
    }
    said = machine.sh(f"stat --format='%n %a %U:%G' {' '.join(places)}")

    assert dict(line.split(" ", 1) for line in said.splitlines()) == places
    assert machine.sh("find -L /opt/deployer ! -user root -o -perm /022 ! -type l | head -5") == ""


def test_the_doctor_finds_nothing_that_keeps_it_from_working(machine):
    findings = machine.sh("deployer doctor").splitlines()

    assert [line for line in findings if line.startswith("fail")] == []
    assert any(line.split() == ["ok", "runner", "at", "work"] for line in findings)


def test_the_command_is_for_root_and_for_the_daemons_user(machine):
    assert machine.sh("cd /; runuser -u deployer -- deployer project list --json") == machine.sh(
        "deployer project list --json"
    )
    assert "Usage: deployer " in machine.sh("deployer --help")

    refused = machine.fails("cd /; runuser -u nobody -- deployer project list")

    assert refused == "deployer: only the user deployer and root may do this. Try: sudo deployer …\n"


def test_the_audit_log_names_who_called_sudo(machine):
    machine.sh(
        "SUDO_USER=grace deployer user create lin --email lin@example.com --password-stdin", b"a long password"
    )

    (newest,) = json.loads(machine.sh("deployer audit --limit 1 --json"))

    assert (newest["action"], newest["subject"], newest["actor"]) == ("user.created", "lin", "grace (command line)")


def test_who_may_not_install_is_told_so_at_once(machine):
    refused = machine.fails("cd /; runuser -u nobody -- sh /opt/deployer/current/systemd/install.sh install")

    assert refused == "Deployer: this needs root: sudo make install\n"


def test_what_is_missing_is_named_and_nothing_is_changed(machine):
    before = machine.sh("ls /opt/deployer/releases; readlink /opt/deployer/current")

    no_venv = machine.fails(
        "printf '#!/bin/sh\\ncase $* in *ensurepip*) exit 1; esac\\nexec python3 \"$@\"' > /tmp/python;"
        " chmod +x /tmp/python; make -C deployer install PYTHON=/tmp/python"
    )
    no_packages = machine.fails("make -C deployer install PIP_FIND_LINKS=/nowhere")

    assert "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv" in no_venv
    assert "the Python packages could not be installed" in no_packages
    assert machine.sh("ls /opt/deployer/releases; readlink /opt/deployer/current") == before
    assert Browser(machine).get("/login").status == 200


def test_an_upgrade_during_a_step_leaves_the_step_alone_and_the_settings_too(machine, member, sha):
    machine.sh("rm -f /tmp/go; echo '# mine' >> /etc/deployer/config.toml")
    deployment_id = machine.make_project("upgraded", STEP, "echo the next step").pushed(sha)
    machine.wait_for_output(member, deployment_id, "started")
    former = machine.pid("deployer-runner"), machine.pid("deployer-web")
    version = machine.make_newer()

    said = machine.install()

    assert f"Deployer {version} runs. Commands that were running go on." in said
    assert "setup?token" not in said
    assert machine.sh("deployer --version").split()[-1] == version
    assert not {machine.pid("deployer-runner"), machine.pid("deployer-web")} & {*former}
    assert machine.deployment(member, deployment_id)["deployment"]["status"] == "running"
    machine.sh("touch /tmp/go")
    found = machine.wait_for_end(member, deployment_id)
    assert found["deployment"]["status"] == "success"
    assert [one["log"] for one in found["logs"][2:]] == ["started\nended\n", "the next step\n"]
    assert machine.sh("tail -1 /etc/deployer/config.toml") == "# mine\n"


def test_what_runs_keeps_the_files_of_its_version_and_old_ones_go_in_the_end(machine):
    for _ in range(3):
        machine.install()
        releases = machine.sh("ls -d /opt/deployer/releases/*").split()
        assert machine.sh("readlink /opt/deployer/current").strip() == max(releases, key=lambda one: one[-16:])
        program = machine.sh(f"tr '\\0' ' ' < /proc/{machine.pid('deployer-web')}/cmdline")
        assert machine.sh("readlink /opt/deployer/current").strip() in program
    assert len(releases) == 3


def test_a_version_that_does_not_start_says_how_to_go_back(machine):
    former = machine.sh("readlink /opt/deployer/current").strip()
    machine.sh("echo 'raise SystemExit(3)' >> deployer/deployer/cli/context.py")
    try:
        refused = machine.fails("make -C deployer install")

        assert "the new version does not start. See: journalctl -u deployer-web" in refused
        way_back = re.search(r"^The former one: (.*)$", refused, re.MULTILINE)
        assert way_back
        assert former in way_back[1]
        machine.sh(way_back[1])
        assert Browser(machine).get("/login").status == 200
    finally:
        machine.put_checkout()
    machine.install()


def test_uninstalling_keeps_data_and_settings_and_a_new_installation_goes_on_with_them(machine):
    said = machine.uninstall()

    assert "Kept: /var/lib/deployer (data and key), /etc/deployer (settings), the user deployer." in said
    for gone in ("/opt/deployer", "/usr/local/bin/deployer", "/etc/sudoers.d/deployer"):
        assert not machine.answers(f"test -e {gone}")
    assert (
        machine.sh("systemctl list-unit-files --no-legend 'deployer*'; ls /etc/systemd/system | grep deployer || :")
        == ""
    )
    assert machine.sh("pgrep -u deployer || :") == ""
    assert machine.answers("test -s /var/lib/deployer/deployer.db && test -s /etc/deployer/config.toml")

    again = machine.install()

    assert "Deployer is ready: http://127.0.0.1:8420\n" in again
    assert "setup?token" not in again
    browser = Browser(machine)
    assert wait_until(lambda: browser.log_in(USER, PASSWORD).status == 302, "a login")
