"""Users: who there is, their roles, and invitations for more. For administrators."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import accounts, invitations, two_factor
from deployer.errors import InvalidInput, InvalidTransition
from deployer.web.context import changing, installation, me, orm

blueprint = Blueprint("users", __name__, url_prefix="/settings/users")


@blueprint.get("")
def index() -> ResponseReturnValue:
    return _page()


def _page(*, errors: dict[str, str] | None = None, refused: str | None = None, link: str | None = None) -> str:
    session = orm.session()
    return render_template(
        "users.html",
        users=accounts.everybody(session),
        waiting=invitations.waiting(session),
        own_id=me().user.id,
        errors=errors or {},
        refused=refused,
        link=link,
        days=invitations.GOOD_FOR.days,
    )


@blueprint.post("/<user_id>/role")
def change_role(user_id: str) -> ResponseReturnValue:
    user = accounts.find(orm.session(), user_id)
    is_admin = _is_admin()
    try:
        with changing("user.role_changed", user.username, f"now {accounts.role(is_admin)}") as session:
            accounts.change_role(session, accounts.find(session, user_id), is_admin=is_admin)
    except InvalidTransition as error:
        return _page(refused=str(error)), 409
    if user.id == me().user.id and not is_admin:
        flash("You are a member now.")
        return redirect(url_for("dashboard.home"))
    flash(f"{user.username} is {'an administrator' if is_admin else 'a member'} now.")
    return redirect(url_for("users.index"))


def _is_admin() -> bool:
    """The role that a form names. Raises InvalidInput."""
    role = request.form.get("role")
    if role not in (accounts.ADMIN, accounts.MEMBER):
        raise InvalidInput({"role": "Choose admin or member."})
    return role == accounts.ADMIN


@blueprint.route("/<user_id>/remove", methods=["GET", "POST"])
def remove(user_id: str) -> ResponseReturnValue:
    user = accounts.find(orm.session(), user_id)
    if request.method != "POST":
        return render_template("user_remove.html", user=user, is_self=user.id == me().user.id)
    try:
        with changing("user.removed", user.username) as session:
            accounts.remove(session, accounts.find(session, user_id))
    except InvalidTransition as error:
        return _page(refused=str(error)), 409
    flash(f"{user.username} is removed.")
    return redirect(url_for("users.index"))


@blueprint.post("/<user_id>/reset-two-factor")
def reset_two_factor(user_id: str) -> ResponseReturnValue:
    user = accounts.find(orm.session(), user_id)
    if user.id == me().user.id:
        # There it asks for the password.
        flash("Your own two-factor login is switched off under Your account.")
        return redirect(url_for("account.show"))
    with changing("user.two_factor_reset", user.username) as session:
        two_factor.switch_off(session, user_id)
    flash(f"{user.username} logs in by password alone, until they set up two-factor login again.")
    return redirect(url_for("users.index"))


@blueprint.post("/invitations")
def invite() -> ResponseReturnValue:
    """The link is on the answer's page and nowhere else: it is not kept."""
    email = request.form.get("email", "").strip()
    try:
        is_admin = _is_admin()
        with changing("invitation.created", email, f"as {accounts.role(is_admin)}") as session:
            _, token = invitations.invite(session, email, is_admin=is_admin, by=me().user.username)
    except InvalidInput as error:
        return _page(errors=error.fields), 400
    orm.session().rollback()
    return _page(link=invitations.link(installation().config.public_url, token))


@blueprint.post("/invitations/<invitation_id>/revoke")
def revoke_invitation(invitation_id: str) -> ResponseReturnValue:
    invitation = invitations.find(orm.session(), invitation_id)
    with changing("invitation.revoked", invitation.email) as session:
        session.delete(invitations.find(session, invitation_id))
    flash(f"The invitation of {invitation.email} is no longer good.")
    return redirect(url_for("users.index"))
