"""A look at a repository without a copy of it: the git calls, as argv, in the order they are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def tip(url: str, branch: str) -> Sequence[str]:
    """argv that asks a repository for one branch: ``<sha>\t<ref>`` a line, also of refs that merely end like it."""
    return ["git", "ls-remote", "--", url, f"refs/heads/{branch}"]


def begin_look(directory: Path, url: str) -> Sequence[Sequence[str]]:
    """argvs that make the repository which `look` fetches into. It has a remote, from which files that were left out
    can be fetched later."""
    return [
        ["git", "init", "--quiet", "--bare", "--", str(directory)],
        ["git", "-C", str(directory), "remote", "add", "--", "origin", url],
    ]


def look(directory: Path, branch: str, *, without_files: bool) -> Sequence[str]:
    """argv that fetches a branch's newest commit alone, as ``refs/heads/tip``; without the contents of its files
    where the server can leave them out."""
    # A pack is one file, however small, so that a limit on a file's size holds for the whole of it.
    words = ["git", "-C", str(directory), "-c", "fetch.unpackLimit=1", "fetch", "--quiet", "--depth=1", "--no-tags"]
    # A filter that was asked for once stays with the remote, also where it was refused.
    words.append("--filter=blob:none" if without_files else "--no-filter")
    return [*words, "--", "origin", f"+refs/heads/{branch}:refs/heads/tip"]


def names_in_root(directory: Path) -> Sequence[str]:
    """argv that prints the names in the root of what `look` fetched, each with a NUL behind it."""
    return ["git", "-C", str(directory), "ls-tree", "-z", "--name-only", "refs/heads/tip"]


def file_in_root(directory: Path, name: str) -> Sequence[str]:
    """argv that prints a file of it, fetched now where `look` left it out."""
    return ["git", "-C", str(directory), "cat-file", "blob", f"refs/heads/tip:{name}"]
