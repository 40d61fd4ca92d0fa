"""The release of one deployment: made once its commit is known, switched to, and gone back from.

What is current on disk is the truth. The database follows it in the transaction that ends the command which changed
it; where such a command did not end well, the link itself is asked.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from deployer.commands import git, release_dir
from deployer.config import Config
from deployer.db import Database, retrying
from deployer.deployments import releases
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.errors import ExecutorError
from deployer.executors.base import Answer
from deployer.models.deployment import Command, CommandKind, Deployment, Status, Trigger
from deployer.models.project import Phase, Strategy
from deployer.models.release import Release
from deployer.runner.follow import Ending
from deployer.runner.places import Places
from deployer.runner.plan import activation, back_to, command_id
from deployer.runner.record import Outcome

PROBE_TIMEOUT_S = 10.0

RELEASING = {
    CommandKind.RELEASE: release_dir.MAKE,
    CommandKind.SWITCH: release_dir.SWITCH,
    CommandKind.BACK: release_dir.SWITCH,
    CommandKind.PRUNE: release_dir.PRUNE,
}
"""The commands about releases, and their scripts."""

log = logging.getLogger("deployer.runner")

Write = Callable[[sa.Connection], None]


@dataclass(frozen=True)
class GoneBackTo:
    """A release that was there before; ``branch`` as a deployment has it, and who wrote the commit."""

    release: Release
    branch: str
    author: str | None


class Releasing:
    """What a deployment does with releases; nothing where its project has none.

    ``release`` is the one that it makes or goes back to, ``former`` the other one that was live as it began, and
    ``current`` the one that is live now.
    """

    def __init__(
        self, database: Database, deployment: Deployment, runner_id: str, places: Places, config: Config
    ) -> None:
        self._database = database
        self._deployment = deployment
        self._project = deployment.project
        self._runner_id = runner_id
        self._places = places
        self._config = config
        self.is_used = self._project.strategy is Strategy.RELEASE
        self.release: Release | None = None
        self.former: Release | None = None
        self.current: Release | None = None
        self._is_unseen = False
        if self.is_used:
            with database.read() as connection:
                self.release = releases.find(connection, deployment.release_id)
                self.current = releases.find(connection, self._project.current_release_id)
                before = releases.find(connection, deployment.former_release_id)
            self.former = before or (None if self._has_switched else self.current)

    # Before and while it is made -----------------------------------------------------------------------------

    def kept(self) -> Release | None:
        """The release that is gone back to, where it need not be built again: asked where it lies. Raises
        OutOfContact."""
        if self.release is None or self.release.removed_at is not None:
            return None
        if not self._places.are_one:
            self._places.reach()
        answer = self._ask(["test", "-d", f"{self._root}/releases/{self.release.name}"])
        if answer.code != 0:
            return None
        if correct := self._correction():

            def write() -> None:
                with self._database.write() as connection:
                    correct(connection)

            retrying(write)
        return self.release

    def begin(self) -> None:
        """When the commit is known: the release has its number and its directory's name from then on. One that is
        gone back to has them."""
        if not self.is_used:
            return
        known, sha, steps = self.release, self._deployment.commit_sha, activation(self._project, self._config)
        assert sha is not None

        def write() -> Release:
            with self._database.write() as connection:
                if known is None:
                    return releases.begin(connection, self._deployment.id, self._runner_id, sha, steps)
                releases.build_again(connection, known.id, steps)
                return known

        self.release = retrying(write)
        self._deployment.release_id = self.release.id

    @property
    def name(self) -> str | None:
        """That of the release's directory."""
        return self.release.name if self.release else None

    @property
    def former_name(self) -> str:
        return self.former.name if self.former else ""

    def directory_of(self, command: Command) -> str:
        """Where a step runs, or what else looks at its files."""
        if command.kind is CommandKind.VARIABLES or command.phase is Phase.BUILD:
            return f"{self._root}/releases/{self.name}"
        return f"{self._root}/current"

    def gone_back_to(self, command: Command) -> GoneBackTo | None:
        """For a step, or the health check, of a release that another deployment made: what that one was of."""
        release = self.release if self._deployment.trigger is Trigger.ROLLBACK else None
        if command.phase is Phase.ACTIVATE and self.former and self.current and self.former.id == self.current.id:
            release = self.former
        if release is None or command.kind not in (CommandKind.STEP, CommandKind.HEALTH):
            return None
        with self._database.read() as connection:
            words = releases.words_of(connection, release.deployment_id)
            branch = releases.branch_of(connection, release)
        return GoneBackTo(release, branch or self._project.branch, words.get("author_name"))

    def run_of(self, command: Command) -> tuple[str, dict[str, str]]:
        """The script of one of the commands about releases, and what it needs."""
        release = self.former if command.kind is CommandKind.BACK else self.release
        assert release is not None
        return RELEASING[command.kind], release_dir.variables(
            self._root,
            release=release.name,
            mirror=self._places.mirror(),
            shared=self._project.shared_paths,
            keep=[one.name for one in self._kept()],
        )

    def _kept(self) -> list[Release]:
        with self._database.read() as connection:
            return releases.kept(connection, self._project.id, self._project.keep_releases)

    # As a command ends ---------------------------------------------------------------------------------------

    def at_end_of(self, command: Command, ending: Ending) -> Write | None:
        """What is written down with a command's end."""
        if command.kind is CommandKind.RELEASE:
            return self._correction()
        if command.kind is CommandKind.PRUNE and ending.status is Status.SUCCESS:
            kept, size_bytes = [one.id for one in self._kept()], self._size()
            return lambda connection: releases.prune(connection, self._project.id, kept, size_bytes)
        if command.kind is CommandKind.SWITCH and self._is_current(self.release, ending):
            self.current = self.release
            return lambda connection: releases.activate(connection, self._deployment.id, self._runner_id)
        if command.kind is CommandKind.BACK and self._is_current(self.former, ending):
            self.current = self.former
            return lambda connection: releases.go_back(connection, self._deployment.id, self._runner_id)
        return None

    def _is_current(self, release: Release | None, ending: Ending) -> bool:
        if ending.status is Status.SUCCESS:
            return True
        # It may have got as far as the rename.
        link = self._link()
        self._is_unseen = link is None or (not link and self.current is not None)
        return release is not None and link == release.name

    def _link(self) -> str | None:
        """The name of the release that is current on disk; empty where there is none, None where it could not be
        asked."""
        try:
            link = self._ask(["readlink", "--", f"{self._root}/current"]).output.strip()
        except ExecutorError as error:
            log.warning("%s: which release is current could not be read: %s", self._deployment.ref, error)
            return None
        return link.removeprefix("releases/") if link.startswith("releases/") else ""

    def _correction(self) -> Write | None:
        """Before the switch: where another release is live than the one on record, since nobody could see how a
        deployment ended, or the project was elsewhere meanwhile, that one is put on record."""
        link = self._link()
        if not link or (self.current and self.current.name == link):
            return None
        with self._database.read() as connection:
            live = releases.named(connection, self._project.id, link)
        if live is None:
            return None
        self.current = live
        self.former = None if self._has_switched else live
        return lambda connection: releases.correct(connection, self._deployment.id, self._runner_id, live.id)

    def _size(self) -> int | None:
        """That of the release in bytes; None where it could not be measured in time."""
        assert self.release is not None
        try:
            answer = self._ask(release_dir.size(self._root, self.release.name))
        except ExecutorError:
            return None
        number = answer.output.split(maxsplit=1)[:1]
        return int(number[0]) * 1024 if number and number[0].isdigit() else None

    def way_back(self, command: Command, ending: Ending, commands: Sequence[Command]) -> list[PlannedCommand]:
        """What is run in place of the rest where a command failed after the switch: the former release becomes the
        current one again, and is activated as it was. Nothing where there is none, or the way back itself failed."""
        if ending.status is not Status.FAILED or not self._has_switched or self.former is None:
            return []
        if command.kind is CommandKind.PRUNE or _has_back(commands):
            return []
        begin = max(one.position for one in commands) + 1
        return [
            PlannedCommand(
                id=command_id(self._deployment.id, position), position=position, nonce=uuid.uuid4().hex, **facts
            )
            for position, facts in enumerate(back_to(self.former, self._config), begin)
        ]

    def outcome(self, command: Command, last: Ending, commands: Sequence[Command]) -> Outcome:
        """How the deployment ends with its last command. What old releases take no longer is no reason to fail."""
        sha = self._deployment.commit_sha if self._has_switched else None
        if _has_back(commands):
            return Outcome(Status.FAILED, self._after_the_way_back(last, commands), sha)
        if last.status is Status.SUCCESS or command.kind is CommandKind.PRUNE:
            return Outcome(Status.SUCCESS, None, sha)
        return Outcome(last.status, self.with_live(with_tries(last, command)), sha)

    def with_live(self, cause: str) -> str:
        """The cause of an end that is no success, with what is live then."""
        if not self.is_used:
            return cause
        if self._is_unseen:
            return f"{cause}; which release is live could not be seen"
        if self.current is None:
            return f"{cause}; nothing is live yet"
        if not self._has_switched:
            return f"{cause}; {self.current.name} is live"
        # A way back to what was current already has none of its own, but there may be others.
        is_the_first = self.former is None and self._deployment.trigger is not Trigger.ROLLBACK
        why = ", since there is none to go back to" if is_the_first else ""
        return f"{cause}; {self.current.name} is live{why}"

    def _after_the_way_back(self, last: Ending, commands: Sequence[Command]) -> str:
        assert self.former is not None
        first = next(one for one in commands if one.status is Status.FAILED and not _has_another_try(one, commands))
        cause = with_tries(Ending(first.status, first.exit_code, first.cause, is_its_own=True), first)
        if last.status is Status.SUCCESS:
            return f"{cause}; gone back to {self.former.name}, which is live again"
        return self.with_live(f"{cause}; the way back to {self.former.name} did not end well either: {last.cause}")

    @property
    def _has_switched(self) -> bool:
        return self.release is not None and self.current is not None and self.release.id == self.current.id

    @property
    def _root(self) -> str:
        return self._places.working_copy()

    def _ask(self, argv: list[str]) -> Answer:
        return self._places.there.probe(argv, environment=git.environment(None), timeout_s=PROBE_TIMEOUT_S)


def with_tries(ending: Ending, command: Command) -> str:
    """Why a command's last try ended as it did, and how many there were."""
    cause = ending.cause or str(ending.status)
    if ending.is_its_own and command.attempt > 1:
        return f"{cause}, after {command.attempt} tries"
    return cause


def _has_back(commands: Sequence[Command]) -> bool:
    return any(one.kind is CommandKind.BACK for one in commands)


def _has_another_try(one: Command, commands: Sequence[Command]) -> bool:
    return any(other.position == one.position and other.attempt > one.attempt for other in commands)
