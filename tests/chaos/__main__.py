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
from tests.chaos.proof import Found
from tests.chaos.storm import Storm
from tests.support.ssh_server import SSHD


def main() -> int:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="deployer-chaos-"))
    print(f"seed {options.seed}; everything lies in {folder}", flush=True)
    if options.ssh_kills and SSHD is None:
        print(
            "Without an OpenSSH server nothing can be run over SSH: apt-get install openssh-server, or --ssh-kills 0"
        )
        return 1
    began = time.monotonic()
    violations: list[str] = []
    for place, kills in (("here", options.kills), ("there", options.ssh_kills)):
        try:
            if kills and options.points:
                violations += _points(folder / f"points-{place}", place)
            if kills:
                violations += _storm(folder / f"storm-{place}", place, options.seed, kills)
        except AssertionError as error:
            violations.append(f"steps run {_where(place)}: {error}")
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


def _points(folder: Path, place: str) -> list[str]:
    with scene.at(place, folder) as made:
        walked = walk.Walk(made, tell=_tell)
        found = walked.run(walk.long_form(place))
    print(f"\nChosen points, steps run {_where(place)}")
    _row("kills", f"{walked.kills} at {walked.points} points")
    _row("longest time until a point was reached", f"{walked.longest_s:.1f} s")
    _table(found)
    return found.violations


def _storm(folder: Path, place: str, seed: int, kills: int) -> list[str]:
    with scene.at(place, folder) as made:
        storm = Storm(made, seed, tell=_tell)
        found = storm.run(kills)
    print(f"\nRandom kills, steps run {_where(place)}")
    _row("kills", f"{storm.kills.total()} (runner {storm.kills['runner']}, web {storm.kills['web']})")
    _row("  where they fell", ", ".join(f"{one} {storm.moments[one]}" for one in MOMENTS))
    if place == "there":
        _row("connections cut", str(storm.cuts))
    _table(found)
    _row("  in", f"{storm.seconds:.0f} s")
    return found.violations


def _table(found: Found) -> None:
    _row("deployments", ", ".join(f"{count} {status}" for status, count in sorted(found.deployments.items())))
    _row("commands", f"{found.commands}, of them {found.steps} steps that wrote down what they did")
    _row("bytes of their logs, compared by SHA-256", f"{found.log_bytes:,}")
    _row("pushes", f"{found.pushes} posted, {found.answered} answered")
    _row("violations", str(len(found.violations)))


def _where(place: str) -> str:
    return "on this host" if place == "here" else "over SSH"


def _tell(line: str) -> None:
    print(f"  … {line}", file=sys.stderr, flush=True)


def _row(what: str, value: str) -> None:
    print(f"{what:<44} {value}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
