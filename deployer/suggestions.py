"""A step list for a repository, suggested by the files in its root."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """A step's command, and in a few words why it is suggested."""

    command: str
    why: str


@dataclass(frozen=True)
class Contents:
    """What a repository holds at a branch's tip: the names in its root, and its ``package.json`` where it has one."""

    names: Set[str]
    package_json: bytes | None = None


def suggest(contents: Contents, branch: str) -> list[Suggestion]:
    """The steps in their order: bring the commit, install, build. What restarts the application only its people know,
    so it is not among them (but a compose file says it)."""
    names = contents.names
    built = [*_javascript(contents)]
    for kind in (_python, _php, _ruby, _go, _rust, _compose):
        built += kind(names)
    if not built and names & {"Makefile", "makefile", "GNUmakefile"}:
        built.append(Suggestion("make", "There is a Makefile; its first target is made."))
    pull = Suggestion(f"git pull origin {shlex.quote(branch)}", f"Brings the newest commit of {branch}.")
    return [pull, *built]


def _javascript(contents: Contents) -> Iterator[Suggestion]:
    names = contents.names
    if "package.json" not in names:
        return
    if "pnpm-lock.yaml" in names:
        tool, install, lock = "pnpm", "pnpm install --frozen-lockfile", "pnpm-lock.yaml"
    elif "yarn.lock" in names:
        # Yarn 2 and later have a file of their own settings, and another word for it.
        flag = "--immutable" if ".yarnrc.yml" in names else "--frozen-lockfile"
        tool, install, lock = "yarn", f"yarn install {flag}", "yarn.lock"
    elif "bun.lock" in names or "bun.lockb" in names:
        tool, install, lock = "bun", "bun install --frozen-lockfile", "bun.lock"
    elif "package-lock.json" in names or "npm-shrinkwrap.json" in names:
        tool, install, lock = "npm", "npm ci", "package-lock.json"
    else:
        tool, install, lock = "npm", "npm install", ""
    if lock:
        yield Suggestion(install, f"Installs exactly what {lock} names.")
    else:
        yield Suggestion(install, "Installs what package.json names; there is no lock file.")
    if _has_build_script(contents.package_json):
        yield Suggestion(f"{tool} run build", "package.json has a build script.")


def _has_build_script(package_json: bytes | None) -> bool:
    try:
        package = json.loads(package_json or b"")
    except (ValueError, RecursionError):
        return False
    scripts = package.get("scripts") if isinstance(package, dict) else None
    return isinstance(scripts, dict) and isinstance(scripts.get("build"), str)


def _python(names: Set[str]) -> Iterator[Suggestion]:
    if "uv.lock" in names:
        yield Suggestion("uv sync --locked", "Installs exactly what uv.lock names.")
    elif "poetry.lock" in names:
        yield Suggestion("poetry install --no-interaction --only main", "Installs exactly what poetry.lock names.")
    elif "requirements.txt" in names or "pyproject.toml" in names:
        yield Suggestion(
            "test -d .venv || python3 -m venv .venv", "Python packages go into an environment of the project's own."
        )
        if "requirements.txt" in names:
            yield Suggestion(
                ".venv/bin/pip install --requirement requirements.txt", "Installs what requirements.txt names."
            )
        else:
            yield Suggestion(".venv/bin/pip install .", "Installs the project that pyproject.toml describes.")


def _php(names: Set[str]) -> Iterator[Suggestion]:
    if "composer.json" in names:
        yield Suggestion(
            "composer install --no-dev --no-interaction --optimize-autoloader", "Installs what Composer's files name."
        )


def _ruby(names: Set[str]) -> Iterator[Suggestion]:
    if "Gemfile" in names:
        yield Suggestion("bundle install", "Installs the gems that the Gemfile names.")


def _go(names: Set[str]) -> Iterator[Suggestion]:
    if "go.mod" in names:
        yield Suggestion("mkdir -p bin && go build -o bin/ ./...", "Builds the module's programs into bin.")


def _rust(names: Set[str]) -> Iterator[Suggestion]:
    if "Cargo.toml" in names:
        flag = " --locked" if "Cargo.lock" in names else ""
        yield Suggestion(f"cargo build --release{flag}", "Builds what Cargo.toml describes.")


def _compose(names: Set[str]) -> Iterator[Suggestion]:
    # In the order in which Docker looks for them.
    for name in ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"):
        if name in names:
            yield Suggestion(
                "docker compose up --detach --build --remove-orphans", f"Builds and restarts what {name} describes."
            )
            return
