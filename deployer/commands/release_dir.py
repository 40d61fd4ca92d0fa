"""Releases in a directory: made beside what is live, switched to by one rename, and taken away when they are old.

    DIR/repo.git            the commits
    DIR/releases/12-1a2b3c4 a commit as it was built, a working tree of repo.git
    DIR/shared/…            what all releases share, linked into each
    DIR/current             a link to the release that is live

As in `git`, the scripts are constants, and whatever comes from outside reaches them as environment variables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

NAME = re.compile(r"[0-9]+-[0-9a-f]{7}\Z")
"""A release's directory: its number in the project, and the commit."""

_PRUNE = r"""
# Removes all releases but those that are kept, and the current one. Fails where something could not be removed, after
# everything else was.
prune() (
  cd releases || exit 1
  live=$(readlink ../current || :) left=0
  for name in *; do
    # Only what Deployer made, and never what is live, whatever is on record.
    case ${name%-*} in *[!0-9]*) continue;; esac
    case $name in [0-9]*-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]) ;; *) continue;; esac
    if [ "releases/$name" = "$live" ] || [ -L "$name" ] || [ ! -d "$name" ]; then continue; fi
    case " $DEPLOYER_KEEP " in *" $name "*) continue;; esac
    # Half a release must not pass for one.
    if mv -fT -- "$name" ".old-$name"; then echo "removed $name"; else left=1; fi
  done
  rm -rf -- .old-* || left=1
  git --git-dir=../repo.git worktree prune || left=1
  exit $left
)
"""

MAKE = (
    _PRUNE
    + r"""
if [ -e "$DEPLOYER_ROOT/.git" ]; then
  echo "$DEPLOYER_ROOT holds a working copy. Give the project another directory, or move that away." >&2
  exit 1
fi
mkdir -p -- "$DEPLOYER_ROOT/releases" "$DEPLOYER_ROOT/shared"
cd -- "$DEPLOYER_ROOT"
if [ ! -d repo.git/objects ]; then git init --quiet --bare repo.git; fi
# A git that was killed leaves locks behind. Nobody else works in this repository, so any that is there is stale.
find repo.git -name '*.lock' -type f -exec rm -f {} +
# A step may have checked a branch out in its release; what the branch is at here is no concern of that release.
git --git-dir=repo.git fetch --quiet --prune --no-tags --update-head-ok -- "$DEPLOYER_MIRROR" \
  '+refs/heads/*:refs/heads/*' '+refs/tags/*:refs/tags/*'
# What builds that failed have left, and the disk may be needed for this one. It is no reason not to make it.
prune || echo 'Some old releases could not be removed.' >&2
release=releases/$DEPLOYER_RELEASE
# What a build that was cut off left of this release is of no use.
rm -rf -- "./$release"
git --git-dir=repo.git worktree prune
git --git-dir=repo.git worktree add --quiet --detach --force "$release" "$DEPLOY_SHA"

refuse() { printf '%s\n' "$1" >&2; exit 1; }

# $1: a shared path, relative. Nothing is made or removed through a link that the repository has there.
share() {
  path=${1%/} up=../.. rest=$1 parent=
  while :; do
    rest=${rest%/}
    case $rest in
      */*) parent=$parent${rest%%/*} rest=${rest#*/} up=$up/..;;
      *) break;;
    esac
    if [ -L "$release/$parent" ] || { [ -e "$release/$parent" ] && [ ! -d "$release/$parent" ]; }; then
      refuse "The shared path '$path' cannot be linked: in the repository '$parent' is not a directory."
    fi
    mkdir -p -- "$release/$parent" "shared/$parent"
    parent=$parent/
  done
  if [ ! -e "shared/$path" ] && [ ! -L "shared/$path" ]; then
    # The first time, what the repository brings is what the releases begin to share.
    if [ -e "$release/$path" ] && [ ! -L "$release/$path" ]; then
      rm -rf -- shared/.new
      cp -Rp -- "$release/$path" shared/.new
      mv -- shared/.new "shared/$path"
    else case $1 in
      */) mkdir -- "shared/$path";;
      *) echo "$DEPLOYER_ROOT/shared/$path is not there yet: put the file there." >&2;;
    esac; fi
  fi
  rm -rf -- "$release/$path"
  ln -s -- "$up/shared/$path" "$release/$path"
}

printf '%s\n' "$DEPLOYER_SHARED" | while IFS= read -r line; do
  if [ -n "$line" ]; then share "$line"; fi
done
git -C "$release" --no-pager log -1 --no-color --format='HEAD of the release is %h %s'
"""
)
"""Makes the release ``DEPLOYER_RELEASE`` of the commit ``DEPLOY_SHA``, with the shared paths linked in."""

SWITCH = r"""
cd -- "$DEPLOYER_ROOT"
if [ ! -d "releases/$DEPLOYER_RELEASE" ]; then
  echo "The release $DEPLOYER_RELEASE is not there any more: $DEPLOYER_ROOT/releases/$DEPLOYER_RELEASE" >&2
  exit 1
fi
if [ -e current ] && [ ! -L current ]; then
  echo "$DEPLOYER_ROOT/current is not the link that Deployer makes there. Move it away." >&2
  exit 1
fi
was=$(readlink current || :)
ln -sfn -- "releases/$DEPLOYER_RELEASE" .current.new
# One rename: at every moment there is a current, either the one or the other.
mv -fT -- .current.new current
echo "current: ${was#releases/}${was:+ → }$DEPLOYER_RELEASE"
"""
"""Makes ``DEPLOYER_RELEASE`` the current one."""

PRUNE = (
    _PRUNE
    + r"""
cd -- "$DEPLOYER_ROOT"
prune
"""
)
"""Removes all releases but those of ``DEPLOYER_KEEP`` (names with spaces between) and the current one."""


def name(number: int, sha: str) -> str:
    return f"{number}-{sha[:7]}"


def variables(
    root: str, *, release: str = "", mirror: str = "", shared: str = "", keep: Iterable[str] = ()
) -> dict[str, str]:
    """What the scripts need. ``mirror`` is the repository that has the commits, ``shared`` has a path a line."""
    return {
        "DEPLOYER_ROOT": root,
        "DEPLOYER_RELEASE": release,
        "DEPLOYER_MIRROR": mirror,
        "DEPLOYER_SHARED": shared,
        "DEPLOYER_KEEP": " ".join(keep),
    }


def shared_problem(path: str) -> str | None:
    """Why ``path`` cannot be shared by the releases, in words; None if it can."""
    inside = path.removesuffix("/")
    if not inside or inside.startswith("/") or not path.isprintable() or len(path.encode()) > 1024:
        return f"'{path}' is no path inside the release; give one such as storage/ or .env"
    parts = PurePosixPath(inside).parts
    if any(part in ("..", ".git") for part in parts) or "/".join(parts) != inside:
        return f"'{path}' must lie inside the release, without . or .. and apart from .git"
    return None


def shared_with(path: str, shared: Iterable[str]) -> str | None:
    """The shared path that a file of a release would be, or lie in, or around; None where it is the release's own."""
    for one in shared:
        ours, theirs = f"{path}/", f"{one.removesuffix('/')}/"
        if ours.startswith(theirs) or theirs.startswith(ours):
            return one
    return None


def size(root: str, release: str) -> list[str]:
    """argv that prints a release's size in KiB, without what it shares."""
    return ["du", "-sk", "--", f"{root}/releases/{release}"]
