"""Notifications: the channels of a project and of all projects, their test, and the log of what was sent."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import joinedload

from deployer import projects
from deployer.errors import DeployerError, InvalidInput, NotFound, SecretUnreadable
from deployer.models.channel import Channel, ChannelKind
from deployer.models.deployment import Deployment
from deployer.models.notification import BY_MAIL, Notification
from deployer.models.project import Project
from deployer.notifications import channels, mail_settings, outbox
from deployer.web import channel_form
from deployer.web.channel_form import KINDS
from deployer.web.context import changing, installation, orm

blueprint = Blueprint("channels", __name__)

SHOWN_NOTIFICATIONS = 50


@blueprint.get("/settings/notifications")
def of_all() -> ResponseReturnValue:
    return _page(None)


@blueprint.get("/projects/<name>/notifications")
def of_project(name: str) -> ResponseReturnValue:
    return _page(projects.find(orm.session(), name))


def _page(project: Project | None, said: Mapping[str, str] | None = None) -> str:
    """``said`` is what a test said: of which channel, and its message or its error."""
    session = orm.session()
    newest = (
        sa.select(Notification)
        .join(Deployment, Deployment.id == Notification.deployment_id)
        .order_by(Notification.created_at.desc(), Notification.id.desc())
        .limit(SHOWN_NOTIFICATIONS)
        .options(joinedload(Notification.deployment).joinedload(Deployment.project), joinedload(Notification.channel))
    )
    is_shown = Deployment.project_id == project.id if project else Notification.channel_id.is_not(None)
    return render_template(
        "project_notifications.html" if project else "settings_notifications.html",
        project=project,
        own=channels.of(session, project.id if project else None),
        of_all=channels.of(session, None) if project else [],
        occasions_of=channels.occasions_of,
        notifications=session.scalars(newest.where(is_shown)).all(),
        by_mail=[one for one in BY_MAIL if project and getattr(project, f"mail_on_{one}")],
        sends_mails=mail_settings.is_marked(session.connection()),
        kinds=KINDS,
        said=said or {},
    )


# Making and changing ---------------------------------------------------------------------------------------------


@blueprint.route("/settings/notifications/new", methods=["GET", "POST"])
def create_for_all() -> ResponseReturnValue:
    return _create(None)


@blueprint.route("/projects/<name>/notifications/new", methods=["GET", "POST"])
def create_for_project(name: str) -> ResponseReturnValue:
    return _create(projects.find(orm.session(), name))


def _create(project: Project | None) -> ResponseReturnValue:
    kind = _kind()
    if request.method != "POST":
        return channel_form.page(kind, project, channel_form.blank(kind))
    try:
        given = channel_form.given()
        _let_go()
        checked = channels.check(kind, given)
        with changing("channel.created", _title(project, checked.name), kind) as session:
            owner = projects.find(session, project.id) if project else None
            channel = channels.create(session, kind, checked, owner, installation().vault)
    except InvalidInput as error:
        return channel_form.page(kind, _again(project), request.form, error.fields), 400
    flash(f"{checked.name} is added. Send it a test message.")
    return _back(channel, project)


def _kind() -> ChannelKind:
    try:
        return ChannelKind(request.args.get("kind", ""))
    except ValueError:
        raise NotFound("There is no such kind of channel.") from None


def _again(project: Project | None) -> Project | None:
    return projects.find(orm.session(), project.id) if project else None


@blueprint.route("/channels/<channel_id>", methods=["GET", "POST"])
def edit(channel_id: str) -> ResponseReturnValue:
    channel = channels.find(orm.session(), channel_id)
    if request.method != "POST":
        return channel_form.page(channel.kind, channel.project, channel_form.filled(channel), channel=channel)
    vault = installation().vault
    kind, project, present = channel.kind, channel.project, _present(channel)
    try:
        given = channel_form.given()
        _let_go()
        checked = channels.check(kind, given, present)
        with changing("channel.changed", _title(project, checked.name)) as session:
            channels.update(session, channels.find(session, channel_id), checked, vault)
    except InvalidInput as error:
        channel = channels.find(orm.session(), channel_id)
        return channel_form.page(kind, channel.project, request.form, error.fields, channel=channel), 400
    flash("Saved.")
    return _back(channel, project)


def _present(channel: Channel) -> channels.Checked | None:
    """What is stored; None where the key file is another one than that it was sealed with: it is entered anew."""
    try:
        return channels.as_checked(channel, installation().vault)
    except SecretUnreadable:
        return None


@blueprint.post("/channels/<channel_id>/switch")
def switch(channel_id: str) -> ResponseReturnValue:
    channel = channels.find(orm.session(), channel_id)
    project, is_enabled = channel.project, request.form.get("to") == "on"
    with changing(f"channel.switched_{'on' if is_enabled else 'off'}", _title(project, channel.name)) as session:
        channels.switch(channels.find(session, channel_id), is_enabled=is_enabled)
    flash(f"{channel.name} is switched {'on' if is_enabled else 'off'}.")
    return _back(channel, project)


@blueprint.post("/channels/<channel_id>/secret")
def renew_secret(channel_id: str) -> ResponseReturnValue:
    channel = channels.find(orm.session(), channel_id)
    with changing("channel.secret_renewed", _title(channel.project, channel.name)) as session:
        channels.renew_secret(channels.find(session, channel_id), installation().vault)
    flash("What is sent from now on is signed with the new secret.")
    return redirect(url_for("channels.edit", channel_id=channel_id, _anchor="signing"))


@blueprint.post("/channels/<channel_id>/delete")
def delete(channel_id: str) -> ResponseReturnValue:
    channel = channels.find(orm.session(), channel_id)
    project = channel.project
    with changing("channel.deleted", _title(project, channel.name)) as session:
        channels.delete(session, channels.find(session, channel_id))
    flash(f"{channel.name} is deleted.")
    return _back(channel, project)


# Sending ---------------------------------------------------------------------------------------------------------


@blueprint.post("/channels/<channel_id>/test")
def test(channel_id: str) -> ResponseReturnValue:
    """Send a test message and say what came of it, within 15 s."""
    # Imported here: a process that sends nothing does not carry what sending needs.
    from deployer.notifications import sending

    channel = channels.find(orm.session(), channel_id)
    project_id = channel.project_id
    _let_go()
    try:
        said = {"message": sending.send_test(installation(), channel_id)}
    except DeployerError as error:
        said = {"error": str(error)}
    project = orm.session().get(Project, project_id) if project_id else None
    return _page(project, {"channel_id": channel_id, **said})


@blueprint.post("/notifications/<notification_id>/retry")
def retry(notification_id: str) -> ResponseReturnValue:
    """Try again what was given up."""
    with changing("notification.retried", notification_id) as session:
        if not outbox.try_again(session.connection(), notification_id):
            raise NotFound("There is no notification that was given up under this address.")
        found = session.get_one(Notification, notification_id)
        name = found.deployment.project.name
    flash("It is tried again now.")
    if request.form.get("back") == "settings":
        return redirect(url_for("channels.of_all", _anchor="notifications-title"))
    return redirect(url_for("channels.of_project", name=name, _anchor="notifications-title"))


def _title(project: Project | None, name: str) -> str:
    """What the audit log calls a channel."""
    return f"{project.name}/{name}" if project else name


def _back(channel: Channel, project: Project | None) -> ResponseReturnValue:
    anchor = f"channel-{channel.id}"
    if project:
        return redirect(url_for("channels.of_project", name=project.name, _anchor=anchor))
    return redirect(url_for("channels.of_all", _anchor=anchor))


def _let_go() -> None:
    """Somebody else is asked, which may take seconds: no snapshot of the database is held open meanwhile."""
    orm.session().expunge_all()
    orm.session().rollback()
