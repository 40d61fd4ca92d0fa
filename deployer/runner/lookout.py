"""The lookout: a thread that compares the projects that deploy each push with their repositories.

A forge does not send again what it could not deliver. So every project is looked at when the runner starts, and when
the network or the host itself was away; each now and then besides; and some every few minutes, where no webhook
reaches this host.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from deployer import access, clock, journal, project_secrets, projects
from deployer.db import retrying
from deployer.deployments import looks
from deployer.deployments.looks import Finding, Followed, Look, Outcome, Why
from deployer.errors import DeployerError, GitError, NotFound
from deployer.installation import Installation

log = logging.getLogger("deployer.lookout")

AT_ONCE = 4
REST_S = 1.0
"""Between two turns, however often something is committed."""

IDLE_WAIT_S = 30.0
"""The longest wait between two turns: so late a sleep of the host is noticed."""

BUSY_WAIT_S = 1.0
AWAY_S = 60.0
"""A clock that ran on so far while this process stood still: the host was asleep, or stopped by what it runs in."""

SENTRY = timedelta(minutes=10)
"""If nothing was looked at for so long, one project is: an outage of the network shows by nothing else here."""

UNREACHABLE_WAITS_S = (5.0, 600.0)
REFUSED_WAITS_S = (60.0, 3600.0)
"""Between tries of a look that failed: the first wait, and the longest. What a repository answers changes less often
than whether it does."""

MAX_ERROR = 1000

_DIGITS = re.compile(r"\d+")


@dataclass
class _Failure:
    """Why a project cannot be looked at, since when, and when it is tried again (monotonic seconds). Without an error
    the look itself went well, but could not decide anything yet."""

    error: str
    is_unreachable: bool
    since: datetime
    project_changed_at: datetime
    wait_s: float
    retry_at: float

    @classmethod
    def of(cls, project: Followed, error: str, before: _Failure | None, *, is_unreachable: bool = False) -> _Failure:
        first, longest = UNREACHABLE_WAITS_S if is_unreachable or not error else REFUSED_WAITS_S
        since = before.since if before and before.is_unreachable == is_unreachable else clock.now()
        made = cls(error, is_unreachable, since, project.updated_at, first, 0)
        if before and before.is_like(made):
            made.wait_s = min(2 * before.wait_s, longest)
        made.retry_at = time.monotonic() + made.wait_s
        return made

    def is_like(self, other: _Failure) -> bool:
        """Whether there is nothing new to tell: durations and ports in the same complaint differ each time."""
        return _DIGITS.sub("", self.error) == _DIGITS.sub("", other.error)

    def try_now(self) -> None:
        self.wait_s = (UNREACHABLE_WAITS_S if self.is_unreachable or not self.error else REFUSED_WAITS_S)[0]
        self.retry_at = 0.0


def start(installation: Installation) -> None:
    """Compare from now on, in threads of their own."""
    threading.Thread(target=Lookout(installation).run, name="lookout", daemon=True).start()


class Lookout:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._database = installation.database
        self._pool = ThreadPoolExecutor(AT_ONCE, "look")
        self._under_way: dict[str, tuple[Followed, Why, Future[Finding]]] = {}
        self._failures: dict[str, _Failure] = {}
        # What is to be looked at once, and why.
        self._wanted: dict[str, Why] = {}
        self._is_new = True
        self._began_at = clock.now()
        self._clocks_apart = _clocks_apart()

    def run(self) -> None:
        while True:
            try:
                seen = self._database.bell.generation
                wait_s = self.turn()
                time.sleep(REST_S)
                self._database.wait_for_change(seen, wait_s)
            except Exception:
                # A database that cannot be read or written now: there will be another turn.
                log.exception("the repositories could not be looked after")
                time.sleep(IDLE_WAIT_S)

    def turn(self) -> float:
        """Take in what looks have found, and begin those that are due; the seconds until more are."""
        with self._database.read() as connection:
            followed = looks.followed(connection)
        self._forget_others(followed)
        for project_id in [one for one, (_, _, look) in self._under_way.items() if look.done()]:
            self._take_in(*self._under_way.pop(project_id), followed)
        self._notice_absence(followed)
        wait_s = IDLE_WAIT_S
        for project in followed:
            if project.id in self._under_way:
                wait_s = min(wait_s, BUSY_WAIT_S)
                continue
            why, in_s = self._due(project)
            if in_s <= 0:
                self._begin(project, why)
                wait_s = min(wait_s, BUSY_WAIT_S)
            else:
                wait_s = min(wait_s, in_s)
        if not self._under_way and (sentry := self._sentry(followed)):
            self._begin(sentry, Why.REGULAR)
            wait_s = min(wait_s, BUSY_WAIT_S)
        return wait_s

    # When -------------------------------------------------------------------------------------------------------

    def _forget_others(self, followed: Sequence[Followed]) -> None:
        present = {project.id for project in followed}
        for known in (self._wanted, self._failures):
            for project_id in known.keys() - present:
                del known[project_id]

    def _notice_absence(self, followed: Sequence[Followed]) -> None:
        apart, before = _clocks_apart(), self._clocks_apart
        self._clocks_apart = apart
        if self._is_new:
            self._is_new = False
            self._want(followed, Why.START)
        elif apart - before > AWAY_S:
            log.info("the host was away for %s", clock.duration_words(apart - before))
            self._want(followed, Why.AWAKE)
            self._try_again_now()

    def _want(self, followed: Sequence[Followed], why: Why) -> None:
        for project in followed:
            self._wanted.setdefault(project.id, why)

    def _try_again_now(self) -> None:
        for failure in self._failures.values():
            failure.try_now()

    def _due(self, project: Followed) -> tuple[Why, float]:
        """Why a project is looked at next, and in how many seconds."""
        why, in_s = self._next(project)
        failure = self._failures.get(project.id)
        if failure is None or failure.project_changed_at != project.updated_at:
            return why, in_s
        return why, failure.retry_at - time.monotonic()

    def _next(self, project: Followed) -> tuple[Why, float]:
        regular = Why.POLL if project.poll_minutes else Why.REGULAR
        if project.id in self._wanted:
            return self._wanted[project.id], 0
        if project.polled_at is None and (project.poll_minutes or not project.is_known):
            # A webhook was just connected: from what its branch is at now, a push that gets lost can be told.
            return regular, 0
        if project.poll_minutes:
            interval_s = 60.0 * project.poll_minutes
        elif hours := self._installation.config.git.catch_up_hours:
            interval_s = 3600.0 * hours
        else:
            return regular, IDLE_WAIT_S
        since_s = (clock.now() - (project.polled_at or self._began_at)).total_seconds()
        # A look of the future was written before the clock was put back.
        return regular, 0 if since_s < -AWAY_S else interval_s * _jitter(project) - since_s

    def _sentry(self, followed: Sequence[Followed]) -> Followed | None:
        """The project that was not looked at for longest, where none was for a while and none is about to be."""
        if not self._installation.config.git.catch_up_hours or any(f.is_unreachable for f in self._failures.values()):
            return None
        well = [(one.polled_at, one.id, one) for one in followed if one.polled_at and one.id not in self._failures]
        if not well or clock.now() - max(well)[0] < SENTRY:
            return None
        return min(well)[2]

    # A look -----------------------------------------------------------------------------------------------------

    def _begin(self, project: Followed, why: Why) -> None:
        self._under_way[project.id] = (project, why, self._pool.submit(self._look, project, why))

    def _look(self, project: Followed, why: Why) -> Finding:
        """Raises GitError and SecretUnreadable where the repository cannot be asked."""
        asked_at = clock.now()
        parts = self._installation
        with Session(self._database.engine) as session:
            secrets = project_secrets.read_secrets(session, projects.find(session, project.id), parts.vault)
        with access.visit(project.repository_url, secrets, config=parts.config, data_dir=parts.data_dir) as visit:
            tip = visit.tip(project.branch)
        if tip is None:
            raise GitError(
                f"The repository has no branch {project.branch}.", hint="Push that branch, or choose another one."
            )
        look = Look(project, asked_at, tip, why)

        def record() -> Finding:
            with self._database.write() as connection:
                return looks.record(connection, look, parts.config.runner.max_queued)

        found = retrying(record)
        if found.outcome is Outcome.NEWS:
            words = why.words(project.poll_minutes)
            log.info("%s %s: %s is at %s, %s", found.ref, project.name, project.branch, tip[:7], words)
        return found

    def _take_in(self, project: Followed, why: Why, look: Future[Finding], followed: Sequence[Followed]) -> None:
        error = look.exception()
        if error is None:
            before = self._answered(project, followed)
            if self._wanted.get(project.id) is why:
                del self._wanted[project.id]
            if look.result().outcome in (Outcome.OPEN, Outcome.NO_ROOM):
                self._wanted[project.id] = why
                self._failures[project.id] = _Failure.of(project, "", before if before and not before.error else None)
        elif isinstance(error, NotFound):
            # Deleted meanwhile.
            return
        elif isinstance(error, DeployerError):
            self._fail(project, _words(error), is_unreachable=isinstance(error, GitError) and error.is_unreachable)
        else:
            log.error("%s: a look at the repository failed", project.name, exc_info=error)
            self._fail(project, f"An internal error: {type(error).__name__}; the runner's log says more.")

    def _answered(self, project: Followed, followed: Sequence[Followed]) -> _Failure | None:
        """What was wrong before, now that a repository has answered."""
        failure = self._failures.pop(project.id, None)
        if failure and failure.error:
            log.info("%s: the repository can be looked at again", project.name)
        if failure and failure.is_unreachable:
            # Deliveries of any project may have been lost since then.
            self._want([one for one in followed if not one.polled_at or one.polled_at < failure.since], Why.BACK)
            self._try_again_now()
        return failure

    def _fail(self, project: Followed, words: str, *, is_unreachable: bool = False) -> None:
        before = self._failures.get(project.id)
        error = journal.one_line(words)[:MAX_ERROR]
        failure = _Failure.of(project, error, before, is_unreachable=is_unreachable)
        self._failures[project.id] = failure
        if before and before.is_like(failure):
            return
        log.warning("%s: the repository cannot be looked at, and is tried again: %s", project.name, error)

        def note() -> None:
            with self._database.write() as connection:
                looks.note_error(connection, project.id, error)

        retrying(note)


def _words(error: DeployerError) -> str:
    """What went wrong and what to do; git ends its sentences without a stop."""
    said = str(error.args[0]).strip()
    return f"{said if said.endswith('.') else said + '.'} {error.hint}".strip()


def _clocks_apart() -> float:
    """How far the clock on the wall is from the one that stands still while the host sleeps (clock_gettime(2))."""
    return time.time() - time.monotonic()


def _jitter(project: Followed) -> float:
    """Up to a tenth longer, by the project and its last look, so that many do not ask at the same moment."""
    return 1 + zlib.crc32(f"{project.id}{project.polled_at}".encode()) / (1 << 32) / 10
