"""How long the way back to a former release takes."""

from __future__ import annotations

import statistics

from tests.bench.daemon import Daemon
from tests.bench.table import row

COUNT = 40


def rollback(daemon: Daemon) -> None:
    """From being asked for to its end, without what the step that activates takes by itself."""
    project = daemon.make_project("site", "true", options=("--strategy", "release", "--activate", "true"))
    daemon.start()
    for name in ("first", "second"):
        daemon.wait_for_end(daemon.push(project, daemon.payload(), name))
    times = []
    for number in range(COUNT):
        ref = daemon.cli("rollback", "site", str(1 + number % 2)).split()[0]
        with daemon.database() as database:
            (deployment,) = database.execute(
                "SELECT id FROM deployments WHERE number = ?", (int(ref[4:]),)
            ).fetchone()
        assert daemon.wait_for_end(deployment) == "success"
        with daemon.database() as database:
            ((took, activated),) = database.execute(
                "SELECT d.finished_at - d.queued_at, c.finished_at - c.started_at FROM deployments d "
                "JOIN commands c ON c.deployment_id = d.id AND c.kind = 'step' WHERE d.id = ?",
                (deployment,),
            ).fetchall()
        times.append(took - activated)
    value = f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms"
    row("rollback, asked for → ended, without its steps", "≤ 300 ms", value)
    daemon.stop()
