"""Use cases of logging in: name and password, then a code where two-factor is on; and the throttle of guesses."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import audit, clock, counters, two_factor
from deployer.db import Database
from deployer.errors import DeployerError, InvalidInput
from deployer.models.user import Throttle, User
from deployer.security import passwords
from deployer.security.vault import Vault
from deployer.two_factor import Way

FREE_FAILURES = 5
FIRST_WAIT_S = 30
LONGEST_WAIT_S = 15 * 60
FORGET_AFTER = timedelta(hours=1)

REFUSED = "logins.refused"
"""The counter of tries that were refused unseen because too many had failed before."""


class LoginThrottled(DeployerError):
    """Too many failures of this account or address; ``wait_s`` says how long to wait."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many failed logins. Try again in {clock.duration_words(wait_s)}.")
        self.wait_s = wait_s


# The two questions ----------------------------------------------------------------------------------------------


def check_password(database: Database, username: str, password: str, *, address: str) -> User | None:
    """The user, or None where name or password is wrong. One with two-factor is not logged in before `check_code`.

    Raises LoginThrottled. The hash is computed outside any transaction, and the failure is written down before it is
    told.
    """
    keys = _keys(username, address)
    with _counting_refusals(database):
        with database.read() as connection:
            _refuse_throttled(connection, keys)
            user_id, password_hash = connection.execute(
                sa.select(User.id, User.password_hash).where(User.username == username)
            ).first() or (None, None)
        is_right = passwords.verify(password_hash, password)
        with database.write_session() as session:
            # Asked again: guesses that come at once have all passed the first question.
            _refuse_throttled(session.connection(), keys)
            if not is_right:
                # A name that nobody has is not kept: people type their password there by mistake.
                _fail(
                    session,
                    keys,
                    address,
                    username if user_id else "",
                    "wrong password" if user_id else "no such user",
                )
                return None
            user = session.get(User, user_id)
            if user and user.totp_secret is None:
                _forget_failures(session, keys)
            return user


def check_code(database: Database, vault: Vault, user_id: str, code: str, *, address: str) -> tuple[User, Way] | None:
    """The second question to a user whose password was right; None where the code is wrong or was used before.

    Raises LoginThrottled, SecretUnreadable.
    """
    with _counting_refusals(database), database.write_session() as session:
        user = session.get(User, user_id)
        if user is None:
            return None
        keys = _keys(user.username, address)
        _refuse_throttled(session.connection(), keys)
        way = two_factor.take(session, user, code, vault)
        if way is None:
            _fail(session, keys, address, user.username, "wrong code")
            return None
        _forget_failures(session, keys)
        return user, way


def confirm(database: Database, user: User, password: str) -> None:
    """Ask somebody who is logged in for their password again. Raises InvalidInput; after too many guesses too."""
    keys = [f"confirm:{user.id}"]
    try:
        with database.read() as connection:
            _refuse_throttled(connection, keys)
        is_right = passwords.verify(user.password_hash, password)
        with database.write() as connection:
            _refuse_throttled(connection, keys)
            if is_right:
                connection.execute(sa.delete(Throttle).where(Throttle.key.in_(keys)))
            else:
                _note_failure(connection, keys[0])
    except LoginThrottled as error:
        wait = clock.duration_words(error.wait_s)
        raise InvalidInput({"present_password": f"Too many wrong passwords. Try again in {wait}."}) from error
    if not is_right:
        raise InvalidInput({"present_password": "This is not your current password."})


# The throttle ---------------------------------------------------------------------------------------------------


def _keys(username: str, address: str) -> list[str]:
    """What is throttled: the account, whoever asks, and the address, whatever it asks for."""
    return [f"account:{username[:255]}", f"address:{address}"]


def _refuse_throttled(connection: sa.Connection, keys: list[str]) -> None:
    until: datetime | None = connection.scalar(
        sa.select(sa.func.max(Throttle.blocked_until, type_=Throttle.blocked_until.type)).where(
            Throttle.key.in_(keys)
        )
    )
    now = clock.now()
    # What lies further ahead than any wait was written down before the clock was set back.
    if until and now < until <= now + timedelta(seconds=LONGEST_WAIT_S):
        raise LoginThrottled(max(1, round((until - now).total_seconds())))


def _fail(session: Session, keys: list[str], address: str, username: str, why: str) -> None:
    connection = session.connection()
    for key in keys:
        _note_failure(connection, key)
    audit.record_failed_login(connection, address, username, why)


def _note_failure(connection: sa.Connection, key: str) -> None:
    now = clock.now()
    row = connection.execute(
        sa.select(Throttle.failures, Throttle.last_failure_at).where(Throttle.key == key)
    ).first()
    failures = 1 if row is None or now - row.last_failure_at > FORGET_AFTER else row.failures + 1
    over = failures - FREE_FAILURES
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(over, 16)) if over >= 0 else 0
    connection.execute(sa.delete(Throttle).where(Throttle.key == key))
    connection.execute(
        sa.insert(Throttle).values(
            key=key, failures=failures, last_failure_at=now, blocked_until=now + timedelta(seconds=wait_s)
        )
    )


def _forget_failures(session: Session, keys: list[str]) -> None:
    """Of the account alone: somebody with one account of their own could try all others from one address."""
    session.execute(sa.delete(Throttle).where(Throttle.key == keys[0]))


class _Refusals:
    """Counts tries that were refused unseen. Written at most once a second, so that a flood of them is no flood of
    transactions; what comes within the second is written with the next one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._written_at = float("-inf")

    def note(self, database: Database) -> None:
        with self._lock:
            self._waiting += 1
            if time.monotonic() - self._written_at < 1:
                return
            self._written_at = time.monotonic()
            number, self._waiting = self._waiting, 0
        with database.write() as connection:
            counters.add(connection, REFUSED, number)


_refusals: dict[int, _Refusals] = {}


@contextmanager
def _counting_refusals(database: Database) -> Iterator[None]:
    try:
        yield
    except LoginThrottled:
        _refusals.setdefault(id(database), _Refusals()).note(database)
        raise
