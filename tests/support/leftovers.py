"""What a step may leave running: children of every kind, each of which writes down its pid."""

from __future__ import annotations

from pathlib import Path

from deployer.executors import processes
from tests.support.waiting import wait_until

# Each is a line of a step; `$left` is the folder in which it names its pid.
KINDS = {
    "child": "sleep 1000 & echo $! > $left/child",
    "forked twice": "(sleep 1000 & echo $! > $left/forked-twice) &",
    "deaf": "sh -c 'trap \"\" TERM HUP INT; echo $$ > $left/deaf; while :; do sleep 0.1; done' &",
    "of another session": "setsid sh -c 'echo $$ > $left/of-another-session; exec sleep 1000' &",
    "a daemon": "(setsid sh -c 'echo $$ > $left/a-daemon; exec sleep 1000' </dev/null >/dev/null 2>&1 &) &",
    "a deaf daemon": "(setsid sh -c 'trap \"\" TERM; echo $$ > $left/a-deaf-daemon; while :; do sleep 0.1; done' "
    "</dev/null >/dev/null 2>&1 &) &",
    "without environment": "env -i left=$left sh -c 'echo $$ > $left/without-environment; exec sleep 1000' &",
    "deaf without environment": "env -i PATH=$PATH left=$left sh -c "
    "'trap \"\" TERM; echo $$ > $left/deaf-without-environment; while :; do sleep 0.1; done' &",
    "that forks when asked to end": "sh $left/forks.sh &",
    "a daemon that forks when asked to end": "setsid sh $left/forks.sh -daemon &",
}

_FORKS = """cat > $left/forks.sh <<'end of file'
name=that-forks-when-asked-to-end$1
trap 'setsid sleep 1000 & echo $! > $left/late$1; trap "" TERM' TERM
echo $$ > $left/$name
while :; do sleep 0.1; done
end of file
"""


def step(folder: Path, then: str = "sleep 1000") -> str:
    """A step that starts one of each kind, says ``started`` when all of them are there, and goes on."""
    waiting = f"while [ $(ls {folder} | grep -cv sh$) -lt {len(KINDS)} ]; do sleep 0.05; done"
    return f"export left={folder}\n{_FORKS}" + "\n".join(KINDS.values()) + f"\n{waiting}\necho started\n{then}"


def pids(folder: Path) -> dict[str, int]:
    """What was started, by the names of the files; also what was started late."""
    return {path.name: _pid_in(path) for path in folder.iterdir() if path.suffix != ".sh"}


def _pid_in(path: Path) -> int:
    return wait_until(lambda: int(path.read_text() or 0), f"the pid in {path}")


def alive(folder: Path) -> set[str]:
    found = {name: processes.stat(pid) for name, pid in pids(folder).items()}
    return {name for name, one in found.items() if one and one.state not in "ZX"}
