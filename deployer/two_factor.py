"""Use cases of two-factor login: one-time codes by time (TOTP, RFC 6238), and recovery codes for a lost device."""

from __future__ import annotations

import hmac
import re
import secrets
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from deployer import clock
from deployer.errors import InvalidInput, InvalidTransition, SecretUnreadable
from deployer.models.user import RecoveryCode, User
from deployer.security import tokens
from deployer.security.vault import Vault

STEP_S = 30
RECOVERY_CODES = 10

_WINDOW = (-1, 0, 1)
"""Steps around the present one whose codes are taken, for clocks that differ a little (RFC 6238, 5.2)."""

# Without letters and digits that are read for each other; 16 of them are 77 bits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_RECOVERY_LENGTH = 16


class Way(StrEnum):
    """What a login was completed with."""

    CODE = "code"
    RECOVERY_CODE = "recovery code"


def new_secret() -> str:
    """A secret as authenticators take it: 160 bits in base32."""
    import pyotp

    return pyotp.random_base32()


def provisioning_address(secret: str, username: str, host: str) -> str:
    """The ``otpauth://`` address that a QR code carries to an authenticator."""
    import pyotp

    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=f"{username}@{host}", issuer_name="Deployer")


def seal(secret: str, user_id: str, vault: Vault) -> bytes:
    """The secret as it is stored, and as a set-up that is not confirmed yet carries it."""
    return vault.seal(secret.encode(), place(user_id))


def unseal(sealed: bytes, user_id: str, vault: Vault) -> str:
    """Raises SecretUnreadable."""
    return vault.open(sealed, place(user_id)).decode()


def place(user_id: str) -> str:
    return f"user:{user_id}:totp_secret"


def switch_on(session: Session, user_id: str, sealed: bytes, code: str, vault: Vault) -> list[str]:
    """Ask for codes from now on; the recovery codes, which are shown once.

    Raises InvalidInput where the code is not the secret's at this moment, InvalidTransition where it is on already.
    """
    try:
        secret = unseal(sealed, user_id, vault)
        steps = _steps_of(secret, code)
    except SecretUnreadable as error:
        raise InvalidInput({"code": "This set-up is no longer good. Begin it again."}) from error
    if not steps:
        raise InvalidInput(
            {"code": "This is not the current code. Check the clock of your device, and try the next one."}
        )
    done = session.connection().execute(
        sa.update(User)
        .where(User.id == user_id, User.totp_secret.is_(None))
        # Sealed anew: the key may have been exchanged since the set-up began.
        .values(totp_secret=seal(secret, user_id, vault), totp_last_step=max(steps))
        .returning(User.id)
    )
    if done.first() is None:
        raise InvalidTransition("Two-factor login is on already.", hint="Switch it off to set it up again.")
    return new_recovery_codes(session, user_id)


def switch_off(session: Session, user_id: str) -> None:
    session.execute(sa.update(User).where(User.id == user_id).values(totp_secret=None, totp_last_step=None))
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def new_recovery_codes(session: Session, user_id: str) -> list[str]:
    """New codes, each good for one login; the earlier ones are no longer good."""
    made = ["".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_LENGTH)) for _ in range(RECOVERY_CODES)]
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    session.add_all(RecoveryCode(code_hash=_recovery_hash(user_id, code), user_id=user_id) for code in made)
    return ["-".join(re.findall("....", code)) for code in made]


def recovery_codes_left(session: Session, user_id: str) -> int:
    count = sa.select(sa.func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == user_id)
    return session.scalar(count) or 0


def take(session: Session, user: User, code: str, vault: Vault) -> Way | None:
    """Use a code up; None where it is wrong or was used before. ``session`` is a write transaction.

    Raises SecretUnreadable.
    """
    code = re.sub(r"[\s-]", "", code).lower()
    if len(code) == _RECOVERY_LENGTH:
        return Way.RECOVERY_CODE if _take_recovery_code(session, user.id, code) else None
    if user.totp_secret is None:
        return None
    steps = _steps_of(unseal(user.totp_secret, user.id, vault), code)
    if not steps:
        return None
    # Each code is good once, and none that is older than one that was taken (RFC 6238, 5.2).
    done = session.connection().execute(
        sa.update(User)
        .where(
            User.id == user.id,
            User.totp_secret == user.totp_secret,
            User.totp_last_step.is_(None) | (User.totp_last_step < max(steps)),
        )
        .values(totp_last_step=max(steps))
        .returning(User.id)
    )
    return Way.CODE if done.first() is not None else None


def _take_recovery_code(session: Session, user_id: str, code: str) -> bool:
    done = session.connection().execute(
        sa.delete(RecoveryCode)
        .where(RecoveryCode.code_hash == _recovery_hash(user_id, code), RecoveryCode.user_id == user_id)
        .returning(RecoveryCode.user_id)
    )
    return done.first() is not None


def _recovery_hash(user_id: str, code: str) -> str:
    return tokens.digest(f"{user_id}:{code}")


def _steps_of(secret: str, code: str) -> list[int]:
    """The time steps near the present one whose code this is."""
    import pyotp

    code = re.sub(r"\s", "", code)
    if not re.fullmatch(r"[0-9]{6}", code):
        return []
    present = int(clock.now().timestamp()) // STEP_S
    codes = pyotp.TOTP(secret, interval=STEP_S)
    return [present + by for by in _WINDOW if hmac.compare_digest(codes.generate_otp(present + by), code)]
