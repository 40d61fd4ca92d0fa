"""Users: roles, the last administrator, and what ends with an account."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from deployer import accounts, sessions, two_factor
from deployer.errors import InvalidInput, InvalidTransition, NotFound
from deployer.installation import Installation
from deployer.models.user import LoginSession, RecoveryCode, User
from deployer.security import keyfile


@pytest.fixture
def add(installation):
    def add(name: str, *, is_admin: bool = True) -> User:
        user = accounts.new_user(name, f"{name}@example.com", "correct horse battery", is_admin=is_admin)
        with installation.database.write_session() as session:
            accounts.add(session, user)
        return user

    return add


@pytest.fixture
def roles(operator):
    return lambda: {row.username: row.is_admin for row in operator.rows(sa.select(*User.__table__.columns))}


def demote(installation, name: str) -> None:
    with installation.database.write_session() as session:
        accounts.change_role(session, accounts.find(session, name), is_admin=False)


def remove(installation, name: str) -> None:
    with installation.database.write_session() as session:
        accounts.remove(session, accounts.find(session, name))


@pytest.mark.parametrize("act", [demote, remove])
def test_the_last_administrator_stays_one(installation, add, roles, act):
    add("ada")
    add("grace", is_admin=False)

    with pytest.raises(InvalidTransition, match="ada is the only administrator"):
        act(installation, "ada")

    assert roles() == {"ada": True, "grace": False}


@pytest.mark.parametrize("act", [demote, remove])
def test_of_administrators_who_go_at_once_one_is_left(installation, add, roles, act):
    names = ["ada", "grace", "edsger", "barbara"]
    for name in names:
        add(name)
    start = threading.Barrier(len(names))
    refused = []

    def go(name: str) -> None:
        start.wait()
        try:
            act(installation, name)
        except InvalidTransition:
            refused.append(name)

    threads = [threading.Thread(target=go, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 1
    assert [name for name, is_admin in roles().items() if is_admin] == refused


def test_with_an_account_go_its_sessions_and_codes(installation, add, operator):
    add("ada")
    grace = add("grace", is_admin=False)
    with installation.database.write_session() as session:
        token = sessions.begin(session, grace, days=1, address="192.0.2.1", agent="a browser")
        two_factor.new_recovery_codes(session, grace.id)

    remove(installation, "grace")

    assert operator.rows(sa.select(*LoginSession.__table__.columns)) == []
    assert operator.rows(sa.select(*RecoveryCode.__table__.columns)) == []
    with installation.database.write_session() as session:
        assert sessions.user_of(session, token) is None
        with pytest.raises(NotFound):
            accounts.find(session, "grace")


@pytest.mark.parametrize("email", ["", "nobody", "a b@example.com", "a@b\n", "a@b\0", "x" * 250 + "@example.com"])
def test_what_is_no_address_is_refused(installation, add, email):
    user = add("ada")

    with pytest.raises(InvalidInput) as caught, installation.database.write_session() as session:
        accounts.change_email(session, user.id, email)

    assert caught.value.fields == {"email": "Give an e-mail address."}


def test_a_missing_key_file_is_told_where_only_two_factor_secrets_need_it(installation, config, add):
    """A new key would lock everybody out who logs in with a code."""
    user = add("ada")
    with installation.database.write() as connection:
        sealed = two_factor.seal(two_factor.new_secret(), user.id, installation.vault)
        connection.execute(sa.update(User).values(totp_secret=sealed))
    (config.data_dir / "key").unlink()

    with pytest.raises(keyfile.KeyFileError, match="is missing"):
        Installation.open(config)
