"""Secrets at rest: AES-256-GCM, each bound to the place it is stored in."""

from __future__ import annotations

import os

from deployer.errors import SecretUnreadable
from deployer.security import keyfile

_NONCE_BYTES = 12


class Vault:
    """Seals and opens secrets. ``place`` names where one is stored, so that a value moved elsewhere does not open."""

    def __init__(self, key: bytes) -> None:
        self._key = keyfile.derive(key, "vault")

    def seal(self, secret: bytes, place: str) -> bytes:
        # Imported here: a process that touches no secret does not carry the library.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, secret, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Raises SecretUnreadable when the key file is another one than that it was sealed with."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable(
                f"The secret {place} cannot be decrypted with the present key file.",
                hint="Restore the key file that belongs to this database, or enter the secret again.",
            ) from error
