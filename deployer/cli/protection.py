"""``project lock``, ``project unlock``, ``project protect`` and ``approve``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from deployer.cli.context import Context

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("name")
@click.option("--because", required=True, help="Why, for whoever waits.")
@click.pass_obj
def lock(context: Context, name: str, because: str) -> None:
    """Freeze a project: what comes waits as queued, with the reason shown. What runs goes on."""
    from deployer import projects, protection

    with context.changing("project.locked", name, because.strip()[:500]) as session:
        protection.lock(projects.find(session, name), context.actor, because)
    click.echo(f"{name} is frozen. Unlock it: python app.py project unlock {name}")


@click.command()
@click.argument("name")
@click.pass_obj
def unlock(context: Context, name: str) -> None:
    """Unlock a project: what waited goes on."""
    from deployer import projects, protection

    with context.changing("project.unlocked", name) as session:
        protection.unlock(projects.find(session, name))
    click.echo(f"{name} is unlocked.")


@click.command()
@click.argument("name")
@click.option(
    "--window", "windows", multiple=True, help="Mon-Fri 09:00-17:00; give it once for each. None: “always”."
)
@click.option("--zone", help="The time zone of the windows, such as Europe/Berlin.")
@click.option("--approval/--no-approval", default=None, help="Whether an administrator approves each deployment.")
@click.option("--openpgp-keys", type=_FILE, help="Armored public keys; an empty file: none.")
@click.option("--ssh-signers", type=_FILE, help="ssh's allowed signers; an empty file: none.")
@click.pass_obj
def protect(
    context: Context,
    name: str,
    windows: tuple[str, ...],
    zone: str | None,
    approval: bool | None,
    openpgp_keys: Path | None,
    ssh_signers: Path | None,
) -> None:
    """Change when a project is deployed, whether each deployment is approved, and whose commits are taken."""
    from sqlalchemy.orm import Session

    from deployer import projects, protection
    from deployer.protection import SignersInput

    if not (windows or zone or openpgp_keys or ssh_signers) and approval is None:
        raise click.UsageError("Say what to change; see --help.")
    with Session(context.installation.database.engine) as session:
        present = projects.find(session, name)
        text = "\n".join(windows) if windows else present.windows or ""
        given = SignersInput(
            openpgp_keys.read_text("utf-8", "replace") if openpgp_keys else present.signature_keys or "",
            ssh_signers.read_text("utf-8", "replace") if ssh_signers else present.signature_signers or "",
        )
        zone = zone or present.windows_zone
    if openpgp_keys or ssh_signers:
        read = protection.read_signers(given, context.installation.data_dir)
        with context.changing("project.signers_set", name, read.in_words) as session:
            protection.set_signers(projects.find(session, name), read)
    if windows or zone != present.windows_zone:
        text = "" if text.strip().lower() == "always" else text
        with context.changing("project.windows_set", name, protection.windows_detail(text, zone)) as session:
            protection.set_windows(projects.find(session, name), text, zone)
    if approval is not None:
        with context.changing("project.approval_set", name, "needed" if approval else "not needed") as session:
            protection.set_approval(projects.find(session, name), is_needed=approval)
    click.echo(f"{name} is changed.")


@click.command()
@click.argument("deployment")
@click.pass_obj
def approve(context: Context, deployment: str) -> None:
    """Let DEPLOYMENT (its id, or DEP-0042) begin, where its project asks for approval."""
    from sqlalchemy.orm import Session

    from deployer import protection
    from deployer.deployments import reading
    from deployer.errors import InvalidTransition

    with Session(context.installation.database.engine) as session:
        found = reading.find(session, deployment)
        deployment_id, ref, sha = found.id, found.ref, found.commit_sha
    try:
        with context.changing("deployment.approved", ref, sha) as session:
            protection.approve(session, deployment_id, context.actor)
    except InvalidTransition as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(f"{ref} is approved.")
