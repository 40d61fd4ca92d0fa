"""Looking for deployments and deliveries: what is wanted of them, and a page of what was found."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from deployer.deployments import paging
from deployer.deployments.paging import Page, Place
from deployer.errors import NotFound
from deployer.models.delivery import Delivery, Verdict
from deployer.models.deployment import TAGS, Deployment, Status, Trigger
from deployer.models.project import Project

COUNTED = 1001
"""Beyond a thousand nobody needs the number, and counting would take its time."""

_REFERENCE = re.compile(r"(?:DEP-)?0*([1-9][0-9]{0,8})\Z", re.IGNORECASE)
_SHA_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wanted:
    """What deployments are looked for; what is empty does not matter.

    ``project`` is its name. ``text`` is looked for in message, author and who asked, or it is the beginning of a
    commit's id, or a reference (``DEP-0042``, ``42``).
    """

    project: str = ""
    status: str = ""
    trigger: str = ""
    branch: str = ""
    text: str = ""

    @property
    def is_everything(self) -> bool:
        return not any(getattr(self, one.name) for one in fields(self))


@dataclass(frozen=True)
class Found:
    """A page of deployments, and how many there are on all pages (at most `COUNTED`)."""

    page: Page[Deployment]
    count: int


def deployments(session: Session, wanted: Wanted, place: Place, limit: int) -> Found:
    """Newest first. A status or trigger that does not exist finds nothing."""
    statement = sa.select(Deployment).where(*_conditions(wanted))
    page = paging.page(
        session,
        statement.options(joinedload(Deployment.project)),
        [Deployment.number],
        lambda one: (one.number,),
        place,
        limit,
    )
    return Found(page, paging.count(session, statement, COUNTED))


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.project:
        found.append(
            Deployment.project_id == sa.select(Project.id).where(Project.name == wanted.project).scalar_subquery()
        )
    if wanted.status:
        is_known = wanted.status in set(Status)
        found.append(Deployment.status == Status(wanted.status) if is_known else sa.false())
    if wanted.trigger:
        is_known = wanted.trigger in set(Trigger)
        found.append(Deployment.trigger == Trigger(wanted.trigger) if is_known else sa.false())
    if wanted.branch:
        found.append(Deployment.branch.in_((wanted.branch, f"{TAGS}{wanted.branch}")))
    if wanted.text:
        found.append(_says(wanted.text))
    return found


def _says(text: str) -> sa.ColumnElement[bool]:
    columns = (
        Deployment.commit_message,
        Deployment.author_name,
        Deployment.author_email,
        Deployment.pusher,
        Deployment.triggered_by,
    )
    ways: list[sa.ColumnElement[bool]] = [column.icontains(text, autoescape=True) for column in columns]
    if reference := _REFERENCE.match(text):
        ways.append(Deployment.number == int(reference[1]))
    if _SHA_PREFIX.match(text):
        ways.append(Deployment.commit_sha.startswith(text.lower()))
        ways.append(Deployment.deployed_sha.startswith(text.lower()))
    return sa.or_(*ways)


@dataclass(frozen=True)
class WantedDeliveries:
    """What deliveries are looked for; what is empty does not matter.

    ``branch`` is the name of a branch or a tag. ``text`` is looked for in the reason, the ref, the repository, the
    forge's id of the delivery and the sender's address, or it is the beginning of a commit's id.
    """

    verdict: str = ""
    event: str = ""
    branch: str = ""
    text: str = ""

    @property
    def is_everything(self) -> bool:
        return not any(getattr(self, one.name) for one in fields(self))


def deliveries(
    session: Session, project_id: str, wanted: WantedDeliveries, place: Place, limit: int
) -> Page[Delivery]:
    """Of a project, newest first. A verdict that does not exist finds nothing."""
    statement = sa.select(Delivery).where(Delivery.project_id == project_id, *_conditions_of_deliveries(wanted))
    return paging.page(
        session,
        statement,
        [Delivery.received_at, Delivery.id],
        lambda one: (one.received_at, one.id),
        place,
        limit,
    )


def _conditions_of_deliveries(wanted: WantedDeliveries) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.verdict:
        is_known = wanted.verdict in set(Verdict)
        found.append(Delivery.verdict == Verdict(wanted.verdict) if is_known else sa.false())
    if wanted.event:
        found.append(Delivery.event == wanted.event)
    if wanted.branch:
        names = (f"refs/heads/{wanted.branch}", f"refs/tags/{wanted.branch}", wanted.branch)
        found.append(Delivery.ref.in_(names))
    if wanted.text:
        columns = (Delivery.reason, Delivery.ref, Delivery.repository, Delivery.guid, Delivery.remote_address)
        ways: list[sa.ColumnElement[bool]] = [column.icontains(wanted.text, autoescape=True) for column in columns]
        if _SHA_PREFIX.match(wanted.text):
            ways.append(Delivery.commit_sha.startswith(wanted.text.lower()))
        found.append(sa.or_(*ways))
    return found


def delivery(session: Session, project_id: str, delivery_id: str) -> Delivery:
    """One of a project. Raises NotFound."""
    found = session.get(Delivery, delivery_id)
    if found is None or found.project_id != project_id:
        raise NotFound("Delivery not found. It may have been removed: they are kept for a while only.")
    return found


def still_there(session: Session, delivery_id: str | None) -> Delivery | None:
    """The delivery that another one names, which may be gone."""
    return session.get(Delivery, delivery_id) if delivery_id else None


def events(session: Session, project_id: str) -> list[str]:
    """The events of a project's newest deliveries, sorted."""
    newest = (
        sa.select(Delivery.event)
        .where(Delivery.project_id == project_id)
        .order_by(Delivery.received_at.desc())
        .limit(COUNTED)
        .subquery()
    )
    return sorted(event for event in session.scalars(sa.select(newest.c.event).distinct()) if event)


def deployment_place(before: str, after: str) -> Place:
    """From the numbers of deployments, as an address carries them; what cannot be read is left out."""
    return Place(_number(before), _number(after))


def _number(text: str) -> tuple[int] | None:
    return (int(text),) if re.fullmatch(r"[0-9]{1,9}", text) else None


def delivery_place(before: str, after: str) -> Place:
    """From what `delivery_key` wrote into an address; what cannot be read is left out."""
    return Place(_moment_and_id(before), _moment_and_id(after))


def delivery_key(key: tuple[datetime, str]) -> str:
    """``<milliseconds since 1970>.<id>``"""
    return f"{round(key[0].timestamp() * 1000)}.{key[1]}"


def _moment_and_id(text: str) -> tuple[datetime, str] | None:
    match = re.fullmatch(r"([0-9]{1,14})\.([0-9a-f-]{36})", text)
    return (_EPOCH + timedelta(milliseconds=int(match[1])), match[2]) if match else None
