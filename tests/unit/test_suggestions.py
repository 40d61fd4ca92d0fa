"""Which steps the files of a repository suggest."""

from __future__ import annotations

import json
import shlex

import pytest

from deployer.suggestions import Contents, suggest


def suggested(*names: str, package: object = None, branch: str = "main") -> list[str]:
    packed = None if package is None else json.dumps(package).encode()
    return [one.command for one in suggest(Contents(frozenset(names), packed), branch)]


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["package.json", "package-lock.json"], ["npm ci"]),
        (["package.json", "npm-shrinkwrap.json"], ["npm ci"]),
        (["package.json"], ["npm install"]),
        (["package.json", "pnpm-lock.yaml"], ["pnpm install --frozen-lockfile"]),
        (["package.json", "yarn.lock"], ["yarn install --frozen-lockfile"]),
        (["package.json", "yarn.lock", ".yarnrc.yml"], ["yarn install --immutable"]),
        (["package.json", "bun.lock"], ["bun install --frozen-lockfile"]),
        (["package.json", "bun.lockb"], ["bun install --frozen-lockfile"]),
        (["package-lock.json"], []),
        (["uv.lock", "pyproject.toml"], ["uv sync --locked"]),
        (["poetry.lock", "pyproject.toml"], ["poetry install --no-interaction --only main"]),
        (
            ["requirements.txt", "pyproject.toml"],
            ["test -d .venv || python3 -m venv .venv", ".venv/bin/pip install --requirement requirements.txt"],
        ),
        (["pyproject.toml"], ["test -d .venv || python3 -m venv .venv", ".venv/bin/pip install ."]),
        (["composer.json"], ["composer install --no-dev --no-interaction --optimize-autoloader"]),
        (["Gemfile"], ["bundle install"]),
        (["go.mod"], ["mkdir -p bin && go build -o bin/ ./..."]),
        (["Cargo.toml"], ["cargo build --release"]),
        (["Cargo.toml", "Cargo.lock"], ["cargo build --release --locked"]),
        (["compose.yaml"], ["docker compose up --detach --build --remove-orphans"]),
        (["docker-compose.yml"], ["docker compose up --detach --build --remove-orphans"]),
        (["Makefile"], ["make"]),
        (["Makefile", "go.mod"], ["mkdir -p bin && go build -o bin/ ./..."]),
        (["README.md", "index.html"], []),
    ],
)
def test_the_files_in_the_root_suggest_how_it_is_built(names, steps):
    assert suggested(*names) == ["git pull origin main", *steps]


def test_a_repository_of_several_kinds_is_built_in_their_order():
    commands = suggested(
        "composer.json", "package.json", "yarn.lock", "compose.yml", package={"scripts": {"build": "x"}}
    )

    assert [command.split()[0] for command in commands] == ["git", "yarn", "yarn", "composer", "docker"]


@pytest.mark.parametrize(
    ("package", "builds"),
    [
        ({"scripts": {"build": "vite build"}}, True),
        ({"scripts": {"test": "x"}}, False),
        ({"scripts": {"build": 7}}, False),
        ({"scripts": ["build"]}, False),
        ({}, False),
        ([], False),
        ("build", False),
        (None, False),
    ],
)
def test_it_is_built_where_package_json_has_a_script_for_that(package, builds):
    commands = suggested("package.json", "pnpm-lock.yaml", package=package)

    assert ("pnpm run build" in commands) is builds


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_package_json_that_cannot_be_read_suggests_no_build(content):
    assert len(suggest(Contents(frozenset(["package.json"]), content), "main")) == 2


@pytest.mark.parametrize("branch", ["main", "release/1.0", "it's", "a;id", "$(id)", "a`id`", "a&b"])
def test_a_branch_is_one_word_of_the_suggested_command_whatever_its_name(branch):
    (pull,) = suggested(branch=branch)

    assert shlex.split(pull) == ["git", "pull", "origin", branch]


def test_each_suggestion_says_why():
    names = frozenset(["package.json", "uv.lock", "composer.json", "Gemfile", "go.mod", "Cargo.toml", "compose.yaml"])

    for one in suggest(Contents(names), "main"):
        assert one.why.endswith(".")
