"""The key file and the vault."""

from __future__ import annotations

import os
import stat
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.errors import KeyFileError, SecretUnreadable
from deployer.security import deploy_keys, keyfile
from deployer.security.vault import Vault

KEY = b"k" * 32


def test_the_key_is_made_once_readable_by_its_user_only(tmp_path):
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        key = keyfile.load_or_create(path)
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) == 32
    assert keyfile.load_or_create(path) == key
    assert keyfile.load_or_create(tmp_path / "other") != key


def test_of_many_that_make_the_key_at_once_each_gets_the_same(tmp_path):
    start = threading.Barrier(8)
    keys = []

    def make() -> None:
        start.wait()
        keys.append(keyfile.load_or_create(tmp_path / "key"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o666])
def test_a_key_that_others_can_read_or_write_is_refused_with_the_mend(tmp_path, mode):
    path = tmp_path / "key"
    keyfile.load_or_create(path)
    path.chmod(mode)

    with pytest.raises(KeyFileError, match=f"mode {mode:04o}") as caught:
        keyfile.load_or_create(path)

    assert f"chmod 600 {path}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"short", b"A" * 43, b"!" * 44, b"\xff" * 44, b"A" * 60])
def test_a_damaged_key_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyFileError, match="is damaged"):
        keyfile.load(path)


def test_a_key_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "key").mkdir(mode=0o700)

    with pytest.raises(KeyFileError, match="cannot be read"):
        keyfile.load(tmp_path / "key")


def test_each_purpose_has_a_key_of_its_own():
    assert len({keyfile.derive(KEY, purpose) for purpose in ("vault", "sessions", "csrf")} | {KEY}) == 4


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_sealed_opens_in_its_place(secret, place):
    vault = Vault(KEY)

    assert vault.open(vault.seal(secret, place), place) == secret


def test_a_sealed_secret_shows_nothing_and_is_never_the_same_twice():
    vault = Vault(KEY)
    sealed = {vault.seal(b"correct-horse", "p") for _ in range(100)}

    assert len(sealed) == 100
    assert not any(b"horse" in one for one in sealed)


def test_a_secret_that_was_moved_elsewhere_does_not_open():
    sealed = Vault(KEY).seal(b"secret", "project:1:token")

    with pytest.raises(SecretUnreadable, match="project:2:token"):
        Vault(KEY).open(sealed, "project:2:token")


def test_another_key_does_not_open_it_and_says_what_to_do():
    sealed = Vault(KEY).seal(b"secret", "p")

    with pytest.raises(SecretUnreadable, match="Restore the key file"):
        Vault(b"x" * 32).open(sealed, "p")


def test_a_sealed_secret_that_was_changed_anywhere_does_not_open():
    sealed = Vault(KEY).seal(b"secret", "p")
    for place in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[place] ^= 1
        with pytest.raises(SecretUnreadable):
            Vault(KEY).open(bytes(damaged), "p")


@pytest.mark.parametrize("length", [0, 1, 11, 12, 20])
def test_a_sealed_secret_that_was_cut_does_not_open(length):
    with pytest.raises(SecretUnreadable):
        Vault(KEY).open(Vault(KEY).seal(b"secret", "p")[:length], "p")


def test_a_deploy_key_is_ed25519_and_its_halves_belong_together(tmp_path):
    private, public = deploy_keys.generate("deployer:app")
    path = tmp_path / "key"
    path.write_bytes(private)
    path.chmod(0o600)

    derived = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True)

    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" deployer:app")
    assert derived.stdout.split()[:2] == public.split()[:2]
