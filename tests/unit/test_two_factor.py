"""One-time codes and recovery codes: each is good once, for its own user, in its own time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
import sqlalchemy as sa

from deployer import accounts, clock, two_factor
from deployer.errors import InvalidInput, InvalidTransition, SecretUnreadable
from deployer.models.user import RecoveryCode, User
from deployer.two_factor import Way

# In the middle of a step of 30 s.
NOON = datetime(2025, 1, 15, 12, 0, 15, tzinfo=UTC)


@pytest.fixture
def at(monkeypatch):
    """Set the clock."""

    def set_to(moment: datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: moment)

    set_to(NOON)
    return set_to


@pytest.fixture
def add(installation):
    def add(name: str) -> str:
        user = accounts.new_user(name, f"{name}@example.com", "correct horse battery", is_admin=True)
        with installation.database.write_session() as session:
            accounts.add(session, user)
        return user.id

    return add


class Person:
    """A user with a device, and what the login makes of their codes."""

    def __init__(self, installation, user_id: str, secret: str, recovery_codes: list[str]) -> None:
        self.installation = installation
        self.user_id = user_id
        self.secret = secret
        self.recovery_codes = recovery_codes

    def code(self, moment: datetime) -> str:
        return pyotp.TOTP(self.secret).at(int(moment.timestamp()))

    def take(self, code: str) -> Way | None:
        with self.installation.database.write_session() as session:
            user = session.get(User, self.user_id)
            return two_factor.take(session, user, code, self.installation.vault)


@pytest.fixture
def make_person(installation, add, at):
    """Set up a minute before noon."""

    def make(name: str = "ada") -> Person:
        at(NOON - timedelta(minutes=1))
        user_id = add(name)
        secret = two_factor.new_secret()
        person = Person(installation, user_id, secret, [])
        with installation.database.write_session() as session:
            sealed = two_factor.seal(secret, user_id, installation.vault)
            code = person.code(clock.now())
            person.recovery_codes = two_factor.switch_on(session, user_id, sealed, code, installation.vault)
        at(NOON)
        return person

    return make


@pytest.fixture
def person(make_person) -> Person:
    return make_person()


def test_the_code_of_the_moment_is_taken(person):
    assert person.take(person.code(NOON)) is Way.CODE


@pytest.mark.parametrize(("by", "is_taken"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_differ_by_one_step(person, by, is_taken):
    assert (person.take(person.code(NOON + timedelta(seconds=by))) is Way.CODE) == is_taken


def test_a_code_is_good_once(person):
    code = person.code(NOON)

    assert [person.take(code), person.take(code)] == [Way.CODE, None]


def test_after_a_code_no_older_one_is_good(person):
    person.take(person.code(NOON))

    assert person.take(person.code(NOON - timedelta(seconds=30))) is None


def test_the_code_that_confirmed_the_set_up_is_used_up(person, at):
    at(NOON - timedelta(minutes=1))

    assert person.take(person.code(clock.now())) is None


def test_of_many_who_give_the_same_code_at_once_one_gets_in(person):
    code = person.code(NOON)
    start = threading.Barrier(6)
    answers = []

    def give() -> None:
        start.wait()
        answers.append(person.take(code))

    threads = [threading.Thread(target=give) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers, key=str) == [None] * 5 + [Way.CODE]


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\0", "x" * 10_000])
def test_what_is_no_code_is_wrong(person, code):
    assert person.take(code) is None


def test_a_code_may_be_typed_with_spaces(person):
    code = person.code(NOON)

    assert person.take(f" {code[:3]} {code[3:]} ") is Way.CODE


def test_another_users_codes_are_wrong(make_person):
    ada, grace = make_person("ada"), make_person("grace")

    assert ada.take(grace.code(NOON)) is None
    assert ada.take(grace.recovery_codes[0]) is None
    assert grace.take(grace.recovery_codes[0]) is Way.RECOVERY_CODE


def test_a_recovery_code_is_good_once_however_it_is_typed(person):
    first, second = person.recovery_codes[:2]

    assert [person.take(first), person.take(first)] == [Way.RECOVERY_CODE, None]
    assert person.take(f" {second.upper().replace('-', ' ')}") is Way.RECOVERY_CODE


def test_there_are_ten_recovery_codes_and_none_of_them_is_stored(person, operator):
    stored = [row.code_hash for row in operator.rows(sa.select(*RecoveryCode.__table__.columns))]

    assert len(set(person.recovery_codes)) == len(stored) == 10
    for code in person.recovery_codes:
        assert not any(code.replace("-", "") in one or code in one for one in stored)


def test_new_recovery_codes_end_the_earlier_ones(person, installation):
    with installation.database.write_session() as session:
        new = two_factor.new_recovery_codes(session, person.user_id)

    assert person.take(person.recovery_codes[0]) is None
    assert person.take(new[0]) is Way.RECOVERY_CODE


def test_the_secret_is_stored_sealed_for_its_user(make_person, installation, operator):
    ada, grace = make_person("ada"), make_person("grace")
    sealed = {row.id: row.totp_secret for row in operator.rows(sa.select(*User.__table__.columns))}

    assert ada.secret.encode() not in sealed[ada.user_id]
    assert two_factor.unseal(sealed[ada.user_id], ada.user_id, installation.vault) == ada.secret
    with pytest.raises(SecretUnreadable):
        two_factor.unseal(sealed[ada.user_id], grace.user_id, installation.vault)


def test_switched_off_nothing_is_left_of_it(person, installation, operator):
    with installation.database.write_session() as session:
        two_factor.switch_off(session, person.user_id)

    (user,) = operator.rows(sa.select(*User.__table__.columns))
    assert (user.totp_secret, user.totp_last_step) == (None, None)
    assert person.take(person.code(NOON)) is None
    assert person.take(person.recovery_codes[0]) is None


def test_a_set_up_with_a_wrong_code_switches_nothing_on(installation, add, operator, at):
    user_id = add("ada")
    sealed = two_factor.seal(two_factor.new_secret(), user_id, installation.vault)

    with pytest.raises(InvalidInput) as caught, installation.database.write_session() as session:
        two_factor.switch_on(session, user_id, sealed, "000000", installation.vault)

    assert set(caught.value.fields) == {"code"}
    (user,) = operator.rows(sa.select(*User.__table__.columns))
    assert user.totp_secret is None


def test_a_set_up_that_somebody_else_began_is_refused(installation, add, at):
    ada, grace = add("ada"), add("grace")
    secret = two_factor.new_secret()
    sealed = two_factor.seal(secret, ada, installation.vault)

    for wrong in (sealed, b"", b"x" * 60):
        with pytest.raises(InvalidInput), installation.database.write_session() as session:
            two_factor.switch_on(session, grace, wrong, pyotp.TOTP(secret).at(NOON), installation.vault)


def test_what_is_on_is_not_replaced_by_a_second_set_up(person, installation):
    secret = two_factor.new_secret()
    sealed = two_factor.seal(secret, person.user_id, installation.vault)

    with pytest.raises(InvalidTransition), installation.database.write_session() as session:
        two_factor.switch_on(session, person.user_id, sealed, pyotp.TOTP(secret).at(NOON), installation.vault)

    assert person.take(person.code(NOON)) is Way.CODE
