"""The app on a person's phone, and what it takes to have one."""

from __future__ import annotations

import time

import pyotp
import sqlalchemy as sa

from deployer import accounts, two_factor
from deployer.installation import Installation
from deployer.models.user import User


class Authenticator:
    def __init__(self, secret: str) -> None:
        self._codes = pyotp.TOTP(secret)

    def code(self, ahead: int = 0) -> str:
        """The code of the moment, or that of so many steps of 30 s later."""
        return self._codes.at(int(time.time()) + ahead * 30)

    def wrong(self) -> str:
        """A code that is not good now, nor shortly."""
        good = {self.code(ahead) for ahead in range(-3, 5)}
        return next(code for code in (f"{number:06d}" for number in range(20)) if code not in good)


def switch_on(installation: Installation, username: str) -> tuple[Authenticator, list[str]]:
    """Two-factor login as if it had been set up some time ago; with the recovery codes."""
    secret = two_factor.new_secret()
    device = Authenticator(secret)
    with installation.database.write_session() as session:
        user_id = accounts.find(session, username).id
        sealed = two_factor.seal(secret, user_id, installation.vault)
        codes = two_factor.switch_on(session, user_id, sealed, device.code(), installation.vault)
    forget_codes(installation, username)
    return device, codes


def forget_codes(installation: Installation, username: str) -> None:
    """As if no code had been taken for a while: the one of the moment is good (again)."""
    with installation.database.write() as connection:
        connection.execute(sa.update(User).where(User.username == username).values(totp_last_step=None))
