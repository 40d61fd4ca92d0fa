"""The script that writes variables into a file, by itself: real git, real links, each shell that may run it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from deployer.commands import git, variables_file
from tests.support.repository import Repository

SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
VALUES = {"NODE_ENV": "production", "TOKEN": "squeamish 'ossifrage'\nand more"}


class Place:
    """A working tree, and a run directory with what is to be written."""

    def __init__(self, root: Path, shell: list[str]) -> None:
        self.repository = Repository(root / "it's a place")
        self.tree = self.repository.path
        self.run_directory = root / "run"
        self.run_directory.mkdir(mode=0o700)
        self._shell = shell

    def write(
        self, path: str = ".env", values: dict[str, str] = VALUES, file_format: str = variables_file.DOTENV
    ) -> subprocess.CompletedProcess[str]:
        for name, data in variables_file.files(variables_file.content(file_format, values)).items():
            (self.run_directory / name).write_bytes(data)
        given = variables_file.variables(str(self.tree), path, file_format, len(values))
        given = {name: value.replace("{run_dir}", str(self.run_directory)) for name, value in given.items()}
        return subprocess.run(
            [*self._shell, "-e", "-c", variables_file.WRITE],
            env={"PATH": os.environ["PATH"], "HOME": "/", **git.environment(None), **given},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def refused(self, *given: str) -> str:
        """Why it was; nothing of the variables is anywhere in the tree then."""
        done = self.write(*given)
        assert done.returncode == 1
        found = subprocess.run(["grep", "-r", "ossifrage", self.tree], capture_output=True, check=False)
        assert found.returncode == 1
        return done.stderr


@pytest.fixture(params=SHELLS)
def place(request, tmp_path) -> Place:
    argv = SHELLS[request.param]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    made = Place(tmp_path, argv)
    made.repository.commit(README_md="hello\n", package_json="{}")
    return made


def test_a_file_is_written_for_its_user_alone_and_read_back_by_a_shell(place):
    old = os.umask(0)
    try:
        done = place.write()
    finally:
        os.umask(old)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ".env holds 2 variables as dotenv, readable by this user alone.\n"
    file = place.tree / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    read = subprocess.run(
        ["/bin/sh", "-c", 'set -a; . "$1"; printf %s "$TOKEN"', "sh", file],
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout == VALUES["TOKEN"]
    assert [one.name for one in place.tree.iterdir() if "new" in one.name] == []


def test_what_is_written_is_what_there_is_now_and_takes_the_place_of_the_former_file(place):
    place.write()
    (place.tree / ".env").chmod(0o644)
    opened = (place.tree / ".env").open()

    assert place.write(values={"NODE_ENV": "production"}).returncode == 0

    assert "ossifrage" not in (place.tree / ".env").read_text()
    assert stat.S_IMODE((place.tree / ".env").stat().st_mode) == 0o600
    # Another file under the name: who has the former one open reads that to its end.
    assert "ossifrage" in opened.read()
    opened.close()


def test_json_holds_any_text_below_directories_that_are_made(place):
    hard = {"A": 'it\'s "${X}" \\\\', "B": "\r\n", "C": "é"}

    assert place.write("config/local/env.json", hard, variables_file.JSON).returncode == 0

    assert json.loads((place.tree / "config/local/env.json").read_text()) == hard
    assert stat.S_IMODE((place.tree / "config").stat().st_mode) == 0o755


@pytest.mark.parametrize("path", ["package.json", "app/settings.env"])
def test_a_file_of_the_repository_is_never_written_over(place, path):
    place.repository.git("config", "core.excludesFile", "/dev/null")
    (place.tree / "app").mkdir()
    (place.tree / "app" / "settings.env").write_text("tracked\n")
    place.repository.git("add", "app")
    place.repository.git("commit", "-qm", "more")
    # Nor is one that somebody took away by hand.
    (place.tree / path).unlink()

    assert f"{path} is not written: it is a file of the repository." in place.refused(path)


@pytest.mark.parametrize("path", ["*", "[p]ackage.json", ":(glob)*", "-rf", "--", "$(touch x)"])
def test_a_path_is_a_name_and_neither_a_pattern_nor_an_option(place, path):
    done = place.write(path)

    assert (done.returncode, done.stderr) == (0, "")
    assert (place.tree / path).is_file()
    assert (place.tree / "package.json").read_text() == "{}"


def test_nothing_is_written_through_a_link_or_in_the_place_of_something_else(place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("as it was")
    (place.tree / "linked").symlink_to(outside)
    (place.tree / "inside").mkdir()
    (place.tree / "inside" / "back").symlink_to("..")
    (place.tree / ".env").symlink_to(outside / "kept")
    (place.tree / "dangling").symlink_to(outside / "new")
    (place.tree / "folder").mkdir()
    os.mkfifo(place.tree / "pipe")

    for path, said in (
        ("linked/.env", "'linked' is a symbolic link"),
        ("inside/back/x", "'back' is a symbolic link"),
        (".env", "it is a symbolic link"),
        ("dangling", "it is a symbolic link"),
        ("folder", "something else than a file"),
        ("pipe", "something else than a file"),
        ("README.md/x", "'README.md' is no directory"),
    ):
        assert said in place.refused(path), path
    assert {one.name: one.read_text() for one in outside.iterdir()} == {"kept": "as it was"}


def test_a_link_that_was_laid_at_the_name_of_the_unfinished_file_is_not_followed(place, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (place.tree / ".deployer-variables.new").symlink_to(victim)

    assert place.write().returncode == 0
    assert victim.read_text() == "as it was"


def test_where_git_cannot_tell_nothing_is_written(place):
    shutil.rmtree(place.tree / ".git")

    said = place.refused()

    assert "not a git repository" in said
    assert "git cannot tell whether it is a file of the repository" in said


def test_a_repository_inside_is_asked_about_its_own_files(place):
    inner = Repository(place.tree / "inner")
    inner.commit(settings_env="tracked\n")

    assert "it is a file of the repository" in place.refused("inner/settings.env")


def test_where_no_file_is_wanted_any_more_nothing_is_written(place):
    assert place.write("").stdout == "No file is wanted any more.\n"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/x",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/",
        ".",
        "..",
        ".git/config",
        "a/.GIT/x",
        "a\nb",
        "x" * 2000,
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_before(path):
    assert variables_file.path_problem(path)


@pytest.mark.parametrize("path", [".env", "config/production.json", "a b/ü", "..env", "-x", "*"])
def test_a_path_inside_is_none(path):
    assert variables_file.path_problem(path) is None
