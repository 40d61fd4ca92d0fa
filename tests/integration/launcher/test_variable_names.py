"""A variable's name is refused, or its value reaches the command under every shell."""

from __future__ import annotations

import pytest

from deployer.executors.base import variable_problem

# fmt: off
KNOWN_TO_SHELLS = [
    "CDPATH", "COLUMNS", "COMP_LINE", "COMP_WORDBREAKS", "COPROC", "DIRSTACK", "ENV", "EPOCHREALTIME",
    "EPOCHSECONDS", "EUID", "EXECIGNORE", "FCEDIT", "FIGNORE", "FUNCNAME", "FUNCNEST", "GLOBIGNORE",
    "GROUPS", "HISTCMD", "HISTFILE", "HISTSIZE", "HOSTNAME", "HOSTTYPE", "IFS", "IGNOREEOF", "LINENO",
    "LINES", "MACHTYPE", "MAIL", "MAILCHECK", "MAPFILE", "OLDPWD", "OPTARG", "OPTERR", "OPTIND",
    "OSTYPE", "PIPESTATUS", "POSIXLY_CORRECT", "PPID", "PROMPT_COMMAND", "PS1", "PS2", "PS4", "PWD",
    "RANDOM", "READLINE_LINE", "REPLY", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "TERM",
    "TIMEFORMAT", "TMOUT", "TMPDIR", "UID", "_", "BASH_ENV", "BASHOPTS", "BASHPID",
]
# fmt: on
"""Names that dash, bash or busybox's ash give a meaning to."""

ACCEPTED = {name: f"the value of {name}" for name in KNOWN_TO_SHELLS if not variable_problem(name, "x")}


@pytest.mark.parametrize("step_shell", ["sh", "bash"])
def test_the_value_of_every_accepted_name_reaches_the_command(launching, step_shell):
    script = "".join(f"printenv {name}\n" for name in ACCEPTED)
    launching.prepare(script, ACCEPTED).start(step_shell=step_shell).wait()

    assert launching.exit_code == 0
    assert launching.output.decode().splitlines() == list(ACCEPTED.values())


@pytest.mark.parametrize(
    "name", ["PPID", "UID", "EUID", "SHELLOPTS", "BASHOPTS", "BASH_ENV", "RANDOM", "SRANDOM", "PWD"]
)
def test_a_name_that_a_shell_keeps_for_itself_is_refused(name):
    assert variable_problem(name, "x") == f"{name} belongs to the shell and cannot be set"
