"""The units and the scripts beside them, as systemd's own tools and a linter of shell scripts read them.

How they behave on a booted host is told in tests/host.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import ROOT
from tests.support.programs import program

UNITS = ("deployer-web.socket", "deployer-web.service", "deployer-runner.service")


@pytest.fixture
def analyze(tmp_path):
    """Runs systemd-analyze over the units; the command that they start is there, as after an installation."""
    tool = program("systemd-analyze")
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text().replace("/usr/local/bin/deployer", "/bin/true")
        (tmp_path / name).write_text(text)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([tool, *words], cwd=tmp_path, capture_output=True, text=True)

    return run


def settings(name: str) -> dict[str, str]:
    lines = (ROOT / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_systemd_understands_every_line(analyze):
    done = analyze("verify", *(f"./{name}" for name in UNITS))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_web_unit_is_closed_to_what_it_does_not_need(analyze):
    done = analyze("security", "--offline=yes", "--threshold=20", "./deployer-web.service")

    assert done.returncode == 0, done.stdout


def test_the_runner_leaves_running_commands_and_their_rights_alone():
    given = settings("deployer-runner.service")

    assert (given["KillMode"], given["OOMPolicy"], given["Restart"]) == ("process", "continue", "always")
    hindering = (
        "Protect",
        "Private",
        "Restrict",
        "SystemCall",
        "Capability",
        "ReadOnly",
        "Inaccessible",
        "MemoryDeny",
    )
    hindering += ("NoNewPrivileges", "LockPersonality", "RemoveIPC", "DynamicUser", "RuntimeDirectory")
    assert not [name for name in given if name.startswith(hindering)]


def test_connections_outlive_the_web_process():
    given = settings("deployer-web.service")

    assert given["Requires"] == "deployer-web.socket"
    assert settings("deployer-web.socket")["ListenStream"] == "127.0.0.1:8420"


def test_the_sudoers_file_is_one_and_names_whole_commands():
    path = ROOT / "systemd" / "deployer.sudoers"
    rules = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]

    for rule in rules:
        assert rule.startswith("deployer ALL=(root) NOPASSWD: /usr/bin/systemctl restart deployer-")
        assert not set("*?[!") & set(rule)
    done = subprocess.run([program("visudo"), "-cf", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", ["systemd/install.sh", "systemd/deployer", "tests/parts.sh"])
def test_a_shell_script_has_no_known_mistake(script):
    done = subprocess.run([program("shellcheck"), str(ROOT / script)], capture_output=True, text=True)

    assert done.stdout == ""


def test_the_installation_script_refuses_where_systemd_does_not_run():
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")

    done = subprocess.run(["sh", str(ROOT / "systemd/install.sh"), "install"], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("Deployer: ")
    assert "sudo make install" in done.stderr or "Start Deployer with: make run" in done.stderr
