"""Use cases of invitations: links by which one person each may make an account, with a role that is fixed before."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import accounts, clock
from deployer.errors import InvalidInput, NotFound
from deployer.models.user import Invitation
from deployer.security import tokens

GOOD_FOR = timedelta(days=7)


def invite(session: Session, email: str, *, is_admin: bool, by: str) -> tuple[Invitation, str]:
    """A new invitation, and its token, which is shown once. Raises InvalidInput."""
    problem = accounts.email_problem(email)
    if problem:
        raise InvalidInput({"email": problem})
    token = tokens.new()
    now = clock.now()
    made = Invitation(
        id=clock.new_id(),
        token_hash=tokens.digest(token),
        email=email,
        is_admin=is_admin,
        invited_by=by,
        created_at=now,
        expires_at=now + GOOD_FOR,
    )
    session.add(made)
    return made, token


def link(public_url: str, token: str) -> str:
    return f"{public_url}/join?token={token}"


def waiting(session: Session) -> list[Invitation]:
    """The invitations that can still be accepted, the newest first."""
    return list(
        session.scalars(
            sa.select(Invitation)
            .where(Invitation.expires_at > clock.now())
            .order_by(Invitation.created_at.desc(), Invitation.id.desc())
        )
    )


def of_token(session: Session, token: str) -> Invitation | None:
    """The invitation that a link is for; None if it was used, taken back, or has ended."""
    found = session.scalar(sa.select(Invitation).where(Invitation.token_hash == tokens.digest(token)))
    return found if found and found.expires_at > clock.now() else None


def accept(session: Session, token: str) -> Invitation:
    """Use an invitation up, in the transaction that makes the account. Raises InvalidInput."""
    found = of_token(session, token)
    if found is None:
        raise InvalidInput({"token": "This invitation is no longer good. Ask for a new one."})
    session.delete(found)
    return found


def find(session: Session, invitation_id: str) -> Invitation:
    """Raises NotFound."""
    found = session.get(Invitation, invitation_id)
    if found is None:
        raise NotFound("Invitation not found")
    return found
