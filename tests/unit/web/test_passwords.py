"""Passwords are hashed as OWASP advises, and an unknown user costs as much as a known one."""

from __future__ import annotations

import argon2
import pytest

from deployer.security import passwords


def test_a_hash_is_argon2id_with_19_mib_two_passes_and_one_lane():
    parameters = argon2.extract_parameters(passwords.hash_password("correct horse"))

    assert parameters.type is argon2.Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19 * 1024, 2, 1)


def test_a_password_is_right_or_wrong():
    stored = passwords.hash_password("correct horse")

    assert passwords.verify(stored, "correct horse")
    assert not passwords.verify(stored, "Correct horse")


def test_one_password_gives_another_hash_each_time():
    assert passwords.hash_password("correct horse") != passwords.hash_password("correct horse")


def test_an_unknown_user_is_compared_with_a_hash_of_the_same_cost():
    """A hash that could not be read would be refused at once, and the time would tell that nobody is there."""
    real = argon2.extract_parameters(passwords.hash_password("correct horse"))

    assert argon2.extract_parameters(passwords._DECOY) == real
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(passwords._DECOY, "anything")
    assert not passwords.verify(None, "anything")


@pytest.mark.parametrize("broken", ["", "x", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv"])
def test_a_stored_hash_that_is_none_lets_nobody_in(broken):
    assert not passwords.verify(broken, "anything")


def test_the_length_of_a_new_password_is_bounded():
    assert passwords.problem("x" * 9)
    assert passwords.problem("x" * 10) is None
    assert passwords.problem("x" * 1024) is None
    assert passwords.problem("x" * 1025)
