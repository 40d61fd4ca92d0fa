"""``mail …``: whether mails arrive."""

from __future__ import annotations

import click

from deployer.cli.context import Context


@click.group()
def mail() -> None:
    """Mails that tell how deployments went."""


@mail.command()
@click.pass_obj
def test(context: Context) -> None:
    """Send a test mail with the settings in force, and say what the mail server said."""
    from deployer.notifications import delivery

    click.echo(f"Test email sent to {delivery.send_test(context.installation)}")
