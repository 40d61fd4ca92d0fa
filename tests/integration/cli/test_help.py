"""The command line explains itself, without touching anything."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from deployer.cli.main import cli

COMMANDS = [
    *(
        "serve",
        "web",
        "runner",
        "link",
        "project create",
        "project list",
        "deploy",
        "cancel",
        "deliveries",
        "audit",
        "doctor",
    ),
    *("backup", "restore"),
    *("user create", "user list", "user invite", "user remove", "user role", "user reset-password", "user reset-2fa"),
]


def test_help_names_every_command(shell):
    said = shell("--help").stdout

    for command in COMMANDS:
        assert command.split()[0] in said
    assert "demo" in said
    assert not shell.data_dir.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help_of_its_own(command):
    done = CliRunner().invoke(cli, [*command.split(), "-h"], prog_name="app.py")

    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: app.py {command}")


def test_a_command_that_is_none_is_told(shell):
    assert "No such command 'delpoy'" in shell("delpoy", code=2).stderr


def test_the_version_is_told(shell):
    assert shell("--version").stdout.startswith("Deployer, version ")
