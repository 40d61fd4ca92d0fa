"""Every git call that Deployer composes.

The scripts are constants. Whatever comes from outside (addresses, branches, commits, paths) reaches them as
environment variables, always quoted and behind ``--`` or inside a full ref name.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PINNED_HOSTS = Path(__file__).with_name("known_hosts")
"""Host keys of GitHub, GitLab and Bitbucket, as those publish them."""

MAX_URL_LENGTH = 2048
MAX_BRANCH_BYTES = 250
"""git keeps a branch in a file of its name, and locks it by one with ``.lock`` behind it: 255 bytes on Linux."""

NETWORK_ADVICE = "Check the address and this host's network."

_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>(?!//)[^-].*)\Z")
_OWN_PULL = re.compile(r"\s*git\s+(?:pull|fetch)\b")
_OWN_PULL_ALONE = re.compile(r"\s*git\s+(?:pull|fetch)\b[^;&|()<>`$\n]*\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
_FORBIDDEN_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")

# ``DEPLOY_TAG`` is there only where a tag is deployed, and DEPLOY_BRANCH is empty then.

FETCH = r"""
if [ ! -d "$DEPLOYER_MIRROR/objects" ]; then git init --quiet --bare -- "$DEPLOYER_MIRROR"; fi
# A fetch that was killed leaves locks behind; only one runs at a time, so any that is there is stale.
find "$DEPLOYER_MIRROR" -name '*.lock' -type f -delete
git --git-dir="$DEPLOYER_MIRROR" fetch --prune --no-tags --no-write-fetch-head -- "$DEPLOYER_URL" \
  '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
if [ -n "$DEPLOY_TAG" ]; then
  if ! git --git-dir="$DEPLOYER_MIRROR" show-ref --verify --quiet -- "refs/tags/$DEPLOY_TAG"; then
    echo "The repository has no tag '$DEPLOY_TAG' any more." >&2
    exit 1
  fi
elif ! git --git-dir="$DEPLOYER_MIRROR" show-ref --verify --quiet -- "refs/heads/$DEPLOY_BRANCH"; then
  echo "The repository has no branch '$DEPLOY_BRANCH'. Choose another one in the project's settings." >&2
  exit 1
fi
"""

_MAKE_COPY = r"""
if [ "$(git config --get core.hooksPath)" != /dev/null ]; then
  echo "git here is older than 2.31 and would run the repository's hooks. Install a newer one." >&2
  exit 1
fi
if [ ! -e "$DEPLOYER_COPY/.git" ]; then
  if [ -d "$DEPLOYER_COPY" ] && [ -n "$(ls -A -- "$DEPLOYER_COPY")" ]; then
    echo "$DEPLOYER_COPY holds files but is not a git working copy." >&2
    echo "Move them away, or choose another directory in the project's settings." >&2
    exit 1
  fi
  mkdir -p -- "$DEPLOYER_COPY"
  git init --quiet -- "$DEPLOYER_COPY"
fi
cd -- "$DEPLOYER_COPY"
# A git that was killed leaves locks behind. In a copy of ours nobody else works, so any that is there is stale.
if [ "$DEPLOYER_OWNS_COPY" = yes ]; then find .git -name '*.lock' -type f -delete; fi
git remote get-url origin >/dev/null 2>&1 || git remote add origin "$DEPLOYER_MIRROR"
"""

_FETCH_COPY = r"""
git fetch --quiet --no-tags -- "$DEPLOYER_MIRROR" '+refs/heads/*:refs/remotes/origin/*'
if [ -n "$DEPLOY_TAG" ]; then
  git fetch --quiet --no-tags -- "$DEPLOYER_MIRROR" "+refs/tags/$DEPLOY_TAG":"refs/tags/$DEPLOY_TAG"
fi
"""

CHECKOUT = (
    _MAKE_COPY
    + _FETCH_COPY
    + r"""
if [ -n "$DEPLOY_TAG" ]; then
  git checkout --quiet --force --detach "$DEPLOY_SHA" --
else
  git checkout --quiet --force --no-track -B "$DEPLOY_BRANCH" "$DEPLOY_SHA" --
  git config "branch.$DEPLOY_BRANCH.remote" origin
  git config "branch.$DEPLOY_BRANCH.merge" "refs/heads/$DEPLOY_BRANCH"
fi
git --no-pager log -1 --no-color --format='HEAD is now at %h %s'
"""
)

CLONE = (
    _MAKE_COPY
    + r"""
git fetch --quiet --no-tags -- "$DEPLOYER_MIRROR" '+refs/heads/*:refs/remotes/origin/*'
if git show-ref --verify --quiet -- "refs/heads/$DEPLOY_BRANCH"; then
  git checkout --quiet "$DEPLOY_BRANCH" --
else
  git checkout --quiet --no-track -B "$DEPLOY_BRANCH" "refs/remotes/origin/$DEPLOY_BRANCH" --
  git config "branch.$DEPLOY_BRANCH.remote" origin
  git config "branch.$DEPLOY_BRANCH.merge" "refs/heads/$DEPLOY_BRANCH"
fi
git --no-pager log -1 --no-color --format='HEAD is at %h %s'
"""
)

RETURN = (
    _MAKE_COPY
    + _FETCH_COPY
    + r"""
# Without --force: what somebody changed by hand in a copy that pulls by itself is kept, or stops the deployment.
if [ -n "$DEPLOY_TAG" ]; then
  git checkout --quiet --detach "$DEPLOY_SHA" --
else
  git checkout --quiet --no-track -B "$DEPLOY_BRANCH" "$DEPLOY_SHA" --
fi
if [ -z "$DEPLOY_TAG" ] && ! git config --get "branch.$DEPLOY_BRANCH.remote" >/dev/null; then
  git config "branch.$DEPLOY_BRANCH.remote" origin
  git config "branch.$DEPLOY_BRANCH.merge" "refs/heads/$DEPLOY_BRANCH"
fi
git --no-pager log -1 --no-color --format='HEAD is now at %h %s'
"""
)
"""A certain commit into the working copy of a project whose own pull would bring the newest."""


@dataclass(frozen=True)
class Credential:
    """How a repository is reached: a deploy key (SSH), a token (HTTPS), or neither (public).

    ``key_path`` is where the private key will lie, ``known_hosts`` a further file of pinned host keys.
    """

    token: str | None = None
    key_path: str | None = None
    known_hosts: str = ""


def url_problem(url: str, *, allow_file: bool) -> str | None:
    """Why ``url`` cannot be a repository, in words; None if it can."""
    if not url or url != url.strip() or any(ord(c) < 0x21 or ord(c) == 0x7F for c in url):
        return "give the repository's address, without spaces"
    if url.startswith("-"):
        return "an address cannot begin with a dash"
    if len(url) > MAX_URL_LENGTH or not is_text(url):
        return f"an address has at most {MAX_URL_LENGTH} characters, all of them valid Unicode"
    kind = transport(url)
    if kind == "file":
        return None if allow_file else "local paths are only allowed where git.allow_file is on in the configuration"
    if kind is None:
        return "use an https:// or ssh:// address, or git@host:owner/repository.git"
    if _SCP_LIKE.match(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        # Brackets that hold no IPv6 address.
        return "the address names no usable host"
    if not parts.hostname or parts.hostname.startswith("-") or (parts.username or "").startswith("-"):
        return "the address names no usable host"
    if kind in ("https", "http") and (parts.username or parts.password):
        return "leave user and password out of the address; a token has a field of its own"
    if kind == "ssh" and parts.password:
        return "leave the password out of the address; Deployer uses a deploy key"
    if kind == "http" and not _is_loopback(parts.hostname):
        return "plain http:// is only allowed to this host itself; use https://"
    if not parts.path.strip("/"):
        return "the address names a host, but no repository"
    return None


def transport(url: str) -> str | None:
    """git's name of the transport that ``url`` uses (git-fetch(1), GIT URLS); None if it is not one we allow."""
    if url.startswith("/"):
        return "file"
    if "::" in url.split("/", 1)[0]:
        return None
    if "://" in url:
        scheme = url.partition("://")[0].lower()
        return scheme if scheme in ("https", "http", "ssh", "file") else None
    return "ssh" if _SCP_LIKE.match(url) else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def branch_problem(branch: str) -> str | None:
    """Why ``branch`` is no branch name, by the rules of git-check-ref-format(1); None if it is one."""
    if not branch:
        return "give the branch to deploy, for example main"
    if branch.startswith("-"):
        return "a branch name cannot begin with a dash"
    if not is_text(branch) or len(branch.encode()) > MAX_BRANCH_BYTES:
        return f"a branch name has at most {MAX_BRANCH_BYTES} bytes of valid Unicode"
    if _FORBIDDEN_IN_REF.search(branch) or branch == "@" or branch.startswith("/") or branch.endswith(("/", ".")):
        return "this is not a valid branch name"
    if any(part.startswith(".") or part.endswith(".lock") for part in branch.split("/")):
        return "this is not a valid branch name"
    return None


def host_of(url: str) -> tuple[str, str]:
    """Scheme and host of an address, as a token is bound to them."""
    parts = urlsplit(url) if "://" in url else None
    return (parts.scheme.lower(), parts.netloc.lower()) if parts else ("", url)


def is_text(value: str) -> bool:
    """Whether ``value`` can be written as UTF-8 (a lone surrogate, which JSON can carry, cannot)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def pulls_itself(first_step: str) -> bool:
    """Whether a project's first step brings the commit by its own ``git pull`` or ``git fetch``."""
    return _OWN_PULL.match(first_step) is not None


def only_pulls(first_step: str) -> bool:
    """Whether that step does nothing else, so that a certain commit can take its place."""
    return _OWN_PULL_ALONE.match(first_step.strip()) is not None


def pulls_more(first_step: str) -> bool:
    """Whether it brings the commit and does something else, so that no certain commit can take its place."""
    return pulls_itself(first_step) and not only_pulls(first_step)


def commit_problem(commit: str) -> str | None:
    """Why ``commit`` cannot be a commit's id, whole or shortened; None if it can."""
    if _COMMIT.match(commit):
        return None
    return "give a commit's id: its first 7 digits or more (0–9, a–f), as git log shows them"


def environment(url: str | None, credential: Credential = Credential()) -> dict[str, str]:
    """What every git call of ours gets: no prompts, no hooks, one transport, one credential for one host."""
    config = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "credential.helper": "",
        "fetch.recurseSubmodules": "no",
        "submodule.recurse": "false",
        # A collection in the background would outlive the command that began it.
        "gc.autoDetach": "false",
        "maintenance.autoDetach": "false",
        "http.lowSpeedLimit": "1000",
        "http.lowSpeedTime": "60",
        "advice.detachedHead": "false",
    }
    values = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": ""}
    kind = transport(url) if url else "file"
    values["GIT_ALLOW_PROTOCOL"] = "http:https" if kind == "http" else kind or "https"
    if kind in ("http", "https") and url and credential.token:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        # Asked for this host only: a redirect elsewhere gets no token.
        config[f"credential.{host}.helper"] = (
            '!f() { echo "username=x-access-token"; echo "password=$DEPLOYER_TOKEN"; }; f'
        )
        values["DEPLOYER_TOKEN"] = credential.token
    if kind == "ssh":
        values["GIT_SSH_COMMAND"] = _ssh_command(credential)
        values["GIT_SSH_VARIANT"] = "ssh"
    values["GIT_CONFIG_COUNT"] = str(len(config))
    for index, (key, value) in enumerate(config.items()):
        values[f"GIT_CONFIG_KEY_{index}"] = key
        values[f"GIT_CONFIG_VALUE_{index}"] = value
    return values


def _ssh_command(credential: Credential) -> str:
    files = [str(PINNED_HOSTS), *([credential.known_hosts] if credential.known_hosts else [])]
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    words += [
        "-o",
        "UserKnownHostsFile=" + " ".join(f'"{file}"' for file in files),
        "-o",
        "GlobalKnownHostsFile=none",
    ]
    words += ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]
    words += ["-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes"]
    words += ["-o", f"IdentityFile={credential.key_path or 'none'}"]
    # git hands this to a shell.
    return shlex.join(words)


def fetch_variables(mirror: str, url: str) -> dict[str, str]:
    return {"DEPLOYER_MIRROR": mirror, "DEPLOYER_URL": url}


def copy_variables(mirror: str, copy: str, *, owned: bool) -> dict[str, str]:
    return {
        "DEPLOYER_MIRROR": mirror,
        "DEPLOYER_COPY": copy,
        "DEPLOYER_OWNS_COPY": "yes" if owned else "no",
    }


def list_branches(url: str) -> Sequence[str]:
    """argv that asks a repository for its branches, one ``<sha>\\t<ref>`` a line, and which of them its HEAD is
    (``ref: <ref>\\tHEAD``)."""
    return ["git", "ls-remote", "--symref", "--", url, "HEAD", "refs/heads/*"]


def resolve(directory: str, ref: str) -> Sequence[str]:
    """argv that prints the commit of a full ref name or commit id, or fails."""
    return ["git", "-C", directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]


def begins_with(directory: str, prefix: str) -> Sequence[str]:
    """argv that prints the ids of the objects that begin with ``prefix`` (hexadecimal), one a line. Unlike a name it
    is never taken for a branch or a tag."""
    return ["git", "-C", directory, "rev-parse", f"--disambiguate={prefix}"]


def contains(directory: str, ancestor: str, descendant: str) -> Sequence[str]:
    """argv that exits 0 when ``descendant`` contains ``ancestor``, 1 when not."""
    return ["git", "-C", directory, "merge-base", "--is-ancestor", "--", ancestor, descendant]


def describe(directory: str, sha: str) -> Sequence[str]:
    """argv that prints author name, e-mail and message of a commit, separated by NUL."""
    return ["git", "-C", directory, "log", "-1", "--no-color", "--format=%an%x00%ae%x00%B", sha, "--"]


def advice(words: str, *, has_deploy_key: bool) -> str:
    """What to do about git's complaint."""
    if "Host key verification failed" in words or "No matching host key" in words:
        return "This host's key is not pinned: add it to the file that git.known_hosts names, after comparing it."
    if "Permission denied" in words or "publickey" in words:
        if has_deploy_key:
            return "Add the deploy key shown on the project's page to the repository."
        return "Make a deploy key on the project's page and add it to the repository."
    if "Authentication failed" in words or "could not read Username" in words or "403" in words:
        return "Give a token that may read this repository, or use the SSH address with a deploy key."
    if "not found" in words.lower() or "does not exist" in words or "does not appear to be" in words:
        return "Check the address; a private repository also says this to those who may not see it."
    if _is_about_the_network(words):
        return NETWORK_ADVICE
    return ""


def is_unreachable(words: str) -> bool:
    """Whether git complains that the host did not answer, rather than about what it answered."""
    return advice(words, has_deploy_key=False) == NETWORK_ADVICE


def _is_about_the_network(words: str) -> bool:
    return any(one in words for one in ("Could not resolve", "Connection", "connect to host", "unable to access"))
