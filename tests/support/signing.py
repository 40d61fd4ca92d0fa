"""People who sign commits, with real OpenPGP and SSH keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.repository import Repository


class OpenPgpSigner:
    """Somebody with a keyring of their own.

    The key is made ``then``, by gpg's clock (empty: now), and good for so many seconds (0: for ever).
    """

    def __init__(self, name: str, *, then: str = "", seconds: int = 0) -> None:
        # The sockets of gpg's agent have short names only.
        self.home = home = Path(tempfile.mkdtemp(prefix="pgp-"))
        self.email = f"{name.lower()}@example.com"
        if then:
            (home / "gpg.conf").write_text(f"faked-system-time {then}!\n")
        until = f"seconds={seconds}" if seconds else "0"
        self._gpg("--passphrase", "", "--quick-gen-key", f"{name} <{self.email}>", "ed25519", "sign", until)

    def _gpg(self, *words: str) -> str:
        argv = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", *words]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "GNUPGHOME": str(self.home)}

    @property
    def public_key(self) -> str:
        return self._gpg("--armor", "--export", self.email)

    @property
    def private_key(self) -> str:
        return self._gpg("--armor", "--passphrase", "", "--export-secret-keys", self.email)

    def revoke(self) -> None:
        """By the certificate that gpg makes with each key; its first line keeps it from being used by accident."""
        (certificate,) = (self.home / "openpgp-revocs.d").glob("*.rev")
        text = certificate.read_text()
        revocation = self.home / "revocation"
        revocation.write_text(text[text.index(":-----BEGIN") + 1 :])
        self._gpg("--import", str(revocation))

    def commit(self, repository: Repository, message: str = "signed") -> str:
        return _commit(repository, message, self.environment, "openpgp", self.email)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environment, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


class SshSigner:
    """Somebody with an SSH key."""

    def __init__(self, folder: Path, name: str) -> None:
        self.email = f"{name.lower()}@example.com"
        self._key = folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._key)], check=True)

    @property
    def public_key(self) -> str:
        """``ssh-ed25519 AAAA…``"""
        return " ".join(self._key.with_suffix(".pub").read_text().split()[:2])

    def line(self, options: str = "") -> str:
        """A line of an allowed signers file."""
        return " ".join(one for one in (self.email, options, self.public_key) if one)

    def commit(self, repository: Repository, message: str = "signed", **environment: str) -> str:
        return _commit(repository, message, {**os.environ, **environment}, "ssh", str(self._key))


def _commit(repository: Repository, message: str, environment: dict[str, str], kind: str, key: str) -> str:
    options = {"user.name": "Ada", "user.email": "ada@example.com", "gpg.format": kind, "user.signingkey": key}
    argv = ["git", "-C", str(repository.path)]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    argv += ["commit", "--quiet", "--allow-empty", "--gpg-sign", "--message", message]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return repository.tip()
