"""Random kills: the runner and the web process, at random instants, while pushes and people ask for deployments."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

from deployer.models.deployment import Status
from tests.chaos import proof
from tests.chaos.moment import moment
from tests.chaos.processes import Processes
from tests.chaos.proof import Found
from tests.chaos.scene import Part, Scene
from tests.support.waiting import wait_until

MOST_WAITING = 3
"""Deployments asked for by hand that wait; pushes take each other's places."""

SWITCH_AFTER = 25
"""Kills between ``serve`` and two processes, and back."""

COPY_EVERY = 10
"""Of how many kills of both processes one is followed by a look at a copy of the database."""


class Storm:
    """Use `run`, then look at the counts and `found`."""

    def __init__(
        self,
        scene: Scene,
        seed: int,
        *,
        switch_after: int = SWITCH_AFTER,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._scene = scene
        self._switch_after = switch_after
        self._chance = random.Random(f"{seed}/storm")
        self._feeding = random.Random(f"{seed}/feeder")
        self._tell = tell
        self._processes = Processes(scene)
        self._parts = _parts(scene)
        self._is_over = threading.Event()
        self._feeder_failed: list[str] = []
        self._ready_s = 1.0
        self._started_at = 0.0
        self.kills: Counter[str] = Counter()
        self.moments: Counter[str] = Counter()
        self.cuts = 0
        self.copies = 0
        self.seconds = 0.0
        self.found = Found()

    def run(self, kills: int) -> Found:
        """Kill so often, let everything come to its end, and prove."""
        began = time.monotonic()
        feeder = threading.Thread(target=self._feed, name="feeder")
        copied: list[str] = []
        try:
            self._measure_a_start()
            feeder.start()
            switch_at = self._switch_after
            while self.kills.total() < kills:
                self._turn(copied)
                if switch_at <= self.kills.total() < kills:
                    switch_at += self._switch_after
                    self._processes.switch()
                    self._up()
            self._is_over.set()
            feeder.join()
            self._let_all_end()
        finally:
            self._is_over.set()
            if feeder.is_alive():
                feeder.join()
            self._processes.close()
        self.seconds = time.monotonic() - began
        self.found = proof.prove(self._scene)
        self.found.violations += [*self._processes.ended, *copied, *self._feeder_failed]
        if "Traceback" in self._processes.log:
            self.found.violations.append(f"there is a traceback in {self._scene.daemon.log_path}")
        return self.found

    # Killing

    def _turn(self, copied: list[str]) -> None:
        time.sleep(self._wait_s())
        target = self._chance.choices(("runner", "web", "both"), (6, 2, 1))[0]
        if self._scene.ssh and self._chance.random() < 0.2:
            self._scene.ssh.cut()
            self.cuts += 1
        if target in ("web", "both") and self._processes.kill_web():
            self._count("web")
        if target in ("runner", "both") and self._processes.kill_runner():
            self._count("runner")
        has_file = not self._scene.daemon.config.has_shared_database
        if target == "both" and self._processes.is_split and has_file:
            self.copies += 1
            if self.copies % COPY_EVERY == 1:
                copied += self._look_at_a_copy()
        time.sleep(self._chance.uniform(0, 0.1))
        self._up()

    def _count(self, what: str) -> None:
        self.kills[what] += 1
        self.moments[moment(self._scene)] += 1
        if self.kills.total() % 25 == 0:
            self._tell(f"{self.kills.total()} kills, {len(self._scene.operator.deployments())} deployments")

    def _up(self) -> None:
        self._processes.up()
        self._started_at = time.monotonic()

    def _up_and_ready(self) -> None:
        size = self._processes.log_size
        self._up()
        wait_until(lambda: self._processes.is_ready_since(size), "a runner is ready", within_s=60)

    def _wait_s(self) -> float:
        """One time in four the next kill may meet a process that only begins."""
        if self._chance.random() < 0.25:
            return self._chance.uniform(0, self._ready_s)
        return self._ready_s + self._chance.uniform(0, 0.6)

    def _measure_a_start(self) -> None:
        self._up_and_ready()
        self._ready_s = time.monotonic() - self._started_at

    def _look_at_a_copy(self) -> list[str]:
        """What lies on the disk after a kill is a whole database. Nobody has it open for writing now but the feeder,
        which waits for the lock."""
        folder = self._scene.folder / "copy"
        folder.mkdir()
        database = self._scene.daemon.config.database_path
        with self._scene.installation.database.write():  # only for its lock
            # By another process: who closes a file gives up all locks that the process has on it (fcntl(2)), also
            # those by which SQLite knows that the database is in use.
            files = [path for path in (f"{database}", f"{database}-wal") if os.path.exists(path)]
            subprocess.run(["cp", *files, str(folder)], check=True)
        said = list(proof.integrity(folder / database.name))
        shutil.rmtree(folder)
        return said

    # Asking

    def _feed(self) -> None:
        try:
            while not self._is_over.is_set():
                self._ask_for_something()
                self._is_over.wait(self._feeding.uniform(0.02, 0.2))
        except Exception as error:
            self._feeder_failed.append(f"the feeder ended: {error!r}")

    def _ask_for_something(self) -> None:
        part = self._feeding.choice(self._parts)
        what = self._feeding.random()
        if what < 0.7:
            self._scene.push(part)
            return
        active = self._scene.active()
        if what < 0.985:
            if sum(one.trigger == "manual" for one in active) <= MOST_WAITING:
                self._scene.deploy(part)
        elif running := [one for one in active if one.status == Status.RUNNING]:
            self._scene.cancel(running[0].id)

    def _let_all_end(self) -> None:
        self._up()

        def is_over() -> bool:
            self._processes.up()
            return not self._scene.active()

        wait_until(is_over, "the end of everything that was asked for", within_s=300)
        self._processes.end()
        self._processes.is_split = True
        self._up_and_ready()
        proof.see_the_rest_collected(self._scene, self._parts[0])
        self._processes.end()


def _parts(scene: Scene) -> list[Part]:
    """Projects of every kind, also such whose steps fail, in the way that they are told to."""
    return [
        scene.make_part("steady", ("any", "0"), ("any", "0"), ("any", "0")),
        scene.make_part("bytes", ("raw", "0"), ("quiet", "0"), ("family", "0")),
        scene.make_part("floods", ("flood", "0"), ("progress", "0")),
        scene.make_part("secretive", ("secret", "0"), ("lines", "0")),
        scene.make_part("failing", ("any", "0"), ("lines", "7"), ("any", "0")),
        scene.make_part("dying", ("any", "0"), ("family", "KILL"), ("quiet", "0")),
    ]
