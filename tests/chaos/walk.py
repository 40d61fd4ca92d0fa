"""From point to point: at each of them a runner is killed, and the next one goes on.

Each point has a deployment of its own. Whoever is killed there leaves it to the runner that is to die at the next
point, so that every deployment is met by runners in all states of theirs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.chaos import points, proof
from tests.chaos.points import Point
from tests.chaos.proof import Found
from tests.chaos.scene import Scene
from tests.support.daemon import ROOT
from tests.support.runner_process import RunnerProcess
from tests.support.waiting import wait_until

REACHED_WITHIN_S = 60


def short_form(place: str) -> list[Point]:
    """Each point once."""
    return [*points.EVERYWHERE, *(points.HERE if place == "here" else points.THERE)]


def long_form(place: str) -> list[Point]:
    """Each point at its first calls, and each transaction of a deployment."""
    once = short_form(place)
    further = [point.again(nth) for point in once for nth in (2, 3) if _comes_again(point)]
    transactions = [
        point.again(nth) for point in once if point.target.endswith("Database.write") for nth in range(4, 16)
    ]
    return [*once, *further, *transactions]


_ONCE = ("claim", "_claim", "plan", "_plan", "adopt", "_begin", "load", "settle", "end", "record_commit", "resume")
_ONCE += ("_begin_stop", "_everything_ended", "tidy_server", "run", "_name_survivors", "stop")
_ONCE += ("collect_finished", "begin", "record_stop")


def _comes_again(point: Point) -> bool:
    """Whether a runner gets there more than once in a deployment."""
    return point.nth == 1 and point.target.replace(":", ".").rpartition(".")[2] not in _ONCE


@dataclass
class Walk:
    """Use `run`."""

    scene: Scene
    tell: Callable[[str], None] = lambda _: None
    kills: int = 0
    points: int = 0
    longest_s: float = 0.0
    _unreached: list[str] = field(default_factory=list)
    _runners: list[RunnerProcess] = field(default_factory=list)

    def run(self, way: list[Point]) -> Found:
        """Die at each of the points, let everything come to its end, and prove. The web process comes last."""
        self._brief = self.scene.make_part("brief", ("brief", "0"), ("brief", "0"))
        self._held = self.scene.make_part("held", ("hold", "0"))
        try:
            for point in way:
                self._meet(point)
            if self.scene.ssh is None:
                for point in points.WEB:
                    self._push_to(point)
            self._let_all_end()
        finally:
            for runner in self._runners:
                if runner.is_running:
                    runner.kill()
        found = proof.prove(self.scene)
        found.violations += self._unreached
        return found

    # The runner

    def _runner(self, point: Point | None = None) -> RunnerProcess:
        log = self.scene.folder / f"runner-{len(self._runners):03d}.log"
        prepare = partial(points.arm, point) if point else None
        self._runners.append(RunnerProcess(self.scene.daemon.config, log, prepare=prepare))
        return self._runners[-1].start()

    def _meet(self, point: Point) -> None:
        """Bring a runner to a point and see it die there."""
        self.points += 1
        if self.points % 25 == 0:
            self.tell(f"{self.points} points")
        if point.scene == "deploy":
            self.scene.deploy(self._brief)
        else:
            # A runner without a point brings the deployment to its first step, and is killed there.
            deployment_id = self.scene.deploy(self._held if point.scene == "cancel" else self._brief)
            former = self._runner()
            self._wait_for_output(deployment_id)
            former.kill()
            self.kills += 1
            if point.scene == "cancel":
                self.scene.cancel(deployment_id)
        self._see_die(self._runner(point), point)

    def _wait_for_output(self, deployment_id: str) -> None:
        operator = self.scene.operator

        def is_there() -> bool:
            return any(operator.output(step) for step in operator.steps(deployment_id))

        wait_until(is_there, f"output of {deployment_id}", within_s=REACHED_WITHIN_S)

    def _see_die(self, runner: RunnerProcess, point: Point) -> None:
        began = time.monotonic()
        while runner.is_running and time.monotonic() < began + REACHED_WITHIN_S:
            time.sleep(0.005)
            if not self.scene.active():
                self.scene.deploy(self._brief)
        took = time.monotonic() - began
        self.longest_s = max(self.longest_s, took)
        if runner.is_running:
            self._unreached.append(f"never reached within {REACHED_WITHIN_S} s: {point}")
            runner.kill()
            return
        code = runner.code
        if code == -9:
            self.kills += 1
        else:
            self._unreached.append(f"the runner ended with {code} before it came {point}: {runner.log[-1500:]}")

    # The web process

    def _push_to(self, point: Point) -> None:
        """A push whose answer never comes, and which the sender sends again, as a person does at GitHub."""
        self.points += 1
        daemon = self.scene.daemon
        module = "tests.chaos.web"
        daemon.start([sys.executable, "-m", module, point.target, point.when])
        lost = self.scene.push(self._brief)
        if lost.status is not None:
            self._unreached.append(f"a push was answered {lost.status}: the web process never came {point}")
        daemon.wait(REACHED_WITHIN_S)
        self.kills += 1
        daemon.start([sys.executable, str(ROOT / "app.py"), "web"])
        again = self.scene.push(self._brief, guid=lost.guid)
        if again.status != 200:
            self._unreached.append(f"the same push again was answered {again.status} after a death {point}")
        daemon.end()

    def _let_all_end(self) -> None:
        runner = self._runner()
        wait_until(lambda: not self.scene.active(), "the end of everything that was asked for", within_s=240)
        runner.kill()
        runner = self._runner().wait_until_ready()
        proof.see_the_rest_collected(self.scene, self._brief)
        runner.kill()
