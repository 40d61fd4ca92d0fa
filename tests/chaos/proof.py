"""The proof: what was asked for, what the steps wrote down, and what is on record, compared."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import sqlalchemy as sa

from deployer.models import Command, Delivery
from deployer.models.deployment import ChunkKind, CommandKind, Status
from deployer.security.redaction import MASK
from tests.chaos.scene import TOKEN, Part, Scene
from tests.support.waiting import wait_until

TOMBSTONE = {"pid", "exit"}


@dataclass
class Found:
    """``violations`` are sentences, each about one broken promise; the rest is for the table."""

    violations: list[str] = field(default_factory=list)
    deployments: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    steps: int = 0
    log_bytes: int = 0
    pushes: int = 0
    answered: int = 0


def prove(scene: Scene) -> Found:
    """Once nothing is queued or running any more."""
    found = Found()
    begun = _begun(scene)
    known = {one.id: one for one in scene.operator.deployments()}
    commands = _by_deployment(scene.operator.rows(sa.select(*Command.__table__.columns).order_by(Command.position)))
    for deployment in known.values():
        part = scene.parts[deployment.project_id]
        mine = commands.get(deployment.id, [])
        found.violations += [
            f"{deployment.id} ({part.project.name}): {problem}"
            for problem in (
                *_status(scene, deployment, part),
                *_steps(scene, deployment, part, mine, begun.pop(deployment.id, [])),
                *_logs(scene, deployment, mine, found),
                *_numbering(scene, deployment, mine),
            )
        ]
        found.deployments[deployment.status] += 1
        found.commands += sum(one.started_at is not None for one in mine)
    found.violations += [f"steps of a deployment that is not on record ran: {one}" for one in begun]
    found.violations += [f"{one}, asked for by hand, is gone" for one in scene.asked.by_hand if one not in known]
    found.violations += _pushes(scene, known, found)
    found.violations += left_in_spools(scene)
    if not scene.daemon.config.has_shared_database:
        found.violations += integrity(scene.daemon.config.database_path)
    return found


def _status(scene: Scene, deployment: SimpleNamespace, part: Part) -> Iterator[str]:
    status = Status(deployment.status)
    allowed = {part.status}
    if deployment.id in scene.asked.cancelled:
        allowed.add(Status.CANCELLED)
    if deployment.superseded_by:
        allowed.add(Status.SUPERSEDED)
        if deployment.trigger != "push":
            yield f"was asked for by hand, and superseded by {deployment.superseded_by}"
    if status not in allowed:
        yield f"ended {status} ({deployment.cause}), not {' or '.join(sorted(allowed))}"
    expected = ["queued", "running", status] if deployment.started_at else ["queued", status]
    events = [one for one in scene.operator.events(deployment.id) if one != "cancel_requested"]
    if events != expected:
        yield f"has the events {events}"
    if status is Status.SUCCESS and deployment.deployed_sha != scene.sha:
        yield f"deployed {deployment.deployed_sha}, not {scene.sha}"


def _steps(
    scene: Scene, deployment: SimpleNamespace, part: Part, commands: list[SimpleNamespace], begun: list[int]
) -> Iterator[str]:
    """Each step that had to run was begun exactly once, in its order, and its end is on record."""
    if begun != list(range(len(begun))):
        yield f"began its steps like this: {begun}"
    status = Status(deployment.status)
    steps = [one for one in commands if one.kind is CommandKind.STEP]
    if status in (Status.SUCCESS, Status.FAILED) and len(begun) != part.steps_run:
        yield f"began {len(begun)} steps, not {part.steps_run}"
    for number, step in enumerate(steps):
        ending = part.endings[number]
        if number > part.steps_run - 1 or number > len(begun):
            wanted, code = Status.SKIPPED, None
        elif status is Status.CANCELLED and step.status != Status.SUCCESS:
            wanted, code = (Status(step.status), step.exit_code)
        elif ending == "0":
            wanted, code = Status.SUCCESS, 0
        else:
            wanted, code = Status.FAILED, int(ending) if ending.isdigit() else 137
        if (step.status, step.exit_code) != (wanted, code):
            yield f"step {number} is {step.status} with {step.exit_code}, not {wanted} with {code}"
        if not Status(step.status).is_final:
            yield f"step {number} has not ended"


def _logs(scene: Scene, deployment: SimpleNamespace, commands: list[SimpleNamespace], found: Found) -> Iterator[str]:
    chunks = scene.operator.chunks(deployment.id)
    steps = [one for one in commands if one.kind is CommandKind.STEP and one.started_at]
    for number, step in enumerate(steps):
        mine = [one for one in chunks if one.command_id == step.id]
        stored = b"".join(one.data for one in mine if one.kind is ChunkKind.OUTPUT)
        path = scene.place / f"said.{deployment.id}.{number}"
        printed = (path.read_bytes() if path.exists() else b"").replace(TOKEN.encode(), MASK)
        found.steps += 1
        found.log_bytes += len(stored)
        if step.status == Status.CANCELLED and _was_cut_off(stored, printed, step, deployment):
            continue
        if _sha256(stored) != _sha256(printed):
            place = next((at for at, pair in enumerate(zip(stored, printed, strict=False)) if pair[0] != pair[1]), -1)
            yield (
                f"the log of step {number} is another one: {len(stored)} bytes are stored ({_sha256(stored)[:12]}), "
                f"{len(printed)} were printed ({_sha256(printed)[:12]}), and they part at {place}"
            )
        said = b"".join(one.data for one in mine if one.kind is ChunkKind.SYSTEM)
        if b"is missing" in said or b"Interrupted" in said:
            yield f"of step {number} it is said: {said.decode()}"


def _was_cut_off(stored: bytes, printed: bytes, step: SimpleNamespace, deployment: SimpleNamespace) -> bool:
    """Whether a cancelled step's log differs as it may: it was ended between printing and writing that down; or its
    children printed on when it had ended; or its server could not be reached, and nobody read on."""
    prints_on = re.search(r" (family|any) ", step.line) or "can be reached again" in (deployment.cause or "")
    return stored.startswith(printed) or (bool(prints_on) and printed.startswith(stored))


def _numbering(scene: Scene, deployment: SimpleNamespace, commands: list[SimpleNamespace]) -> Iterator[str]:
    last = 0
    for chunk in scene.operator.chunks(deployment.id):
        if chunk.seq - chunk.lines != last:
            yield f"lines {chunk.seq - chunk.lines + 1} to {chunk.seq} follow line {last}"
        if chunk.lines != chunk.data.count(b"\n") + (not chunk.data.endswith(b"\n")):
            yield f"the chunk of line {chunk.seq} counts {chunk.lines} lines"
        last = chunk.seq
    if [one.position for one in commands] != list(range(len(commands))):
        yield f"has commands at {[one.position for one in commands]}"


def _pushes(scene: Scene, known: dict[str, SimpleNamespace], found: Found) -> Iterator[str]:
    """Of what was answered 200 all is on record; of what was not answered, all or nothing."""
    deliveries = scene.operator.rows(sa.select(*Delivery.__table__.columns))
    by_guid: dict[str, list[SimpleNamespace]] = {}
    for one in deliveries:
        by_guid.setdefault(one.guid, []).append(one)
    found.pushes, found.answered = len(scene.asked.pushes), 0
    for sent in scene.asked.pushes:
        if sent.status is None:
            continue
        found.answered += 1
        if sent.status not in (200, 503):
            yield f"push {sent.guid} was answered {sent.status}"
        if sent.status == 200 and sent.guid not in by_guid:
            yield f"push {sent.guid} was answered 200 and is not on record"
        if sent.deployment_id and sent.deployment_id not in known:
            yield f"push {sent.guid} was answered 200, and its deployment {sent.deployment_id} is gone"
    guids = Counter(one.delivery_guid for one in known.values() if one.delivery_guid)
    for guid, mine in by_guid.items():
        led = [one.deployment_id for one in mine if one.deployment_id]
        if len(led) != 1 or led[0] not in known or guids[guid] != 1:
            yield f"push {guid} led to {led}, of which {guids[guid]} are on record"


def wait_until_collected(scene: Scene) -> None:
    wait_until(lambda: not list(left_in_spools(scene)), "everything is collected", within_s=30)


def see_the_rest_collected(scene: Scene, part: Part) -> None:
    """What a killed runner could not collect is collected by the next one, which stands and deploys ``part``."""
    assert scene.operator.wait_for_end(scene.deploy(part), within_s=120).status is Status.SUCCESS
    wait_until_collected(scene)


def left_in_spools(scene: Scene) -> Iterator[str]:
    """Of what has ended only that is left which says that it ran."""
    for spool in scene.spools:
        for run in spool.iterdir() if spool.exists() else ():
            if run.is_dir() and (left := {one.name for one in run.iterdir()} - TOMBSTONE):
                yield f"{run} was not collected: {sorted(left)}"


def integrity(database: Path) -> Iterator[str]:
    """What SQLite itself says of the file."""
    connection = sqlite3.connect(database)
    try:
        for pragma, wanted in (("integrity_check", [("ok",)]), ("foreign_key_check", [])):
            said = connection.execute(f"PRAGMA {pragma}").fetchall()
            if said != wanted:
                yield f"PRAGMA {pragma} of {database} says {said[:5]}"
    finally:
        connection.close()


def _begun(scene: Scene) -> dict[str, list[int]]:
    """Of each deployment the numbers of its steps, in the order in which they were begun."""
    found: dict[str, list[int]] = {}
    path = scene.place / "begun"
    for line in path.read_text().splitlines() if path.exists() else ():
        deployment_id, number = line.split()
        found.setdefault(deployment_id, []).append(int(number))
    return found


def _by_deployment(rows: list[SimpleNamespace]) -> dict[str, list[SimpleNamespace]]:
    found: dict[str, list[SimpleNamespace]] = {}
    for one in rows:
        found.setdefault(one.deployment_id, []).append(one)
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
