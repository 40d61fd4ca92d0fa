"""Host keys as text: ``type base64``, what OpenSSH's public key files hold without their comment (RFC 4253, 6.6)."""

from __future__ import annotations

import base64
import hashlib


def fingerprint(host_key: str) -> str:
    """``SHA256:…`` as OpenSSH prints it: the digest of the key's blob in base64 without padding."""
    blob = base64.b64decode(host_key.split()[1])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def kind(host_key: str) -> str:
    """What people call the key's type: ``ED25519``, ``ECDSA``, ``RSA``."""
    return host_key.split()[0].removeprefix("ssh-").split("-")[0].upper()
