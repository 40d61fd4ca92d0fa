"""The few lines of POSIX sh that start a durable command, and the files that they read.

A run directory (0700) holds, before the start: ``env`` (export lines, the umask, the change of directory) and ``cmd``
(the command). The launcher adds ``pid`` (its pid, start time, boot id), ``group`` (the command's process group),
``output``, and ``exit`` (the exit code and a newline).

Why it is made like this:

* Exclusive creation of ``pid`` (``set -C``) is the fence: of launchers that race, one starts the command.
* It must not be started with ``&``: a shell starts background jobs with SIGINT and SIGQUIT ignored (POSIX, 2.12).
* Launcher and command have separate sessions: a KILL to the command's group leaves the launcher to record it.
* Output goes through a pipe into a copier. As a plain file on stdout, ``tee /dev/stderr`` would truncate it; and
  only a copier can stop writing at the bound and go on reading. ``ulimit -f`` counts blocks of 512 bytes.
* After the exit code the end mark goes down the same pipe, so a reader that sees it has everything. It begins with a
  byte (RS) that ordinary output does not hold, so that a reader need not hold back anything else.
* Only the command's stderr goes into the pipe: of a death by signal the launcher's shell would add words of its own
  (dash redirects before it forks, hence the subshell).
* A full disk must not lose the exit code: it is tried again until it is written, or the run directory is gone.
"""

from __future__ import annotations

from collections.abc import Mapping

from deployer.executors.base import encode

BLOCK = 512

SCRIPT = r"""umask 077; set -C
cd "$1" || exit 70
limit=$2 mark=$3
case $4 in bash) shell='bash -eo pipefail';; *) shell='/bin/sh -e';; esac
read -r stat < /proc/$$/stat; stat=${stat##*) }; set -- $stat; started=${20}
read -r boot < /proc/sys/kernel/random/boot_id
{ echo "$$ $started $boot" > pid; } 2>/dev/null || exit 0
set +C
{ (exec setsid $shell -c '. ./env; echo $$ > "$OLDPWD/group"; . "$OLDPWD/cmd"' step 2>&1); code=$?
until { echo "$code" > exit; } 2>/dev/null || [ ! -e pid ]; do sleep 1; done
printf '\036%s\n' "$mark"
} </dev/null 2>/dev/null | { ulimit -f "$limit"; cat >> output || exec cat > /dev/null; } 2>/dev/null
"""


def end_mark(nonce: str) -> bytes:
    """What follows the last byte of output."""
    return b"\x1e" + nonce.encode() + b"\n"


def blocks(max_bytes: int) -> int:
    return max(1, max_bytes // BLOCK)


def env_file(environment: Mapping[str, str], directory: str) -> bytes:
    """The text of ``env``. Exit code 126 means that the directory could not be entered."""
    lines = [b"export %s=%s" % (name.encode(), quote(value)) for name, value in environment.items()]
    lines += [b"umask 022", b"cd %s || exit 126" % quote(directory)]
    return b"\n".join(lines) + b"\n"


def cmd_file(script: str) -> bytes:
    # The shell's way to the run directory is not the command's to take. On the first line, so that the numbers in the
    # shell's messages are those of the script.
    return b"unset OLDPWD; " + encode(script) + b"\n"


def quote(value: str) -> bytes:
    """A word of POSIX sh that means exactly ``value``."""
    return quote_bytes(encode(value))


def quote_bytes(value: bytes) -> bytes:
    return b"'" + value.replace(b"'", b"'\\''") + b"'"
