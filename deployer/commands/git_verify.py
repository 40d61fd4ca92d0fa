"""Whose signature a commit bears: the git call, and the programs that read keys, as argv.

All of it works in a folder that holds nothing but the keys that are trusted, so that no keyring or configuration of
the daemon's user has a say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer.commands import git

GPG_CONF = "no-autostart\nno-auto-key-retrieve\nno-auto-key-locate\n"
"""gpg's configuration there: it starts no agent, and asks nobody on the network for keys."""


def verify(mirror: str, sha: str, folder: Path) -> Sequence[str]:
    """argv that exits 0 where a commit has a good signature by one of the keys in ``folder``; what gpg or ssh-keygen
    say of it goes to stderr (git-verify-commit(1))."""
    return [
        "git",
        "-C",
        mirror,
        "-c",
        "gpg.program=gpg",
        "-c",
        "gpg.openpgp.program=gpg",
        "-c",
        "gpg.ssh.program=ssh-keygen",
        "-c",
        "gpg.x509.program=false",
        "-c",
        f"gpg.ssh.allowedSignersFile={signers_file(folder)}",
        "-c",
        "gpg.ssh.revocationFile=",
        "-c",
        "gpg.minTrustLevel=undefined",
        "verify-commit",
        "--raw",
        "--end-of-options",
        sha,
    ]


def import_keys(keys: Path) -> Sequence[str]:
    """argv that takes a file of armored keys into the keyring, and prints what became of each (gpg's DETAILS, status
    lines). Its exit code is of no use: it also says whether an agent could have been reached."""
    return ["gpg", "--batch", "--quiet", "--no-tty", "--status-fd=1", "--import", "--", str(keys)]


def list_keys() -> Sequence[str]:
    """argv that lists the keyring, as gpg's DETAILS describe."""
    return ["gpg", "--batch", "--quiet", "--no-tty", "--with-colons", "--fixed-list-mode", "--list-keys"]


def environment(folder: Path) -> Mapping[str, str]:
    """What all of these get besides a PATH."""
    return {
        **git.environment(None),
        "HOME": str(folder),
        "GNUPGHOME": str(folder),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        # What a commit is replaced by would pass for it.
        "GIT_NO_REPLACE_OBJECTS": "1",
    }


def signers_file(folder: Path) -> Path:
    return folder / "allowed_signers"
