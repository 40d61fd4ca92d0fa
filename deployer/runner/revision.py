"""Which commit a deployment is about: settled after the fetch, and read again at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from deployer.commands import git
from deployer.db import Database, retrying
from deployer.deployments import filters, lifecycle, reading
from deployer.errors import ExecutorError
from deployer.models.deployment import Command, CommandKind, Deployment, Status, Trigger
from deployer.runner.commit import Finding, Repository
from deployer.runner.plan import RUN_HERE, pulls_itself

_OF_THE_PROJECT = (CommandKind.STEP, CommandKind.HEALTH)

log = logging.getLogger("deployer.runner")


class Revision:
    """The commit of one deployment. ``mirror`` has what was fetched; ``working_copy`` is what the steps work in."""

    def __init__(
        self,
        database: Database,
        deployment: Deployment,
        runner_id: str,
        *,
        mirror: Repository,
        working_copy: Callable[[], Repository],
    ) -> None:
        self._database = database
        self._deployment = deployment
        self._project = deployment.project
        self._runner_id = runner_id
        self._mirror = mirror
        self._working_copy = working_copy

    def settle(self) -> Finding:
        """After the fetch: which commit this is, written down with what is known of it; or why there is none."""
        live = self._live_sha() if self._deployment.trigger.follows_branch else None
        found, facts = self._look(self._deployment.commit_sha, live)
        reason = self._reason_to_leave(found, facts, live)
        if reason:
            found, facts = self._instead(live) or (Finding(is_stale=True, cause=reason), facts)
        if facts:
            self._write_down(facts)
        return found

    def _look(self, wanted: str | None, live: str | None) -> tuple[Finding, dict[str, str]]:
        """Which commit ``wanted`` is, and what of it is not on record yet, by the deployment's columns."""
        deployment = self._deployment
        # What was approved is this commit, not a later one whose push came before it.
        is_open = deployment.trigger is Trigger.PUSH and not self._project.needs_approval
        superseded = self._superseded_shas if is_open else tuple
        if deployment.trigger is Trigger.ROLLBACK:
            found = self._mirror.still_has(wanted or "")
        elif deployment.tag is not None:
            found = self._mirror.settle_tag(deployment.tag, wanted, superseded)
        else:
            found = self._mirror.settle(deployment.branch, wanted, live, superseded)
        facts: dict[str, str] = {}
        if found.sha is not None and found.sha != deployment.commit_sha:
            facts["commit_sha"] = found.sha
        if facts or (found.sha is not None and deployment.commit_message is None):
            facts |= self._mirror.describe(found.sha or "")
        return found, facts

    def _instead(self, live: str | None) -> tuple[Finding, dict[str, str]] | None:
        """The newest of the pushes whose place this one took that asks to be deployed; None where none does."""
        for sha in () if self._project.needs_approval else self._superseded_shas():
            found, facts = self._look(sha, live)
            if found.sha is not None and not self._reason_to_leave(found, facts, live):
                return found, facts
        return None

    def _write_down(self, facts: dict[str, str]) -> None:
        def write() -> None:
            with self._database.write() as connection:
                lifecycle.record_commit(connection, self._deployment.id, self._runner_id, **facts)

        retrying(write)
        for name, value in facts.items():
            setattr(self._deployment, name, value)

    def _superseded_shas(self) -> Sequence[str]:
        """The commits of pushes whose place this one took: deliveries need not come in their order."""
        with self._database.read() as connection:
            return reading.superseded_shas(connection, self._deployment)

    def _live_sha(self) -> str | None:
        with self._database.read() as connection:
            return reading.live_sha_of(connection, self._project.id, self._deployment.branch)

    def _reason_to_leave(self, found: Finding, facts: dict[str, str], live: str | None) -> str:
        """Why a commit that a look at the repository found is not deployed after all. A delivery says so before it
        leads to a deployment; here it is known only now."""
        if found.sha is None or self._deployment.trigger is not Trigger.POLL:
            return ""
        if found.sha == live:
            return f"{live[:7]} is live already"
        message = facts.get("commit_message", self._deployment.commit_message)
        if marker := filters.of(self._project).marker_in(message):
            return f"the commit message asks for no deployment, with {marker}"
        return ""

    def deployed(self, command: Command, status: Status, commands: Sequence[Command]) -> str | None:
        """What is in the working copy after the deployment's last command, which ended so, whoever brought it. None
        where it was not brought: what is there then is of an earlier deployment."""
        if command.kind in RUN_HERE or (status is not Status.SUCCESS and self._brings(command, commands)):
            return None
        if pulls_itself(self._project) or command.kind not in _OF_THE_PROJECT:
            try:
                return self._working_copy().commit_of("HEAD")
            except ExecutorError as error:
                # The command's end is not to be lost over this.
                log.warning("%s: the commit could not be read: %s", self._deployment.ref, error)
                return None
        return self._deployment.commit_sha

    def _brings(self, command: Command, commands: Sequence[Command]) -> bool:
        """Whether it is by this command that the commit comes: a built-in one, or the project's own pull."""
        steps = [one for one in commands if one.kind is CommandKind.STEP]
        if command.kind is CommandKind.VARIABLES:
            return False
        is_own_pull = bool(steps) and git.pulls_itself(steps[0].line) and command.position == steps[0].position
        return command.kind not in _OF_THE_PROJECT or is_own_pull

    def broken(self, deployed_sha: str | None, commands: Sequence[Command]) -> str | None:
        """Why a success is none: where the project's own pull gave way to a certain commit, a later step must not
        have brought another one."""
        gave_way = any(one.kind is CommandKind.CHECKOUT for one in commands) and pulls_itself(self._project)
        if not gave_way or deployed_sha == self._deployment.commit_sha:
            return None
        if deployed_sha is None:
            return "which commit the steps left in the working copy could not be read"
        return (
            f"the steps left the working copy at {deployed_sha[:7]}, not at the commit asked for; "
            "take what fetches, pulls or resets out of them"
        )
