"""One's own account: name and address, password, sessions, and two-factor login."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from deployer import accounts, logins, sessions, two_factor
from deployer.errors import InvalidInput, SecretUnreadable
from deployer.web.context import changing, installation, me, orm

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("")
def show() -> ResponseReturnValue:
    return _page()


def _page(errors: dict[str, str] | None = None) -> str:
    own = sessions.of_user(orm.session(), me().user.id)
    return render_template(
        "account.html",
        user=me().user,
        role=accounts.role(me().user.is_admin),
        # The one that asks comes first.
        sessions=sorted(own, key=lambda one: not sessions.is_of(one, me().token)),
        present=next((sessions.public_id(one) for one in own if sessions.is_of(one, me().token)), None),
        codes_left=two_factor.recovery_codes_left(orm.session(), me().user.id),
        errors=errors or {},
    )


@blueprint.post("/email")
def change_email() -> ResponseReturnValue:
    try:
        with changing("user.email_changed", me().user.username) as session:
            accounts.change_email(session, me().user.id, request.form.get("email", "").strip())
    except InvalidInput as error:
        return _page(error.fields), 400
    flash("Your e-mail address is changed.")
    return redirect(url_for("account.show"))


@blueprint.post("/password")
def change_password() -> ResponseReturnValue:
    form = request.form
    new = form.get("new_password", "")
    try:
        if new != form.get("new_password_again"):
            raise InvalidInput({"new_password_again": "The two passwords differ."})
        logins.confirm(installation().database, me().user, form.get("present_password", ""))
        password_hash = accounts.new_password_hash(new)
        with changing("user.password_changed", me().user.username) as session:
            accounts.set_password(session, me().user.id, password_hash, token=me().token)
    except InvalidInput as error:
        return _page(error.fields), 400
    flash("Your password is changed, and your other sessions are ended.")
    return redirect(url_for("account.show"))


# Sessions -------------------------------------------------------------------------------------------------------


@blueprint.post("/sessions/<session_id>/end")
def end_session(session_id: str) -> ResponseReturnValue:
    with changing("session.ended", me().user.username, "one of their own") as session:
        sessions.end_one(session, me().user.id, session_id)
    flash("The session is ended.")
    return redirect(url_for("account.show", _anchor="sessions"))


@blueprint.post("/sessions/end-others")
def end_other_sessions() -> ResponseReturnValue:
    with changing("session.ended", me().user.username, "all but the present one") as session:
        sessions.end_all(session, me().user.id, but=me().token)
    flash("Your other sessions are ended.")
    return redirect(url_for("account.show", _anchor="sessions"))


# Two-factor login -----------------------------------------------------------------------------------------------


@blueprint.route("/two-factor", methods=["GET", "POST"])
def set_up_two_factor() -> ResponseReturnValue:
    """Set-up where it is off; where it is on, new recovery codes and the way to switch it off."""
    user = me().user
    if user.totp_secret is not None:
        return _manage()
    if request.method != "POST":
        return _set_up(b"")
    sealed = _sealed(request.form.get("set_up", ""))
    try:
        with changing("user.two_factor_switched_on", user.username) as session:
            codes = two_factor.switch_on(session, user.id, sealed, request.form.get("code", ""), installation().vault)
    except InvalidInput as error:
        return _set_up(sealed, error.fields), 400
    return _show_codes(codes, is_new=True)


def _sealed(text: str) -> bytes:
    """A set-up that was begun: its sealed secret, which the form carries. Empty where it cannot be one."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _set_up(sealed: bytes, errors: dict[str, str] | None = None) -> str:
    """``sealed`` is the secret of a set-up that goes on; a new one is made where it is none of this user."""
    vault, user_id = installation().vault, me().user.id
    try:
        secret = two_factor.unseal(sealed, user_id, vault)
    except SecretUnreadable:
        secret = two_factor.new_secret()
        sealed = two_factor.seal(secret, user_id, vault)
    host = urlsplit(installation().config.public_url).hostname or ""
    address = two_factor.provisioning_address(secret, me().user.username, host)
    return render_template(
        "two_factor_set_up.html",
        set_up=base64.b64encode(sealed).decode(),
        secret=secret,
        picture=_qr_code(address),
        errors=errors or {},
    )


def _qr_code(text: str) -> Markup:
    """As SVG, with attributes alone: the content security policy allows no style."""
    import segno

    drawing = segno.make_qr(text, error="m").svg_inline(omitsize=True, border=4, svgclass="qr", lineclass=None)
    return Markup(drawing)  # noqa: S704 (drawn by the library: rectangles, and none of the text)


def _manage(errors: dict[str, str] | None = None) -> str:
    left = two_factor.recovery_codes_left(orm.session(), me().user.id)
    return render_template("two_factor.html", codes_left=left, username=me().user.username, errors=errors or {})


@blueprint.post("/two-factor/recovery-codes")
def renew_recovery_codes() -> ResponseReturnValue:
    user = me().user
    if user.totp_secret is None:
        return redirect(url_for("account.set_up_two_factor"))
    try:
        logins.confirm(installation().database, user, request.form.get("present_password", ""))
    except InvalidInput as error:
        return _manage(error.fields), 400
    with changing("user.recovery_codes_renewed", user.username) as session:
        codes = two_factor.new_recovery_codes(session, user.id)
    return _show_codes(codes, is_new=False)


def _show_codes(codes: list[str], *, is_new: bool) -> str:
    return render_template("recovery_codes.html", codes=codes, is_new=is_new)


@blueprint.post("/two-factor/off")
def switch_off_two_factor() -> ResponseReturnValue:
    user = me().user
    try:
        logins.confirm(installation().database, user, request.form.get("present_password", ""))
    except InvalidInput as error:
        return _manage(error.fields), 400
    with changing("user.two_factor_switched_off", user.username) as session:
        two_factor.switch_off(session, user.id)
    flash("Two-factor login is off.")
    return redirect(url_for("account.show"))
