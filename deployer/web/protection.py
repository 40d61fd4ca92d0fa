"""What keeps a project from harm: its lock, its deploy windows, approval, and whose commits it deploys."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from deployer import projects, protection, signatures
from deployer.errors import InvalidInput, InvalidTransition
from deployer.models.project import Project
from deployer.protection import SignersInput
from deployer.signatures import Signer
from deployer.web.context import changing, installation, me, orm


def show(name: str) -> ResponseReturnValue:
    return _page(name)


def _page(name: str, *, errors: dict[str, str] | None = None) -> str:
    project = projects.find(orm.session(), name)
    return render_template(
        "project_protection.html",
        project=project,
        signers=_signers(project),
        errors=errors or {},
        typed=request.form if errors else {},
    )


def _signers(project: Project) -> list[Signer]:
    """Whom a project trusts. What cannot be read (gpg was removed from the host) is seen as it was entered."""
    found: list[Signer] = []
    try:
        if project.signature_keys:
            found += signatures.read_keys(project.signature_keys, installation().data_dir)
        if project.signature_signers:
            found += signatures.read_signers(project.signature_signers)
    except ValueError:
        return []
    return found


def lock(name: str) -> ResponseReturnValue:
    because = request.form.get("because", "")
    try:
        with changing("project.locked", name, because.strip()[:500]) as session:
            protection.lock(projects.find(session, name), me().user.username, because)
    except InvalidInput as error:
        return _page(name, errors=error.fields), 400
    flash("The project is frozen: what is queued waits until it is unlocked.")
    return redirect(url_for("projects.protection", name=name))


def unlock(name: str) -> ResponseReturnValue:
    try:
        with changing("project.unlocked", name) as session:
            protection.unlock(projects.find(session, name))
    except InvalidTransition:
        # Somebody else was faster; it is as was wished.
        flash("The project was unlocked already.")
    else:
        flash("The project is unlocked: what waited goes on.")
    return redirect(url_for("projects.protection", name=name))


def set_windows(name: str) -> ResponseReturnValue:
    text, zone = request.form.get("windows", ""), request.form.get("windows_zone", "")
    try:
        with changing("project.windows_set", name, protection.windows_detail(text, zone)) as session:
            protection.set_windows(projects.find(session, name), text, zone)
    except InvalidInput as error:
        return _page(name, errors=error.fields), 400
    flash("Saved.")
    return redirect(url_for("projects.protection", name=name, _anchor="windows-title"))


def set_approval(name: str) -> ResponseReturnValue:
    needs_approval = "needs_approval" in request.form
    try:
        with changing("project.approval_set", name, "needed" if needs_approval else "not needed") as session:
            protection.set_approval(projects.find(session, name), is_needed=needs_approval)
    except InvalidInput as error:
        return _page(name, errors=error.fields), 400
    flash("Saved.")
    return redirect(url_for("projects.protection", name=name, _anchor="approval-title"))


def set_signers(name: str) -> ResponseReturnValue:
    form = request.form
    given = SignersInput(form.get("signature_keys", ""), form.get("signature_signers", ""))
    # A question to gpg: no snapshot of the database is held open, and no write waits for it.
    try:
        read = protection.read_signers(given, installation().data_dir)
        with changing("project.signers_set", name, read.in_words) as session:
            protection.set_signers(projects.find(session, name), read)
    except InvalidInput as error:
        return _page(name, errors=error.fields), 400
    flash("Saved.")
    return redirect(url_for("projects.protection", name=name, _anchor="signatures-title"))


RULES = (
    ("/<name>/protection", "protection", show, ["GET"]),
    ("/<name>/lock", "lock", lock, ["POST"]),
    ("/<name>/unlock", "unlock", unlock, ["POST"]),
    ("/<name>/windows", "set_windows", set_windows, ["POST"]),
    ("/<name>/approval", "set_approval", set_approval, ["POST"]),
    ("/<name>/signers", "set_signers", set_signers, ["POST"]),
)
