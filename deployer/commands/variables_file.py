"""A project's variables, written into a file where its steps run.

As in `git`, the script is a constant, and whatever comes from outside reaches it as environment variables; the
variables themselves as a file of the run, which nobody else can read and which goes with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from deployer.commands import dotenv

DOTENV, JSON = "dotenv", "json"
HEADER = "# Written by Deployer at each deployment. Changes made here do not last.\n"

WRITE = r"""
refuse() { printf '%s\n' "$1" >&2; exit 1; }

if [ -z "$DEPLOYER_FILE" ]; then echo "No file is wanted any more."; exit 0; fi
cd -P -- "$DEPLOYER_DIRECTORY"
umask 077
rest=$DEPLOYER_FILE
# One directory after the other: what is entered is a directory itself, and no link to one.
while :; do
  case $rest in */*) ;; *) break;; esac
  name=${rest%%/*} rest=${rest#*/}
  if [ -L "./$name" ]; then
    refuse "$DEPLOYER_FILE is not written: '$name' is a symbolic link, and may lead anywhere."
  fi
  if [ ! -e "./$name" ]; then (umask 022; mkdir -- "./$name"); fi
  before=$(pwd -P)
  cd -P -- "./$name" || refuse "$DEPLOYER_FILE is not written: '$name' is no directory."
  if [ "$(pwd -P)" != "${before%/}/$name" ]; then
    refuse "$DEPLOYER_FILE is not written: '$name' is a symbolic link, and may lead anywhere."
  fi
done
if [ -L "./$rest" ]; then
  refuse "$DEPLOYER_FILE is not written: it is a symbolic link. Remove it, or choose another path."
fi
if [ -e "./$rest" ] && [ ! -f "./$rest" ]; then
  refuse "$DEPLOYER_FILE is not written: there is something else than a file. Choose another path."
fi
code=0
git --literal-pathspecs ls-files --error-unmatch -- "./$rest" >/dev/null 2>&1 || code=$?
case $code in
  0) refuse "$DEPLOYER_FILE is not written: it is a file of the repository. Choose another path.";;
  1) ;;
  *) git --literal-pathspecs ls-files --error-unmatch -- "./$rest" >/dev/null || :
     refuse "$DEPLOYER_FILE is not written: git cannot tell whether it is a file of the repository.";;
esac
# What a run that was cut off left there is ours. With -C the name is made anew, or not at all.
new=.deployer-variables.new
rm -f -- "./$new"
set -C
cat -- "$DEPLOYER_CONTENT" > "./$new"
set +C
# One rename: who reads it finds the old file or the new one. A link in its place is replaced and not followed.
mv -fT -- "./$new" "./$rest"
echo "$DEPLOYER_FILE holds $DEPLOYER_COUNT as $DEPLOYER_FORMAT, readable by this user alone."
"""
"""Writes the file ``DEPLOYER_FILE`` in ``DEPLOYER_DIRECTORY``, a git working tree."""


class Inexpressible(Exception):
    """A variable that the format cannot hold. ``name`` is the variable's, ``problem`` why, in words."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


def content(file_format: str, values: Mapping[str, str]) -> bytes:
    """The file of these variables. Raises Inexpressible."""
    for name, value in sorted(values.items()):
        if problem := value_problem(file_format, value):
            raise Inexpressible(name, problem)
    if file_format == JSON:
        return (json.dumps(dict(sorted(values.items())), ensure_ascii=False, indent=2) + "\n").encode()
    return (HEADER + dotenv.lines(sorted(values.items()))).encode()


def value_problem(file_format: str, value: str) -> str | None:
    """Why a value cannot be written in that format, in words; None if it can."""
    if file_format == DOTENV:
        return dotenv.problem(value)
    return "it is not valid Unicode" if any("\ud800" <= one <= "\udfff" for one in value) else None


def path_problem(path: str) -> str | None:
    """Why variables cannot be written to ``path``, relative to where steps run, in words; None if they can."""
    example = "give one such as .env or config/production.json"
    if not path or path.startswith("/") or path.endswith("/") or not path.isprintable() or len(path.encode()) > 1024:
        return f"this is no path inside the project's directory; {example}"
    parts = PurePosixPath(path).parts
    if "/".join(parts) != path or ".." in parts or any(part.lower() == ".git" for part in parts):
        return f"the path must lie inside the project's directory, without . or .. and apart from .git; {example}"
    if any(len(part.encode()) > 255 for part in parts):
        return "a name in a path has at most 255 bytes"
    return None


def variables(directory: str, path: str, file_format: str, count: int) -> dict[str, str]:
    """What `WRITE` needs, besides git's environment. An empty ``path``: nothing is written."""
    return {
        "DEPLOYER_DIRECTORY": directory,
        "DEPLOYER_FILE": path,
        "DEPLOYER_FORMAT": file_format,
        "DEPLOYER_COUNT": "1 variable" if count == 1 else f"{count} variables",
        "DEPLOYER_CONTENT": "{run_dir}/variables",
    }


def files(written: bytes) -> dict[str, bytes]:
    """The file that `WRITE` reads in its run directory."""
    return {"variables": written}
