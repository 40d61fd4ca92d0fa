"""Nothing secret in any command line, nothing of the daemon in the command, nothing for other users to read."""

from __future__ import annotations

import os
import shlex
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer.executors import launcher
from tests.support.command_lines import command_lines
from tests.support.launching import Launching
from tests.support.waiting import wait_until

# Of this process alone: others may be testing the same at this moment.
SECRET = f"correct-horse-battery-staple-{os.urandom(8).hex()}"


def test_a_secret_is_in_no_command_line_of_any_process(launching):
    launching.prepare('echo "started $SECRET"; sleep 1000', {"SECRET": SECRET})
    launching.start()
    seen: list[bytes] = []
    while b"started" not in launching.raw:
        seen += command_lines()
    assert any(str(launching.directory).encode() in line for line in seen)
    assert not any(SECRET.encode() in line for line in seen)


def test_nothing_of_the_launchers_environment_reaches_the_command(launching, monkeypatch):
    monkeypatch.setenv("OF_THE_DAEMON", "secret")
    launching.prepare("env", {"GIVEN": "yes"}).start().wait()

    names = {line.split(b"=")[0] for line in launching.output.splitlines()}
    assert {b"PATH", b"GIVEN"} <= names <= {b"PATH", b"GIVEN", b"PWD", b"OLDPWD", b"SHLVL", b"_"}


def test_nothing_in_the_run_directory_is_readable_by_others(launching):
    launching.prepare("echo output; sleep 1000").start()
    wait_until(lambda: launching.raw, "output")

    made = {path.name: stat.S_IMODE(path.stat().st_mode) for path in launching.directory.iterdir()}
    assert {name: mode for name, mode in made.items() if name in ("pid", "group", "output")} == {
        "pid": 0o600,
        # Made by the command's shell after `env` has set the umask for the command.
        "group": 0o644,
        "output": 0o600,
    }
    assert stat.S_IMODE(launching.directory.stat().st_mode) == 0o700


def test_the_command_has_umask_022(launching):
    launching.prepare("umask").start().wait()

    assert launching.output == b"0022\n"


def test_no_file_of_the_daemon_is_open_in_the_command(launching):
    launching.prepare("ls /proc/$$/fd").start().wait()

    assert set(launching.output.split()) <= {b"0", b"1", b"2", b"10", b"255", b"3"}


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(TEXT, min_size=1, max_size=12))
def test_every_value_reaches_the_command_exactly(tmp_path_factory, shell, values):
    made = Launching(tmp_path_factory.mktemp("quoting"), shell)
    environment = {f"VALUE_{number}": value for number, value in enumerate(values)}
    try:
        script = "".join(f'printf "%s\\0" "${name}"\n' for name in environment)
        made.prepare(script, environment).start().wait()
        assert made.output == b"".join(value.encode() + b"\0" for value in values)
    finally:
        made.close()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "'",
        "''\\''",
        '$HOME `id` $(id) "x"',
        "\n\nlines\n\n",
        "ends in a backslash\\",
        "\udcff\udc80 not UTF-8",
        "-n",
        "~",
        "*",
        "x" * 100_000,
    ],
)
def test_awkward_values_reach_the_command_exactly(launching, value):
    launching.prepare('printf %s "$VALUE"', {"VALUE": value}).start().wait()

    assert launching.output == value.encode("utf-8", "surrogateescape")


def test_a_directory_with_an_awkward_name_is_entered(launching, tmp_path):
    place = tmp_path / "it's $HOME; `id` \n here"
    place.mkdir()
    launching.prepare("pwd", directory=str(place)).start().wait()

    assert launching.output.decode() == f"{place}\n"


def test_quoting_agrees_with_the_standard_librarys():
    for value in ("plain", "two words", "it's", "$x", ""):
        assert shlex.split(launcher.quote(value).decode()) == [value]
