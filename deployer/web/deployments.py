"""Deployments: the list of all of them, and the page of one with its commands and logs, live while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from deployer import protection
from deployer.deployments import filters, lifecycle, logs, reading, releases, search
from deployer.deployments import retry as again
from deployer.deployments.paging import Place
from deployer.deployments.search import Wanted
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.models.deployment import Command, Deployment, Status, Trigger
from deployer.models.project import Project
from deployer.models.release import Release
from deployer.web import ansi
from deployer.web.context import actor, changing, installation, me, orm

blueprint = Blueprint("deployments", __name__, url_prefix="/deployments")

SHOWN = 50
SHOWN_LOG_BYTES = 256 * 1024
"""What the page itself carries of each command's log, so that it can be read without JavaScript."""


@dataclass(frozen=True)
class ShownCommand:
    command: Command
    log: Markup


@blueprint.get("")
def index() -> ResponseReturnValue:
    session = orm.session()
    given = request.args
    wanted = Wanted(
        project=given.get("project", ""),
        status=given.get("status", ""),
        trigger=given.get("trigger", ""),
        branch=given.get("branch", "").strip(),
        text=given.get("text", "").strip(),
    )
    place = search.deployment_place(given.get("before", ""), given.get("after", ""))
    found = search.deployments(session, wanted, place, SHOWN)
    projects = session.execute(sa.select(Project.name, Project.branch).order_by(sa.func.lower(Project.name))).all()

    def address(place: Place | None) -> str:
        """The list at another place, with the same filter."""
        if place is None:
            return ""
        filtered = {name: value for name, value in vars(wanted).items() if value}
        ways = {"before": place.before, "after": place.after}
        keys = {name: key[0] for name, key in ways.items() if key}
        return url_for("deployments.index", _external=False, **filtered, **keys)

    return render_template(
        "deployments.html",
        wanted=wanted,
        page=found.page,
        count=found.count,
        is_over_count=found.count == search.COUNTED,
        newer=address(found.page.newer),
        older=address(found.page.older),
        projects=[name for name, _ in projects],
        branches=sorted({branch for _, branch in projects}),
        statuses=[status for status in Status if status is not Status.SKIPPED],
        triggers=list(Trigger),
    )


@blueprint.get("/<deployment_id>")
def show(deployment_id: str) -> ResponseReturnValue:
    return _page(deployment_id)


def _page(deployment_id: str, *, refusal: str = "") -> str:
    """``refusal`` is why it cannot be retried."""
    session = orm.session()
    deployment = _found(deployment_id)
    connection = session.connection()
    last_seq = logs.last_seq(connection, deployment.id)
    commands = [
        ShownCommand(command, ansi.render(logs.of_command(connection, command, SHOWN_LOG_BYTES)))
        for command in deployment.commands
    ]
    project = deployment.project
    return render_template(
        "deployment.html",
        deployment=deployment,
        project=project,
        can_repeat=deployment.sha is not None and filters.of(project).takes(deployment.branch, deployment.tag),
        is_newest=_is_newest(deployment),
        release=releases.find(connection, deployment.release_id),
        back_to=_back_to(deployment),
        goes_on_at=_goes_on_at(deployment),
        retry_of=reading.retried_by(session, deployment),
        retries=reading.retries_of(session, deployment),
        refusal=refusal,
        commands=commands,
        last_seq=last_seq,
        newer=_newer(deployment),
    )


def _found(deployment_id: str) -> Deployment:
    """Raises NotFound, with a word on why a link of former times may lead nowhere."""
    try:
        return reading.find(orm.session(), deployment_id)
    except NotFound as error:
        raise NotFound(
            f"{error}.", hint="It may have been removed: only the newest are kept, and none of a deleted project."
        ) from error


def _is_newest(deployment: Deployment) -> bool:
    """Whether the forge itself named this commit last; without its word there may always be a newer one."""
    newest = reading.newest_pushed(orm.session(), deployment.project_id, deployment.project.branch)
    return newest is not None and newest == deployment.sha


def _back_to(deployment: Deployment) -> Release | None:
    """After its end, where what it made is live: the release to go back to. The button names it, so that pressed
    twice, or on a page of a while ago, it goes nowhere else."""
    project = deployment.project
    if deployment.status not in (Status.FAILED, Status.INTERRUPTED, Status.CANCELLED, Status.SUCCESS):
        return None
    if deployment.release_id is None or deployment.release_id != project.current_release_id:
        return None
    return releases.former(orm.session().connection(), project.id)


def _goes_on_at(deployment: Deployment) -> str | None:
    """The name of the step from which it could be retried, where that is not the first."""
    if deployment.status not in (Status.FAILED, Status.INTERRUPTED):
        return None
    steps = [step.command for step in deployment.project.steps]
    try:
        found = again.resumption(orm.session().connection(), deployment.id, steps)
    except InvalidTransition:
        return None
    return found.name if found.from_step else None


@blueprint.post("/<deployment_id>/retry")
def retry(deployment_id: str) -> ResponseReturnValue:
    """Run its commit again, from the first step or (``from`` is ``failed``) from the one that failed."""
    deployment = reading.find(orm.session(), deployment_id)
    from_failed = request.form.get("from") == "failed"
    max_queued = installation().config.runner.max_queued
    try:
        new_id = again.ask(
            installation().database,
            actor(),
            deployment,
            max_queued,
            from_failed=from_failed,
            is_admin=me().user.is_admin,
        )
    except (InvalidInput, InvalidTransition) as error:
        said = " ".join(error.fields.values()) if isinstance(error, InvalidInput) else str(error)
        return _page(deployment_id, refusal=said), 409
    return redirect(url_for("deployments.show", deployment_id=new_id))


def _newer(deployment: Deployment) -> Deployment | None:
    """What took its place, as long as that is kept."""
    return orm.session().scalar(sa.select(Deployment).where(Deployment.id == deployment.superseded_by))


@blueprint.post("/<deployment_id>/cancel")
def cancel(deployment_id: str) -> ResponseReturnValue:
    deployment = reading.find(orm.session(), deployment_id)
    with changing("deployment.cancel_requested", deployment.ref) as session:
        lifecycle.request_cancel(session.connection(), deployment.id, me().user.username)
    return redirect(url_for("deployments.show", deployment_id=deployment.id))


@blueprint.post("/<deployment_id>/approve")
def approve(deployment_id: str) -> ResponseReturnValue:
    """Let it begin, where its project asks for that."""
    deployment = reading.find(orm.session(), deployment_id)
    try:
        with changing("deployment.approved", deployment.ref, deployment.commit_sha) as session:
            protection.approve(session, deployment.id, me().user.username)
    except InvalidTransition as error:
        return _page(deployment_id, refusal=str(error)), 409
    return redirect(url_for("deployments.show", deployment_id=deployment.id))
