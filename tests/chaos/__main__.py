"""The long form: ``make chaos``, or ``make chaos ARGS='--seed 7 --kills 50 --ssh-kills 0'``."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos import scene, walk
from tests.chaos.moment import MOMENTS
from tests.chaos.storm import Storm
from tests.support.ssh_server import SSHD


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="deployer-chaos-"))
    print(f"seed {options.seed}; everything lies in {folder}", flush=True)
    began, violations = time.monotonic(), []
    for place, kills in (("here", options.kills), ("there", options.ssh_kills)):
        if place == "there" and SSHD is None:
            print("without an OpenSSH server nothing is run over SSH (apt-get install openssh-server)")
            return 1
        if options.points:
            violations += _points(folder / f"points-{place}", place, options.seed)
        if kills:
            violations += _storm(folder / f"storm-{place}", place, options.seed, kills)
    _row("duration", f"{time.monotonic() - began:.0f} s")
    _row("violations", str(len(violations)))
    for one in violations:
        print(f"  {one}")
    if violations:
        print(f"Look into {folder}: the data folder, the daemon's log, and what each step wrote down.")
        print(f"Again: make chaos ARGS='--seed {options.seed}'")
        return 1
    shutil.rmtree(folder)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="random kills, steps on this host (%(default)s)")
    parser.add_argument("--ssh-kills", type=int, default=100, help="random kills, steps over SSH (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--no-points", dest="points", action="store_false", help="leave out the chosen points")
    return parser.parse_args()


def _points(folder: Path, place: str, seed: int) -> list[str]:
    with getattr(scene, place)(folder) as made:
        walked = walk.Walk(made)
        found = walked.run(walk.long_form(place))
    print(f"\nChosen points, steps run {_where(place)}")
    _row("kills", f"{walked.kills} at {walked.points} points")
    _row("longest time until a point was reached", f"{walked.longest_s:.1f} s")
    _table(found)
    return found.violations


def _storm(folder: Path, place: str, seed: int, kills: int) -> list[str]:
    with getattr(scene, place)(folder) as made:
        storm = Storm(made, seed, tell=lambda line: print(f"  … {line}", file=sys.stderr, flush=True))
        found = storm.run(kills)
    print(f"\nRandom kills, steps run {_where(place)}")
    _row("kills", f"{storm.kills.total()} (runner {storm.kills['runner']}, web {storm.kills['web']})")
    _row("  where they fell", ", ".join(f"{one} {storm.moments[one]}" for one in MOMENTS))
    if place == "there":
        _row("connections cut", str(storm.cuts))
    _table(found)
    _row("  in", f"{storm.seconds:.0f} s")
    return found.violations


def _table(found: object) -> None:
    _row("deployments", ", ".join(f"{count} {status}" for status, count in sorted(found.deployments.items())))
    _row("commands", f"{found.commands}, of them {found.steps} steps that wrote down what they did")
    _row("bytes of their logs, compared by SHA-256", f"{found.log_bytes:,}")
    _row("pushes", f"{found.pushes} posted, {found.answered} answered")
    _row("violations", str(len(found.violations)))


def _where(place: str) -> str:
    return "on this host" if place == "here" else "over SSH"


def _row(what: str, value: str) -> None:
    print(f"{what:<44} {value}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
