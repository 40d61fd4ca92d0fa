"""Settings → Mail: the mail server, a test mail, and what became of the last notifications."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import joinedload

from deployer.errors import DeployerError, InvalidInput, NotFound
from deployer.models.deployment import Deployment
from deployer.models.notification import Notification
from deployer.notifications import mail_settings, outbox
from deployer.web.context import changing, installation, orm

blueprint = Blueprint("mail", __name__, url_prefix="/settings/mail")

SHOWN_NOTIFICATIONS = 20


@blueprint.get("")
def show() -> ResponseReturnValue:
    return _page()


def _page(
    *,
    given: Mapping[str, str] | None = None,
    errors: dict[str, str] | None = None,
    said: dict[str, str] | None = None,
) -> str:
    session = orm.session()
    found = mail_settings.load(session.connection(), installation().config)
    present = {name: str(getattr(found, name) or "") for name in mail_settings.FIELDS}
    # What the configuration sets is shown as it is, whatever was sent.
    shown = {**present, **{name: text for name, text in (given or {}).items() if name not in found.fixed}}
    notifications = session.scalars(
        sa.select(Notification)
        .where(Notification.channel_id.is_(None))
        .order_by(Notification.created_at.desc(), Notification.id.desc())
        .limit(SHOWN_NOTIFICATIONS)
        .options(joinedload(Notification.deployment).joinedload(Deployment.project))
    ).all()
    return render_template(
        "settings_mail.html",
        mail=found,
        given=shown,
        ports=mail_settings.PORTS,
        notifications=notifications,
        errors=errors or {},
        said=said,
    )


@blueprint.post("")
def save() -> ResponseReturnValue:
    given = {name: request.form.get(name, "") for name in mail_settings.FIELDS}
    parts = installation()
    try:
        with changing("mail.changed") as session:
            mail_settings.save(
                session.connection(),
                given,
                request.form.get("password", ""),
                config=parts.config,
                vault=parts.vault,
            )
    except InvalidInput as error:
        return _page(given=given, errors=error.fields), 400
    flash("Saved.")
    return redirect(url_for("mail.show"))


@blueprint.post("/test")
def test() -> ResponseReturnValue:
    """The same as the session API's ``POST /email/test``, for browsers that run no scripts."""
    # Imported here: a process that sends nothing does not carry mail and TLS in memory.
    from deployer.notifications import delivery

    # A mail server may take seconds: no snapshot of the database is held open meanwhile.
    orm.session().expunge_all()
    orm.session().rollback()
    try:
        recipients = delivery.send_test(installation())
    except DeployerError as error:
        return _page(said={"error": str(error)})
    return _page(said={"message": f"Test email sent to {recipients}"})


@blueprint.post("/<notification_id>/retry")
def retry(notification_id: str) -> ResponseReturnValue:
    with changing("notification.retried", notification_id) as session:
        if not outbox.try_again(session.connection(), notification_id):
            raise NotFound("There is no mail that was given up under this address.")
    flash("It is tried again now.")
    return redirect(url_for("mail.show", _anchor="notifications-title"))
