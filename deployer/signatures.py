"""Signatures: whose commits a project deploys, and whether a commit is by one of them."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deployer import clock, scratch
from deployer.commands import git_verify
from deployer.errors import CommitUntrusted
from deployer.executors.host_keys import fingerprint
from deployer.installation import DataDir
from deployer.models.project import Project

TIMEOUT_S = 10
MAX_TEXT = 256 * 1024

_PACKAGES = {"gpg": "gnupg", "ssh-keygen": "openssh-client", "git": "git"}
_SIGNER = re.compile(
    r"(?P<principals>[^\s\"]+)\s+(?:(?P<options>(?:[a-z-]+(?:=\"[^\"]*\")?)(?:,[a-z-]+(?:=\"[^\"]*\")?)*)\s+)?"
    r"(?P<type>(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+(?P<key>[A-Za-z0-9+/]+=*)(?:\s+(?P<comment>.*))?\Z"
)
_VALID_BEFORE = re.compile(r'valid-before="([^"]*)"')
_MOMENT = re.compile(r"(?P<date>[0-9]{8})(?P<time>[0-9]{4}(?:[0-9]{2})?)?(?P<utc>Z?)\Z")
_SIGNER_FORM = "Write it as in git's allowed signers file: ada@example.com ssh-ed25519 AAAA…"
_SSH_KEY = re.compile(r'Good "git" signature (?:for .* )?with \S+ key (SHA256:[A-Za-z0-9+/]+)$', re.MULTILINE)
_STATUS = re.compile(
    r"^\[GNUPG:\] (?P<word>GOODSIG|EXPSIG|EXPKEYSIG|REVKEYSIG|BADSIG|ERRSIG) (?P<key>[0-9A-F]+)", re.MULTILINE
)
_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_NO_KEY = "gpg finds no key in this, or not the whole of it. Paste it from its first line to its last."
_OF_GPG = {
    "EXPSIG": "bears a signature that has expired, by the OpenPGP key {}",
    "EXPKEYSIG": "is signed by the OpenPGP key {}, which has expired",
    "REVKEYSIG": "is signed by the OpenPGP key {}, which was revoked",
    "BADSIG": "bears a signature by the OpenPGP key {} that is not of this commit",
    "ERRSIG": "is signed by the OpenPGP key {}, which this project does not trust",
}


@dataclass(frozen=True)
class Signer:
    """Somebody whose commits are deployed: by which name, with which key, and until when that is good."""

    name: str
    fingerprint: str
    expires_at: datetime | None = None
    is_revoked: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_revoked or (self.expires_at is not None and self.expires_at <= clock.now())


def read_keys(text: str, data_dir: DataDir) -> list[Signer]:
    """The OpenPGP keys in an armored text. Raises ValueError, which says in a sentence what is wrong."""
    if "PRIVATE KEY BLOCK" in text:
        raise ValueError("This is a private key. Paste the public one: gpg --armor --export you@example.com")
    if _BEGIN not in text:
        raise ValueError("This is no OpenPGP key. Paste the output of: gpg --armor --export you@example.com")
    if len(text) > MAX_TEXT or not text.isascii():
        raise ValueError(f"Keys are at most {MAX_TEXT // 1024} KiB of ASCII text.")
    with _folder(data_dir) as folder:
        try:
            _import(text, folder)
            found = _keys(_run(git_verify.list_keys(), folder).stdout)
        except CommitUntrusted as error:
            raise ValueError(str(error)) from error
    if not found:
        raise ValueError(_NO_KEY)
    if all(one.is_over for one in found):
        raise ValueError(f"The key of {found[0].name} has expired or was revoked. Paste one that is good.")
    return found


def _keys(listing: bytes) -> list[Signer]:
    """Of gpg's listing with colons the primary keys, each with its first user id."""
    found: list[Signer] = []
    wants = ""
    fields: list[str] = []
    for line in listing.decode("utf-8", "replace").splitlines():
        row = line.split(":")
        if row[0] == "pub":
            fields, wants = row, "fpr"
        elif row[0] == wants == "fpr":
            expires = datetime.fromtimestamp(int(fields[6]), UTC) if fields[6].isdigit() else None
            found.append(Signer("", row[9], expires, fields[1] == "r"))
            wants = "uid"
        elif row[0] == wants == "uid":
            last = found.pop()
            found.append(Signer(_unescaped(row[9]), last.fingerprint, last.expires_at, last.is_revoked))
            wants = ""
    return found


def _unescaped(name: str) -> str:
    """gpg writes what could break its listing as ``\\x3a``."""
    plain = re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), name)
    return "".join(one for one in plain if one.isprintable())[:200]


def read_signers(text: str) -> list[Signer]:
    """The lines of an allowed signers file (ssh-keygen(1), ALLOWED SIGNERS). Raises ValueError, as `read_keys`."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"Allowed signers are at most {MAX_TEXT // 1024} KiB.")
    found = [_signer(number, line) for number, line in _signer_lines(text)]
    if not found:
        raise ValueError(f"There is no signer in this. {_SIGNER_FORM}")
    return found


def _signer_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def _signer(number: int, line: str) -> Signer:
    if "PRIVATE KEY" in line:
        raise ValueError("This is a private key. Paste the public one, the file that ends in .pub.")
    if line.startswith(("ssh-", "ecdsa-", "sk-")):
        raise ValueError(f"Line {number} names nobody before the key. {_SIGNER_FORM}")
    match = _SIGNER.match(line)
    if not match or not line.isprintable():
        raise ValueError(f"Line {number} is not understood. {_SIGNER_FORM}")
    try:
        key = base64.b64decode(match["key"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"Line {number}: the key is cut off or damaged. Paste it whole.") from error
    size, kind = int.from_bytes(key[:4], "big"), match["type"].encode()
    if size != len(kind) or key[4 : 4 + size] != kind or len(key) <= 4 + size + 16:
        raise ValueError(f"Line {number}: the key is cut off, or is none of type {match['type']}. Paste it whole.")
    expires_at = None
    if before := _VALID_BEFORE.search(match["options"] or ""):
        expires_at = _moment(before[1], number)
    return Signer(match["principals"], fingerprint(f"{match['type']} {match['key']}"), expires_at)


def _moment(text: str, number: int) -> datetime:
    """A time as ssh-keygen(1) has it: YYYYMMDD[HHMM[SS]][Z], of this host's clocks without the Z."""
    match = _MOMENT.match(text)
    try:
        if not match:
            raise ValueError(text)
        read = datetime.strptime(match["date"] + (match["time"] or "").ljust(6, "0"), "%Y%m%d%H%M%S")
    except ValueError as error:
        raise ValueError(f"Line {number}: valid-before is a time such as 20271231.") from error
    return read.replace(tzinfo=UTC) if match["utc"] else read.astimezone(UTC)


# A commit --------------------------------------------------------------------------------------------------------


def require(project: Project, sha: str, data_dir: DataDir) -> None:
    """Where a project deploys only what certain people have signed: raises CommitUntrusted for a commit in its mirror
    that none of them has. Called before anything of the commit is checked out or run."""
    if not project.requires_signature:
        return
    with _folder(data_dir) as folder:
        if project.signature_keys:
            _import(project.signature_keys, folder)
        _written(git_verify.signers_file(folder), _good_signers(project.signature_signers or ""))
        _require_program("ssh-keygen")
        done = _run(git_verify.verify(str(data_dir.mirror(project.id)), sha, folder), folder)
    said = done.stderr.decode("utf-8", "replace")
    is_good = any(line.startswith(("[GNUPG:] GOODSIG ", 'Good "git" signature for ')) for line in said.splitlines())
    if done.returncode or not is_good:
        raise CommitUntrusted(f"commit {sha[:7]} {_complaint(said)}; {_trusted(project)}")


def _good_signers(text: str) -> str:
    """Without those whose time is over: git asks whether a key was good when the commit says that it was made, which
    whoever has the key may say as they like."""
    lines = (line for number, line in _signer_lines(text) if not _signer(number, line).is_over)
    return "".join(f"{line}\n" for line in lines)


def _complaint(said: str) -> str:
    """What is wrong with a commit's signature, by what gpg or ssh-keygen said to git."""
    if match := _STATUS.search(said):
        return _OF_GPG.get(match["word"], "bears several signatures").format(match["key"])
    if match := _SSH_KEY.search(said):
        return f"is signed by the SSH key {match[1]}, which this project does not trust"
    if not said.strip():
        return "is not signed"
    if "ignature verification failed" in said or "incorrect signature" in said:
        return "bears a signature that is not of this commit"
    return f"bears a signature that could not be checked ({_last_line(said.encode())})"


def _trusted(project: Project) -> str:
    """Whom a project trusts, shortly: their keys' texts are read when they are entered."""
    kinds = []
    if project.signature_keys:
        kinds.append("OpenPGP keys")
    if project.signature_signers:
        names = sorted({_signer(number, line).name for number, line in _signer_lines(project.signature_signers)})
        kinds.append(f"SSH signers ({', '.join(names[:5])}{', …' if len(names) > 5 else ''})")
    return f"this project deploys only what is signed by one of its {' or '.join(kinds)}"


@contextmanager
def _folder(data_dir: DataDir) -> Iterator[Path]:
    """A folder (0700) for one question, with gpg's configuration in it."""
    with scratch.held(data_dir.scratch, "signature-") as folder:
        _written(folder / "gpg.conf", git_verify.GPG_CONF)
        yield folder


def _import(keys: str, folder: Path) -> None:
    """Take armored keys into a folder's keyring. Raises CommitUntrusted."""
    said = _run(git_verify.import_keys(_written(folder / "keys", keys)), folder).stdout
    if b"IMPORT_PROBLEM" in said or said.count(b"[GNUPG:] IMPORT_OK ") < keys.count(_BEGIN):
        raise CommitUntrusted(_NO_KEY)


def _written(path: Path, text: str) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _require_program(name: str) -> None:
    if shutil.which(name) is None:
        raise CommitUntrusted(
            f"{name} is not installed on this host, so no signature can be checked.",
            hint=f"Install it: apt-get install {_PACKAGES[name]}",
        )


def _run(argv: Sequence[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Raises CommitUntrusted where the program is missing, or does not answer."""
    _require_program(argv[0])
    try:
        return subprocess.run(
            argv,
            env={"PATH": os.environ.get("PATH", os.defpath), **git_verify.environment(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommitUntrusted(f"the signature could not be checked: {error}") from error


def _last_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
