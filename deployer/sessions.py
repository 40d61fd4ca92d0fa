"""Use cases of sessions: beginning one, knowing whose it is, and ending it on the server."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.errors import NotFound
from deployer.models.user import LoginSession, User
from deployer.security import tokens

_PUBLIC_DIGITS = 16


def begin(session: Session, user: User, *, days: int, address: str, agent: str) -> str:
    """Begin a login; the token goes into the cookie."""
    token = tokens.new()
    now = clock.now()
    session.add(
        LoginSession(
            token_hash=tokens.digest(token),
            user_id=user.id,
            address=address[:64],
            agent=agent[:255],
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
    )
    session.execute(sa.update(User).where(User.id == user.id).values(last_login_at=now))
    return token


def user_of(session: Session, token: str) -> User | None:
    """Who is logged in with ``token``; None if the session has ended."""
    found = session.get(LoginSession, tokens.digest(token))
    return found.user if found and found.expires_at > clock.now() else None


def still_open(connection: sa.Connection, token_hashes: Collection[str]) -> set[str]:
    """Which of these sessions have not ended."""
    found = connection.scalars(
        sa.select(LoginSession.token_hash).where(
            LoginSession.token_hash.in_(token_hashes), LoginSession.expires_at > clock.now()
        )
    )
    return set(found)


def of_user(session: Session, user_id: str) -> list[LoginSession]:
    """A user's sessions that have not ended, the newest first."""
    return list(
        session.scalars(
            sa.select(LoginSession)
            .where(LoginSession.user_id == user_id, LoginSession.expires_at > clock.now())
            .order_by(LoginSession.created_at.desc(), LoginSession.token_hash)
        )
    )


def public_id(one: LoginSession) -> str:
    """What a page calls a session: enough of the hash to tell a user's sessions apart, and nothing that opens one."""
    return one.token_hash[:_PUBLIC_DIGITS]


def is_of(one: LoginSession, token: str) -> bool:
    return one.token_hash == tokens.digest(token)


def end(session: Session, token: str) -> None:
    session.execute(sa.delete(LoginSession).where(LoginSession.token_hash == tokens.digest(token)))


def end_one(session: Session, user_id: str, wanted: str) -> None:
    """End the session of this user that a page calls ``wanted``. Raises NotFound."""
    found = next((one for one in of_user(session, user_id) if public_id(one) == wanted), None)
    if found is None:
        raise NotFound("This session has ended already.")
    session.delete(found)


def end_all(session: Session, user_id: str, *, but: str | None = None) -> None:
    """End every session of a user, but that of the token ``but``."""
    gone = sa.delete(LoginSession).where(LoginSession.user_id == user_id)
    if but is not None:
        gone = gone.where(LoginSession.token_hash != tokens.digest(but))
    session.execute(gone)
