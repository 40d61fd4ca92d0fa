"""Use cases of users: the first one's set-up link, making, changing and removing them, and their passwords."""

from __future__ import annotations

import hmac
import re

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock, sessions, settings
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.models.user import User
from deployer.security import passwords, tokens

_SETUP_TOKEN = "setup_token_hash"  # noqa: S105 (a setting's name)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")

ADMIN, MEMBER = "admin", "member"
"""The two roles. A member looks, deploys and cancels; an admin may do everything."""


def role(is_admin: bool) -> str:
    return ADMIN if is_admin else MEMBER


# The set-up link ------------------------------------------------------------------------------------------------


def has_users(connection: sa.Connection) -> bool:
    return connection.scalar(sa.select(sa.exists().where(User.id.is_not(None)))) or False


def new_setup_token(connection: sa.Connection) -> str:
    """A token for the one-time set-up link; an earlier one is no longer good."""
    token = tokens.new()
    settings.put(connection, _SETUP_TOKEN, tokens.digest(token))
    return token


def is_setup_token(connection: sa.Connection, token: str) -> bool:
    stored = settings.get(connection, _SETUP_TOKEN)
    return stored is not None and hmac.compare_digest(stored, tokens.digest(token))


def use_setup_token(connection: sa.Connection, token: str) -> None:
    """Raises InvalidInput where the link is no longer good, in the transaction of what it is used for."""
    if not is_setup_token(connection, token):
        raise InvalidInput({"token": "This set-up link is no longer good."})


def forget_setup_token(connection: sa.Connection) -> None:
    """The set-up link is no longer good."""
    settings.put(connection, _SETUP_TOKEN, None)


# Making users ---------------------------------------------------------------------------------------------------


def new_user(username: str, email: str, password: str, *, is_admin: bool) -> User:
    """A user for `add`. Made before the transaction: the hash takes a core for tens of milliseconds.

    Raises InvalidInput.
    """
    errors: dict[str, str] = {}
    if not _NAME.match(username):
        errors["username"] = "Use letters, digits and . _ @ -, beginning with a letter or digit."
    problem = email_problem(email)
    if problem:
        errors["email"] = problem
    problem = passwords.problem(password)
    if problem:
        errors["password"] = problem
    if errors:
        raise InvalidInput(errors)
    return User(
        id=clock.new_id(),
        username=username,
        email=email,
        password_hash=passwords.hash_password(password),
        is_admin=is_admin,
        created_at=clock.now(),
    )


def add(session: Session, user: User) -> None:
    """Keep a new user; with the first one the set-up link ends. Raises InvalidInput where the name is taken."""
    if session.scalar(sa.select(User.id).where(User.username == user.username)):
        raise InvalidInput({"username": "There is already a user of this name."})
    session.add(user)
    forget_setup_token(session.connection())


def email_problem(email: str) -> str | None:
    """Why an address cannot be taken, in words; None if it can."""
    if not _EMAIL.match(email) or len(email) > 255 or not email.isprintable():
        return "Give an e-mail address."
    return None


# Finding and changing them --------------------------------------------------------------------------------------


def everybody(session: Session) -> list[User]:
    return list(session.scalars(sa.select(User).order_by(sa.func.lower(User.username))))


def find(session: Session, name_or_id: str) -> User:
    """Raises NotFound."""
    user = session.scalar(
        sa.select(User)
        .where((User.username == name_or_id) | (User.id == name_or_id))
        # A name may look like somebody's id; the id counts.
        .order_by(User.id != name_or_id)
        .limit(1)
    )
    if user is None:
        raise NotFound("User not found")
    return user


def change_role(session: Session, user: User, *, is_admin: bool) -> None:
    """Raises InvalidTransition for the last administrator.

    ``session`` is a write transaction: of two who take the role from each other at once only one succeeds.
    """
    if not is_admin:
        _refuse_last_admin(session, user)
    user.is_admin = is_admin


def remove(session: Session, user: User) -> None:
    """Remove a user with their sessions and codes. Raises InvalidTransition for the last administrator."""
    _refuse_last_admin(session, user)
    session.delete(user)


def _refuse_last_admin(session: Session, user: User) -> None:
    if user.is_admin and not session.scalar(sa.select(sa.exists().where(User.is_admin, User.id != user.id))):
        raise InvalidTransition(
            f"{user.username} is the only administrator.", hint="Make somebody else an administrator first."
        )


def change_email(session: Session, user_id: str, email: str) -> None:
    """Raises InvalidInput."""
    problem = email_problem(email)
    if problem:
        raise InvalidInput({"email": problem})
    session.execute(sa.update(User).where(User.id == user_id).values(email=email))


# Passwords ------------------------------------------------------------------------------------------------------


def new_password_hash(new: str) -> str:
    """For `set_password`; made before the transaction. Raises InvalidInput."""
    problem = passwords.problem(new)
    if problem:
        raise InvalidInput({"new_password": problem})
    return passwords.hash_password(new)


def set_password(session: Session, user_id: str, password_hash: str, *, token: str | None = None) -> None:
    """Set a new password and end the user's sessions, but that of ``token``."""
    session.execute(sa.update(User).where(User.id == user_id).values(password_hash=password_hash))
    sessions.end_all(session, user_id, but=token)
