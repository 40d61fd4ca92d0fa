"""What becomes of deliveries: each is recorded with its verdict, and leads to a deployment where that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from deployer import clock, counters
from deployer.deployments import filters, lifecycle, queue, verdicts
from deployer.deployments.filters import Filters
from deployer.deployments.lifecycle import NewDeployment
from deployer.deployments.payloads import Packed
from deployer.deployments.verdicts import Decision
from deployer.models.base import table_of
from deployer.models.delivery import Delivery, DeliveryPayload, Verdict
from deployer.models.deployment import DELIVERY_IS_SPENT, FOLLOWS_BRANCH, Deployment, Status, Trigger
from deployer.models.project import HAS_SOMETHING_TO_DO, Project
from deployer.providers.base import Event, Push

KEPT_UNVERIFIED = 100
"""Deliveries with a bad signature that are kept for each project; the rest is only counted."""

UNKNOWN_PROJECT = "webhook.unknown_project"

_projects = table_of(Project)
_deployments = table_of(Deployment)
_deliveries = table_of(Delivery)
_payloads = table_of(DeliveryPayload)


@dataclass(frozen=True, slots=True)
class Request:
    """One webhook request for a known project.

    ``event`` is None where the signature did not verify or the body was unusable; ``decision`` then says so.
    ``sealed_secret`` is the stored secret with which the signature was right; empty where it was not, and in a
    replay. ``read_as`` are the settings by which it was verified and read (`READ_AS`); None where nothing is to be
    compared with them. ``payload`` is there only of what was verified. ``asked_by`` is the person who sent it from
    here; with ``replay_of`` they had that delivery's payload decided on again.
    """

    project_id: str
    provider: str
    received_at: datetime
    event: Event | None = None
    decision: Decision | None = None
    sealed_secret: bytes = b""
    read_as: tuple[object, ...] | None = None
    event_name: str | None = None
    guid: str | None = None
    headers: str | None = None
    remote_address: str | None = None
    payload: Packed | None = None
    asked_by: str | None = None
    replay_of: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a request. ``decision`` is None when its project, or its secret, is gone by now."""

    decision: Decision | None
    deployment_id: str | None = None
    delivery_id: str | None = None


@dataclass(frozen=True, slots=True)
class _ProjectFacts:
    sealed_secret: bytes
    auto_deploy: bool
    cancel_running: bool
    is_connected: bool
    has_steps: bool
    polled_sha: str | None
    read_as: tuple[object, ...]
    filters: Filters


READ_AS = (
    _projects.c.provider,
    _projects.c.hook_header,
    _projects.c.hook_prefix,
    _projects.c.hook_ref,
    _projects.c.hook_commit,
    _projects.c.watched_paths != "",
    _projects.c.ignored_paths != "",
)
"""The settings of a project by which a request is verified and read."""


def record(connection: sa.Connection, requests: Sequence[Request], max_queued: int) -> list[Recorded]:
    """Record deliveries that came together, and enqueue what they ask for, all in the caller's transaction.

    The answers are in the order of the requests, and are what one after the other would have got.
    """
    projects = _project_facts(connection, {one.project_id for one in requests})
    known_guids = _known_deliveries(connection, requests)
    room = queue.Room(connection, max_queued)
    answers: list[Recorded] = []
    new: list[NewDeployment] = []
    rows: list[dict[str, object]] = []
    kept: list[dict[str, object]] = []
    connected: set[str] = set()
    for request in requests:
        project = projects.get(request.project_id)
        if project is None or _is_outdated(request, project):
            answers.append(Recorded(None))
            continue
        decision, pushes = request.decision, request.event.pushes[:1] if request.event else ()
        if decision is None:
            decision, pushes = verdicts.decide(_event(request), project.filters, auto_deploy=project.auto_deploy)
        is_news = decision.deploys and request.replay_of is None
        found_before = _found_before(connection, request, project, pushes[0]) if is_news else None
        if found_before and len(pushes) > 1:
            # The other refs are news for all that.
            found_before, pushes = None, pushes[1:]
        if found_before:
            decision = _FOUND_BEFORE
        elif decision.deploys:
            decision = _admit(request, project, known_guids, room, pushes)
        deployments = _new_deployments(request, pushes) if decision.deploys else []
        led_to = deployments[0].id if deployments else found_before
        if deployments:
            new += deployments
            if request.guid:
                known_guids.add((request.project_id, request.guid))
        if request.event and not project.is_connected and request.asked_by is None:
            connected.add(request.project_id)
        delivery_id = clock.new_id()
        answers.append(Recorded(decision, led_to, delivery_id))
        rows.append(_delivery_row(delivery_id, request, decision, led_to, pushes[0] if pushes else None))
        if (payload := request.payload) is not None:
            kept.append({"delivery_id": delivery_id, "size_bytes": payload.size_bytes, "packed": payload.packed})
    if new:
        lifecycle.enqueue(connection, new)
        queue.cancel_running(connection, [one for one in new if projects[one.project_id].cancel_running])
    if rows:
        connection.execute(_INSERT_DELIVERIES, rows)
    if kept:
        connection.execute(_INSERT_PAYLOADS, kept)
    _mark_connected(connection, connected)
    _trim_unverified(connection, [r for r in requests if r.decision and r.decision.verdict is Verdict.UNVERIFIED])
    return answers


def _is_outdated(request: Request, project: _ProjectFacts) -> bool:
    """Whether the request was examined by what the project no longer says."""
    if request.sealed_secret and request.sealed_secret != project.sealed_secret:
        return True
    return request.read_as is not None and request.read_as != project.read_as


def _event(request: Request) -> Event:
    assert request.event is not None
    return request.event


_FOUND_BEFORE = Decision(Verdict.DUPLICATE, verdicts.FOUND_BEFORE)


def _found_before(connection: sa.Connection, request: Request, project: _ProjectFacts, push: Push) -> str | None:
    """The branch's last deployment, where a look at the repository had it begin before its delivery came. One that
    still waits gives way to the push, which knows more; one that failed is run again, as for any delivery."""
    if push.branch != project.filters.branch or push.sha != project.polled_sha:
        return None
    columns = (_deployments.c.id, _deployments.c.trigger, _deployments.c.status, _deployments.c.commit_sha)
    last = connection.execute(
        sa.select(*columns)
        .where(_deployments.c.project_id == request.project_id, _deployments.c.branch == push.branch, FOLLOWS_BRANCH)
        .order_by(_deployments.c.number.desc())
        .limit(1)
    ).first()
    if last is None or last.trigger is not Trigger.POLL or last.commit_sha != push.sha:
        return None
    return last.id if last.status in (Status.RUNNING, Status.SUCCESS, Status.CANCELLED) else None


def _admit(
    request: Request,
    project: _ProjectFacts,
    known_guids: set[tuple[str, str]],
    room: queue.Room,
    pushes: Sequence[Push],
) -> Decision:
    """The last three questions to a push that is to be deployed: seen before, anything to do, any room.

    A replay was seen before, which is its point; it is a person's wish, and takes the place of no push.
    """
    is_replay = request.replay_of is not None
    if request.guid and (request.project_id, request.guid) in known_guids:
        return Decision(Verdict.DUPLICATE, verdicts.DUPLICATE)
    if not project.has_steps:
        return Decision(Verdict.IGNORED, verdicts.NO_STEPS)
    if not room.take([None if is_replay else (request.project_id, _place(push)) for push in pushes]):
        return Decision(Verdict.REFUSED, verdicts.QUEUE_FULL)
    return Decision(Verdict.DEPLOYED, verdicts.TRIGGERED)


def _place(push: Push) -> str:
    """A push's place in the queue, as a deployment has it: its branch, or the full ref of its tag."""
    return push.ref if push.branch is None else push.branch


# Pushes come many a second, so what they need is built once.
_SELECT_PROJECTS = sa.select(
    _projects.c.id,
    _projects.c.webhook_secret,
    _projects.c.auto_deploy,
    _projects.c.cancel_running,
    _projects.c.connected_at.is_not(None),
    HAS_SOMETHING_TO_DO,
    _projects.c.polled_sha,
    *READ_AS,
    *(_projects.c[name] for name in filters.COLUMNS),
).where(_projects.c.id.in_(sa.bindparam("ids", expanding=True)))
_SELECT_SPENT_DELIVERIES = sa.select(_deployments.c.project_id, _deployments.c.delivery_guid).where(
    _deployments.c.project_id.in_(sa.bindparam("ids", expanding=True)),
    _deployments.c.delivery_guid.in_(sa.bindparam("guids", expanding=True)),
    DELIVERY_IS_SPENT,
)
_INSERT_DELIVERIES = _deliveries.insert()
_INSERT_PAYLOADS = _payloads.insert()


def _project_facts(connection: sa.Connection, ids: set[str]) -> dict[str, _ProjectFacts]:
    rows = connection.execute(_SELECT_PROJECTS, {"ids": list(ids)})
    return {row[0]: _facts(row) for row in rows}


def _facts(row: sa.Row[Any]) -> _ProjectFacts:
    first, last = len(row) - len(READ_AS) - len(filters.COLUMNS), len(row) - len(filters.COLUMNS)
    columns = [*row[1:first], tuple(row[first:last]), Filters(*row[last:])]
    return _ProjectFacts(*columns)


def _known_deliveries(connection: sa.Connection, requests: Sequence[Request]) -> set[tuple[str, str]]:
    """Delivery ids whose deployment is queued, running or well ended; what failed or was lost may run again."""
    guids = {one.guid for one in requests if one.guid and one.event and one.event.push}
    if not guids:
        return set()
    given = {"ids": list({one.project_id for one in requests}), "guids": list(guids)}
    rows = connection.execute(_SELECT_SPENT_DELIVERIES, given)
    return {(project, guid) for project, guid in rows}


def _new_deployments(request: Request, pushes: Sequence[Push]) -> list[NewDeployment]:
    """One for each ref that the request tells of. A delivery's id stands for one deployment: the others have none."""
    first, *others = (_new_deployment(request, push) for push in pushes)
    return [first, *(replace(one, delivery_guid=None) for one in others)]


def _new_deployment(request: Request, push: Push) -> NewDeployment:
    new = NewDeployment(
        id=clock.new_id(),
        project_id=request.project_id,
        trigger=Trigger.PUSH,
        triggered_by=push.pusher,
        branch=_place(push),
        commit_sha=push.sha,
        commit_message=push.message,
        author_name=push.author_name,
        author_email=push.author_email,
        pusher=push.pusher,
        compare_url=push.compare_url,
        repository=push.repository,
        delivery_guid=request.guid,
    )
    if request.replay_of is None:
        return new
    # A certain commit by a person's wish: it goes back to an older one, too, as no push does. That person is an
    # administrator: nobody else may replay.
    by = request.asked_by or ""
    approved = queue.approval(by, is_admin=True)
    return replace(new, trigger=Trigger.MANUAL, triggered_by=by, delivery_guid=None, **approved)


def _delivery_row(
    delivery_id: str, request: Request, decision: Decision, deployment_id: str | None, push: Push | None
) -> dict[str, object]:
    return {
        "id": delivery_id,
        "project_id": request.project_id,
        "deployment_id": deployment_id,
        "guid": request.guid,
        "provider": request.provider,
        "event": request.event_name,
        "ref": push.ref if push else None,
        "commit_sha": push.sha if push else None,
        "repository": request.event.repository if request.event else None,
        "headers": request.headers,
        "remote_address": request.remote_address,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "received_at": request.received_at,
        "replay_of": request.replay_of,
        "asked_by": request.asked_by,
    }


def _mark_connected(connection: sa.Connection, project_ids: set[str]) -> None:
    if project_ids:
        connection.execute(_projects.update().where(_projects.c.id.in_(project_ids)).values(connected_at=clock.now()))


def _trim_unverified(connection: sa.Connection, requests: Sequence[Request]) -> None:
    for project_id in {one.project_id for one in requests}:
        is_unverified = sa.and_(_deliveries.c.project_id == project_id, _deliveries.c.verdict == Verdict.UNVERIFIED)
        newest = (
            sa.select(_deliveries.c.id)
            .where(is_unverified)
            .order_by(_deliveries.c.received_at.desc(), _deliveries.c.id.desc())
            .limit(KEPT_UNVERIFIED)
        )
        connection.execute(_deliveries.delete().where(is_unverified, _deliveries.c.id.not_in(newest)))
        number = sum(one.project_id == project_id for one in requests)
        counters.add(connection, unverified_counter(project_id), number)


def unverified_counter(project_id: str) -> str:
    return f"webhook.unverified.{project_id}"
