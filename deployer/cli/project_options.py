"""What ``project create`` and ``project edit`` take, and how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deployer.errors import InvalidInput

if TYPE_CHECKING:
    from deployer.projects import StepInput

steps = click.option("--step", "steps", multiple=True, help="A command; give it once for each step, in order.")
timeout = click.option("--timeout", type=click.IntRange(1), help="Seconds that each of these steps may take.")
retries = click.option("--retries", type=int, help="How often each of these steps is tried again when it fails.")
retry_wait = click.option("--retry-wait", type=int, help="Seconds between the tries of a step (default: 0).")
rerun = click.option(
    "--rerun-interrupted/--no-rerun-interrupted",
    default=None,
    help="Whether an interrupted deployment is run again by itself (default: no).",
)
poll = click.option(
    "--poll-minutes", type=int, help="Look at the remote every so many minutes; 0: only now and then (the default)."
)
keep = click.option(
    "--keep-deployments", type=int, help="Keep so many deployments; 0: as the configuration says (the default)."
)
keep_days = click.option(
    "--keep-days", type=int, help="Keep deployments for so many days; 0: as the configuration says (the default)."
)
auto = click.option("--auto-deploy/--no-auto-deploy", default=None, help="Whether a push deploys (default: yes).")
mail_on = click.option(
    "--mail-on", help="What is told by mail: success, failure, recovery, interruption, with commas between; or none."
)
mail_to = click.option("--mail-to", help="Addresses besides the one in the settings, with commas between.")


def entered_steps(
    steps: tuple[str, ...], timeout: int | None, retries: int | None, retry_wait: int | None
) -> list[StepInput]:
    """The steps as they were given. Raises InvalidInput where something is said of steps that were not."""
    from deployer.projects import StepInput

    if not steps and (timeout, retries, retry_wait) != (None, None, None):
        raise InvalidInput(
            {"steps": "--timeout, --retries and --retry-wait are those of the steps given with --step."}
        )
    return [StepInput(step, timeout_s=timeout, retries=retries or 0, retry_wait_s=retry_wait or 0) for step in steps]


def mail_switches(mail_on: str | None) -> dict[str, bool]:
    """What ``--mail-on`` says of each occasion; nothing where it was not given."""
    from deployer.models.notification import Occasion

    if mail_on is None:
        return {}
    wanted = {word.strip() for word in mail_on.split(",") if word.strip()} - {"none"}
    unknown = wanted - set(Occasion)
    if unknown:
        words = ", ".join(Occasion)
        raise InvalidInput({"mail_on": f"{min(unknown)} is none of {words}; write none for no mails."})
    return {f"mail_on_{occasion}": occasion in wanted for occasion in Occasion}
