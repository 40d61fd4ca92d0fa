"""What ``project create`` and ``project edit`` take alike, and how it is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from deployer.errors import InvalidInput

if TYPE_CHECKING:
    from deployer.project_input import StepInput

_OPTIONS = (
    click.option("--step", "steps", multiple=True, help="A command; give it once for each step, in order."),
    click.option("--timeout", type=click.IntRange(1), help="Seconds that each of these steps may take."),
    click.option("--retries", type=int, help="How often each of these steps is tried again when it fails."),
    click.option("--retry-wait", type=int, help="Seconds between the tries of a step (default: 0)."),
    click.option(
        "--activate",
        "activate_steps",
        multiple=True,
        help="With releases: a command that runs after the switch, as --step does before it.",
    ),
    click.option(
        "--strategy",
        type=click.Choice(["checkout", "release"]),
        help="One working copy (the default), or a directory for each deployment that is switched to.",
    ),
    click.option("--shared", multiple=True, help="With releases: a path that they share, such as storage/ or .env."),
    click.option("--keep-releases", type=int, help="With releases: how many are kept (default: 5)."),
    click.option("--health-url", help="An address that is asked whether what was deployed is well; “” for none."),
    click.option("--health-command", help="A command that tells it instead; “” for none."),
    click.option("--health-status", type=int, help="What the address answers when it is well (default: 200)."),
    click.option("--health-tries", type=int, help="How often it is asked at most (default: 10)."),
    click.option("--health-interval", "health_interval_s", type=int, help="Seconds between tries (default: 2)."),
    click.option("--health-deadline", "health_deadline_s", type=int, help="Seconds for all tries (default: 60)."),
    click.option("--server", help="The server that it is deployed to; “local” is this host (the default)."),
    click.option("--path", help="The working copy, or what holds the releases (default: Deployer's own)."),
    click.option("--shell", type=click.Choice(["sh", "bash"]), help="What runs the steps (default: sh)."),
    click.option("--auto-deploy/--no-auto-deploy", default=None, help="Whether a push deploys (default: yes)."),
    click.option(
        "--rerun-interrupted/--no-rerun-interrupted",
        default=None,
        help="Whether an interrupted deployment is run again by itself (default: no).",
    ),
    click.option(
        "--poll-minutes",
        type=int,
        help="Look at the remote every so many minutes; 0: only now and then (the default).",
    ),
    click.option(
        "--keep-deployments",
        type=int,
        help="Keep so many deployments; 0: as the configuration says (the default).",
    ),
    click.option(
        "--keep-days",
        type=int,
        help="Keep deployments for so many days; 0: as the configuration says (the default).",
    ),
    click.option(
        "--mail-on",
        help="What is told by mail: success, failure, recovery, interruption, with commas between; or none.",
    ),
    click.option("--mail-to", help="Addresses besides the one in the settings, with commas between."),
)


@dataclass(frozen=True)
class Given:
    """The options as they were typed; None, and no steps, where nothing was."""

    steps: tuple[str, ...]
    timeout: int | None
    retries: int | None
    retry_wait: int | None
    activate_steps: tuple[str, ...]
    strategy: str | None
    shared: tuple[str, ...]
    keep_releases: int | None
    health_url: str | None
    health_command: str | None
    health_status: int | None
    health_tries: int | None
    health_interval_s: int | None
    health_deadline_s: int | None
    server: str | None
    path: str | None
    shell: str | None
    auto_deploy: bool | None
    rerun_interrupted: bool | None
    poll_minutes: int | None
    keep_deployments: int | None
    keep_days: int | None
    mail_on: str | None
    mail_to: str | None

    def settings(self) -> dict[str, Any]:
        """What was given, by the names that `ProjectInput` has for it; steps replace the whole list.

        Raises InvalidInput.
        """
        alike = {
            "server": self.server,
            # A directory of the former place means nothing at another one.
            "path": "" if self.path is None and self.server is not None else self.path,
            "strategy": self.strategy,
            "shared_paths": "\n".join(self.shared) if self.shared else None,
            "health_url": self.health_url,
            "health_command": self.health_command,
            "shell": self.shell,
            "auto_deploy": self.auto_deploy,
            "rerun_interrupted": self.rerun_interrupted,
            "mail_to": self.mail_to,
            "steps": self._steps() or None,
        }
        numbers = {
            "poll_minutes": self.poll_minutes,
            "keep_deployments": self.keep_deployments,
            "keep_days": self.keep_days,
            "keep_releases": self.keep_releases,
            "health_status": self.health_status,
            "health_tries": self.health_tries,
            "health_interval_s": self.health_interval_s,
            "health_deadline_s": self.health_deadline_s,
        }
        given: dict[str, Any] = {key: value for key, value in alike.items() if value is not None}
        # Nothing is said by 0, and left as it was by nothing.
        given |= {key: value or None for key, value in numbers.items() if value is not None}
        return given | self._mail_switches()

    def _steps(self) -> list[StepInput]:
        """Raises InvalidInput where something is said of steps that were not given."""
        from deployer.models.project import Phase
        from deployer.project_input import StepInput

        entered = [(step, Phase.BUILD) for step in self.steps]
        entered += [(step, Phase.ACTIVATE) for step in self.activate_steps]
        if not entered and (self.timeout, self.retries, self.retry_wait) != (None, None, None):
            raise InvalidInput(
                {"steps": "--timeout, --retries and --retry-wait are those of the steps given with --step."}
            )
        return [
            StepInput(
                step,
                timeout_s=self.timeout,
                retries=self.retries or 0,
                retry_wait_s=self.retry_wait or 0,
                phase=phase,
            )
            for step, phase in entered
        ]

    def _mail_switches(self) -> dict[str, bool]:
        """What ``--mail-on`` says of each occasion; nothing where it was not given."""
        from deployer.models.notification import BY_MAIL

        if self.mail_on is None:
            return {}
        wanted = {word.strip() for word in self.mail_on.split(",") if word.strip()} - {"none"}
        unknown = wanted - set(BY_MAIL)
        if unknown:
            words = ", ".join(BY_MAIL)
            raise InvalidInput({"mail_on": f"{min(unknown)} is none of {words}; write none for no mails."})
        return {f"mail_on_{occasion}": occasion in wanted for occasion in BY_MAIL}


def taken(command: Callable[..., None]) -> Callable[..., None]:
    """Has a command take these options, and get them as its keyword ``given``."""

    @functools.wraps(command)
    def with_options(*args: Any, **kwargs: Any) -> None:
        given = Given(**{field.name: kwargs.pop(field.name) for field in fields(Given)})
        command(*args, given=given, **kwargs)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
