"""Use cases of users: set-up, login and its throttle, sessions, passwords."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, settings
from deployer.db import Database
from deployer.errors import DeployerError, InvalidInput
from deployer.models.user import LoginSession, Throttle, User
from deployer.security import passwords

_SETUP_TOKEN = "setup_token_hash"  # noqa: S105 (a setting's name)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")

FREE_FAILURES = 5
FIRST_WAIT_S = 30
LONGEST_WAIT_S = 15 * 60
FORGET_AFTER = timedelta(hours=1)


class LoginThrottled(DeployerError):
    """Too many failures of this account or address; ``wait_s`` says how long to wait."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many failed logins. Try again in {clock.duration_words(wait_s)}.")
        self.wait_s = wait_s


# Set-up and users -----------------------------------------------------------------------------------------------


def has_users(connection: sa.Connection) -> bool:
    return connection.scalar(sa.select(sa.exists().where(User.id.is_not(None)))) or False


def new_setup_token(connection: sa.Connection) -> str:
    """A token for the one-time set-up link; an earlier one is no longer good."""
    token = secrets.token_urlsafe(24)
    settings.put(connection, _SETUP_TOKEN, _digest(token))
    return token


def is_setup_token(connection: sa.Connection, token: str) -> bool:
    stored = settings.get(connection, _SETUP_TOKEN)
    return stored is not None and hmac.compare_digest(stored, _digest(token))


def create_user(
    database: Database, username: str, email: str, password: str, *, is_admin: bool, setup_token: str | None = None
) -> str:
    """A new user's id. With ``setup_token`` only as long as that is good: it ends with the first user.

    Raises InvalidInput.
    """
    errors: dict[str, str] = {}
    if not _NAME.match(username):
        errors["username"] = "Use letters, digits and . _ @ -, beginning with a letter or digit."
    if not _EMAIL.match(email) or len(email) > 255:
        errors["email"] = "Give an e-mail address."
    problem = passwords.problem(password)
    if problem:
        errors["password"] = problem
    if errors:
        raise InvalidInput(errors)
    # Computed before the transaction: it takes a core for tens of milliseconds.
    password_hash = passwords.hash_password(password)
    with database.write_session() as session:
        connection = session.connection()
        if setup_token is not None and not is_setup_token(connection, setup_token):
            raise InvalidInput({"token": "This set-up link is no longer good."})
        if session.scalar(sa.select(User.id).where(User.username == username)):
            raise InvalidInput({"username": "There is already a user of this name."})
        user = User(
            id=clock.new_id(),
            username=username,
            email=email,
            password_hash=password_hash,
            is_admin=is_admin,
            created_at=clock.now(),
        )
        session.add(user)
        settings.put(connection, _SETUP_TOKEN, None)
        return user.id


# Login ----------------------------------------------------------------------------------------------------------


def log_in(database: Database, username: str, password: str, *, address: str) -> User | None:
    """The user, or None where name or password is wrong. Raises LoginThrottled.

    The hash is computed outside any transaction, and the failure is written down before it is told.
    """
    keys = [f"account:{username[:255]}", f"address:{address}"]
    with database.read() as connection:
        _refuse_throttled(connection, keys)
        user_id, password_hash = connection.execute(
            sa.select(User.id, User.password_hash).where(User.username == username)
        ).first() or (None, None)
    is_right = passwords.verify(password_hash, password)
    with database.write_session() as session:
        connection = session.connection()
        # Asked again: guesses that come at once have all passed the first question.
        _refuse_throttled(connection, keys)
        if not is_right:
            for key in keys:
                _note_failure(connection, key)
            return None
        session.execute(sa.delete(Throttle).where(Throttle.key == keys[0]))
        return session.get(User, user_id)


def _refuse_throttled(connection: sa.Connection, keys: list[str]) -> None:
    until: datetime | None = connection.scalar(
        sa.select(sa.func.max(Throttle.blocked_until, type_=Throttle.blocked_until.type)).where(
            Throttle.key.in_(keys)
        )
    )
    now = clock.now()
    if until and until > now:
        raise LoginThrottled(max(1, round((until - now).total_seconds())))


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


# Sessions -------------------------------------------------------------------------------------------------------


def open_session(session: Session, user: User, *, days: int, address: str, agent: str) -> str:
    """Begin a login; the token goes into the cookie."""
    token = secrets.token_urlsafe(32)
    now = clock.now()
    session.add(
        LoginSession(
            token_hash=_digest(token),
            user_id=user.id,
            address=address[:64],
            agent=agent[:255],
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
    )
    return token


def user_of(session: Session, token: str) -> User | None:
    """Who is logged in with ``token``; None if the session has ended."""
    found = session.get(LoginSession, _digest(token))
    return found.user if found and found.expires_at > clock.now() else None


def close_session(session: Session, token: str) -> None:
    session.execute(sa.delete(LoginSession).where(LoginSession.token_hash == _digest(token)))


def change_password(database: Database, user: User, present: str, new: str, *, token: str) -> None:
    """Set a new password and end every other session of the user. Raises InvalidInput."""
    if not passwords.verify(user.password_hash, present):
        raise InvalidInput({"present_password": "This is not your present password."})
    problem = passwords.problem(new)
    if problem:
        raise InvalidInput({"new_password": problem})
    password_hash = passwords.hash_password(new)
    with database.write() as connection:
        connection.execute(sa.update(User).where(User.id == user.id).values(password_hash=password_hash))
        connection.execute(
            sa.delete(LoginSession).where(LoginSession.user_id == user.id, LoginSession.token_hash != _digest(token))
        )


def _digest(token: str) -> str:
    """Tokens are long and random, so a plain hash keeps them."""
    return hashlib.sha256(token.encode()).hexdigest()
