"""Secrets at rest: AES-256-GCM, each bound to the place it is stored in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from deployer.errors import SecretUnreadable
from deployer.security import keyfile

_NONCE_BYTES = 12


class Vault:
    """Seals and opens secrets. ``place`` names where one is stored, so that a value moved elsewhere does not open.

    ``keys`` is the key, or asked for the keys of this moment: the first seals, all open. A key that was seen once
    goes on to open what was read from the database before it was exchanged. So that nothing is sealed with a key that
    is being forgotten, whoever stores a secret seals it within the transaction that writes it.
    """

    def __init__(self, keys: bytes | Callable[[], tuple[bytes, ...]]) -> None:
        self._keys = (lambda: (keys,)) if isinstance(keys, bytes) else keys
        self._known: tuple[bytes, ...] = ()
        self._look()

    def _look(self) -> bytes:
        """The key that seals; all that are there now are known afterwards."""
        present = self._keys()
        # Replaced as a whole: other threads may be going through it.
        self._known = present + tuple(one for one in self._known if one not in present)
        return present[0]

    def seal(self, secret: bytes, place: str) -> bytes:
        # Imported here: a process that touches no secret does not carry the library.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(keyfile.derive(self._look(), "vault")).encrypt(nonce, secret, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Raises SecretUnreadable when the key file is another one than that it was sealed with."""
        tried = self._known
        opened = _opened(tried, sealed, place)
        if opened is None:
            self._look()
            opened = _opened([key for key in self._known if key not in tried], sealed, place)
        if opened is None:
            raise SecretUnreadable(
                f"The secret {place} cannot be decrypted with the present key file.",
                hint="Restore the key file that belongs to this database, or enter the secret again.",
            )
        return opened


def _opened(keys: Iterable[bytes], sealed: bytes, place: str) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    for key in keys:
        try:
            return AESGCM(keyfile.derive(key, "vault")).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode()
            )
        except (InvalidTag, ValueError):
            continue
    return None
