"""``app.py web`` in a process that dies at a point: ``python -m tests.chaos.web TARGET WHEN``."""

from __future__ import annotations

import sys

from tests.chaos import points


def main(target: str, when: str) -> None:
    (point,) = (one for one in points.WEB if (one.target, one.when) == (target, when))
    points.arm(point)
    from deployer.cli.main import cli

    cli(["web"], prog_name="app.py")


if __name__ == "__main__":
    main(*sys.argv[1:])
