"""What a step of these tests runs: it prints, and writes down beside it what it printed.

    python3 step.py FOLDER NUMBER KIND ENDING

One line in ``begun`` stands for each execution. What is printed, by the step and by the processes that it starts, is
also added to ``said.<deployment>.<number>``, both under one lock, so that the file holds the very bytes of the pipe,
in their order. ``ENDING`` is an exit code, or the name of the signal that the step ends itself with. This runs
wherever the step does, so it needs nothing but Python's own library.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import time
from collections.abc import Iterator

HOLD_S = 60.0


class Voice:
    """The way of everything that is printed. Each process of the step opens its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def again(self) -> Voice:
        """For a child: a lock belongs to a process, but the file's position to whoever shares it."""
        return Voice(self._path)

    def say(self, data: bytes) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            _write(1, data)
            _write(self._fd, data)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def lines(voice: Voice, chance: random.Random, who: str, *, longest_s: float = 0.01) -> None:
    for number in range(1, chance.randint(10, 60)):
        voice.say(b"%s: line %d\n" % (who.encode(), number))
        if chance.random() < 0.4:
            time.sleep(chance.uniform(0, longest_s))


def brief(voice: Voice, chance: random.Random) -> None:
    """Enough to be read more than once."""
    for number in range(1, 4):
        voice.say(b"line %d\n" % number)
        time.sleep(0.015)
    voice.say(b"and no newline at the end")


def raw(voice: Voice, chance: random.Random) -> None:
    """Any bytes: NULs, halves of characters, the byte that the end mark begins with, no newline at the end."""
    for _ in range(chance.randint(5, 30)):
        voice.say(chance.randbytes(chance.randint(1, 5000)))
        voice.say(chance.choice((b"\x1e", b"\r", b"\n", b"\xe2\x82", "…".encode(), b"\0")))
        time.sleep(chance.uniform(0, 0.02))
    voice.say(b"no newline at the end")


def progress(voice: Voice, chance: random.Random) -> None:
    for percent in range(101):
        voice.say(b"\r%3d %% \x1b[32m%s\x1b[0m" % (percent, b"#" * (percent // 2)))
        if chance.random() < 0.1:
            time.sleep(0.01)


def flood(voice: Voice, chance: random.Random) -> None:
    for number in range(chance.randint(5, 20)):
        voice.say(b"%06d " % number + b"x" * chance.randint(1, 65_000) + b"\n" * chance.randint(0, 1))
        time.sleep(chance.uniform(0, 0.02))


def family(voice: Voice, chance: random.Random) -> None:
    """Children that print beside the step, one of them in a session of its own; one that outlives it says nothing."""
    pipe, held = os.pipe()
    for who in ("child", "daemon"):
        seed = chance.random()
        if os.fork() == 0:
            if who == "daemon":
                os.setsid()
                if os.fork():
                    os._exit(0)
            lines(voice.again(), random.Random(seed), who)
            os._exit(0)
    if chance.random() < 0.3 and os.fork() == 0:
        os.close(held)
        for fd in range(3):
            os.close(fd)
        time.sleep(0.3)
        os._exit(0)
    os.close(held)
    lines(voice, chance, "parent")
    os.read(pipe, 1)  # nobody holds the other end any more: they have all said what they had to


def secret(voice: Voice, chance: random.Random) -> None:
    """A secret variable, in pieces that a reader may see apart."""
    token = os.environ["TOKEN"].encode()
    for number in range(20):
        place = chance.randint(0, len(token))
        voice.say(b"%d: %s" % (number, token[:place]))
        time.sleep(chance.uniform(0, 0.03))
        voice.say(token[place:] + b"\n")


def quiet(voice: Voice, chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 0.1))


def hold(voice: Voice, chance: random.Random) -> None:
    """Waits to be ended from outside."""
    voice.say(b"waiting\n")
    if os.fork() == 0:
        os.setsid()
        time.sleep(HOLD_S)
        os._exit(0)
    time.sleep(HOLD_S)


KINDS = {one.__name__: one for one in (brief, raw, progress, flood, family, secret, quiet, hold)}
KINDS["lines"] = lambda voice, chance: lines(voice, chance, "step", longest_s=0.02)
AT_RANDOM = ("lines", "raw", "progress", "flood", "family", "quiet")


def main(folder: str, number: str, kind: str, ending: str) -> None:
    deployment = os.environ["DEPLOY_ID"]
    begun = os.open(f"{folder}/begun", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    _write(begun, f"{deployment} {number}\n".encode())
    os.close(begun)
    chance = random.Random(f"{deployment}.{number}")
    voice = Voice(f"{folder}/said.{deployment}.{number}")
    for one in _kinds(kind, chance):
        KINDS[one](voice, chance)
    if not ending.isdigit():
        os.kill(os.getpid(), signal.Signals[f"SIG{ending}"])
    os._exit(int(ending))


def _kinds(kind: str, chance: random.Random) -> Iterator[str]:
    if kind == "any":
        yield from chance.sample(AT_RANDOM, chance.randint(1, 2))
    else:
        yield kind


if __name__ == "__main__":
    main(*sys.argv[1:])
