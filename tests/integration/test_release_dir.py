"""The scripts of releases, by themselves: real git, real links, each shell that may run them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.commands import git, release_dir
from tests.support.repository import Repository

SHELLS = {"sh": ["/bin/sh"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def shell(request) -> list[str]:
    argv = SHELLS[request.param]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed")
    return argv


@pytest.fixture
def repository(tmp_path) -> Repository:
    return Repository(tmp_path / "origin")


class Place:
    def __init__(self, root: Path, repository: Repository, shell: list[str]) -> None:
        self.root = root
        self._repository = repository
        self._shell = shell

    def run(self, script: str, *, sha: str = "", **given: Any) -> subprocess.CompletedProcess[str]:
        variables = release_dir.variables(str(self.root), mirror=str(self._repository.path), **given)
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "DEPLOY_SHA": sha, **git.environment(None)}
        return subprocess.run(
            [*self._shell, "-e", "-c", script],
            env=environment | variables,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def make(self, number: int, sha: str, *shared: str) -> Path:
        """Beside those that are there."""
        name = release_dir.name(number, sha)
        kept = self.releases if self.root.exists() else []
        done = self.run(release_dir.MAKE, sha=sha, release=name, shared="\n".join(shared), keep=kept)
        assert done.returncode == 0, done.stderr
        return self.root / "releases" / name

    def switch(self, number: int, sha: str) -> str:
        done = self.run(release_dir.SWITCH, release=release_dir.name(number, sha))
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def releases(self) -> list[str]:
        return sorted(one.name for one in (self.root / "releases").iterdir())


@contextlib.contextmanager
def unremovable(directory: Path) -> Iterator[None]:
    """Makes a directory that nobody removes, wherever it is moved to meanwhile."""
    directory.mkdir()
    (directory / "held").touch()
    if os.getuid() != 0:
        directory.chmod(0)
        moved = directory.parent.parent / f".old-{directory.parent.name}" / directory.name
        yield
        next(one for one in (directory, moved) if one.exists()).chmod(0o700)
        return
    if subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=False, capture_output=True).returncode:
        pytest.skip("needs a user who may mount")
    inside = os.open(directory, os.O_RDONLY)
    try:
        yield
    finally:
        place = os.readlink(f"/proc/self/fd/{inside}")
        os.close(inside)
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def place(tmp_path, repository, shell) -> Place:
    return Place(tmp_path / "it's a place", repository, shell)


def test_a_release_is_the_commit_asked_for_and_a_working_tree_in_which_git_works(place, repository):
    first = repository.commit(page_html="one")
    repository.commit(page_html="two")

    made = place.make(7, first)

    assert made.name == f"7-{first[:7]}"
    assert (made / "page.html").read_text() == "one"
    head = subprocess.run(["git", "-C", made, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert head.stdout.strip() == first


def test_what_a_build_that_was_cut_off_left_is_made_anew(place, repository):
    sha = repository.commit(page_html="one")
    made = place.make(1, sha)
    (made / "half").write_text("built")
    (place.root / "repo.git" / "index.lock").touch()

    assert not (place.make(1, sha) / "half").exists()


def test_a_switch_changes_current_by_one_rename_and_says_what_was(place, repository):
    sha = repository.commit(page_html="one")
    place.make(1, sha)
    place.make(2, sha)

    assert place.switch(1, sha) == f"current: 1-{sha[:7]}\n"
    assert place.switch(2, sha) == f"current: 1-{sha[:7]} → 2-{sha[:7]}\n"

    assert (place.root / "current").readlink() == Path("releases") / f"2-{sha[:7]}"
    assert (place.root / "current" / "page.html").read_text() == "one"
    # The link itself was replaced: nothing was put into the directory that it led to.
    assert [one.name for one in (place.root / "releases" / f"1-{sha[:7]}").iterdir() if one.is_symlink()] == []


def test_a_switch_again_after_it_was_cut_off_is_no_harm(place, repository):
    sha = repository.commit(page_html="one")
    place.make(1, sha)
    (place.root / ".current.new").symlink_to("releases/nowhere")

    assert place.switch(1, sha) == f"current: 1-{sha[:7]}\n"
    assert place.switch(1, sha) == f"current: 1-{sha[:7]} → 1-{sha[:7]}\n"


def test_a_release_that_is_gone_is_not_switched_to(place, repository):
    sha = repository.commit(page_html="one")
    place.make(1, sha)
    place.switch(1, sha)

    done = place.run(release_dir.SWITCH, release="2-abcdef1")

    assert done.returncode == 1
    assert "2-abcdef1 is not there any more" in done.stderr
    assert (place.root / "current").readlink().name == f"1-{sha[:7]}"


def test_a_directory_named_current_is_left_alone(place, repository):
    sha = repository.commit(page_html="one")
    place.make(1, sha)
    (place.root / "current").mkdir()

    done = place.run(release_dir.SWITCH, release=f"1-{sha[:7]}")

    assert done.returncode == 1
    assert "Move it away" in done.stderr
    assert not (place.root / "current").is_symlink()


def test_shared_paths_are_one_for_all_releases(place, repository):
    sha = repository.commit(page_html="one")
    one = place.make(1, sha, "storage/", "a/b/uploads/", ".env")
    (place.root / "shared" / ".env").write_text("A=1")
    (one / "storage" / "kept").write_text("kept")
    (one / "a" / "b" / "uploads" / "picture").write_text("picture")

    two = place.make(2, sha, "storage/", "a/b/uploads/", ".env")

    assert (two / "storage" / "kept").read_text() == "kept"
    assert (two / "a" / "b" / "uploads" / "picture").read_text() == "picture"
    assert (two / ".env").read_text() == "A=1"


def test_what_the_repository_brings_is_shared_from_the_first_release_on(place, repository):
    (repository.path / "storage").mkdir()
    (repository.path / "storage" / "seed").write_text("from the repository")
    (repository.path / "settings.ini").write_text("first")
    sha = repository.commit()
    one = place.make(1, sha, "storage", "settings.ini")
    (one / "settings.ini").write_text("changed on the server")
    later = repository.commit(settings_ini="second")

    two = place.make(2, later, "storage", "settings.ini")

    assert (two / "storage" / "seed").read_text() == "from the repository"
    assert (two / "settings.ini").read_text() == "changed on the server"


def test_a_shared_file_that_is_not_there_yet_is_named(place, repository):
    sha = repository.commit(page_html="one")
    name = release_dir.name(1, sha)

    done = place.run(release_dir.MAKE, sha=sha, release=name, shared=".env")

    assert done.returncode == 0
    assert f"{place.root}/shared/.env is not there yet" in done.stderr
    assert (place.root / "releases" / name / ".env").readlink() == Path("../../shared/.env")


def test_nothing_is_removed_through_a_link_that_the_repository_has(place, repository, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "uploads").mkdir()
    (outside / "uploads" / "precious").write_text("kept")
    (repository.path / "public").symlink_to(outside)
    sha = repository.commit()

    done = place.run(release_dir.MAKE, sha=sha, release=release_dir.name(1, sha), shared="public/uploads/")

    assert done.returncode == 1
    assert "in the repository 'public' is not a directory" in done.stderr
    assert (outside / "uploads" / "precious").read_text() == "kept"


def test_a_link_in_the_place_of_a_shared_path_is_replaced_and_what_it_led_to_left_alone(place, repository, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (repository.path / "storage").symlink_to(outside)
    sha = repository.commit()

    made = place.make(1, sha, "storage/")

    assert (made / "storage").readlink() == Path("../../shared/storage")
    assert (outside / "precious").read_text() == "kept"
    assert list((place.root / "shared" / "storage").iterdir()) == []


def test_old_releases_are_removed_but_never_the_current_one_nor_what_is_not_ours(place, repository):
    sha = repository.commit(page_html="one")
    for number in range(1, 6):
        place.make(number, sha, "storage/")
    (place.root / "shared" / "storage" / "kept").write_text("kept")
    place.switch(2, sha)
    (place.root / "releases" / "notes").mkdir()
    (place.root / "releases" / "9-link").symlink_to("/")
    (place.root / "releases" / "2026-backup").mkdir()
    (place.root / "releases" / "2026-01-1234567").mkdir()

    done = place.run(release_dir.PRUNE, keep=[f"4-{sha[:7]}", f"5-{sha[:7]}"])

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"removed 1-{sha[:7]}", f"removed 3-{sha[:7]}"]
    assert place.releases == sorted(
        [f"2-{sha[:7]}", f"4-{sha[:7]}", f"5-{sha[:7]}", "9-link", "notes", "2026-backup", "2026-01-1234567"]
    )
    assert (place.root / "shared" / "storage" / "kept").read_text() == "kept"
    trees = place.run('git --git-dir="$DEPLOYER_ROOT/repo.git" worktree list').stdout
    assert f"3-{sha[:7]}" not in trees
    assert f"4-{sha[:7]}" in trees


def test_what_a_removal_that_was_cut_off_left_goes_with_the_next(place, repository):
    sha = repository.commit(page_html="one")
    place.make(1, sha)
    (place.root / "releases" / ".old-0-1234567" / "half").mkdir(parents=True)

    assert place.run(release_dir.PRUNE, keep=[f"1-{sha[:7]}"]).returncode == 0

    assert place.releases == [f"1-{sha[:7]}"]


def test_what_cannot_be_removed_is_no_reason_not_to_make_a_release(place, repository):
    sha = repository.commit(page_html="one")
    for number in (1, 2):
        place.make(number, sha)
    name = release_dir.name(3, sha)
    with unremovable(place.root / "releases" / f"1-{sha[:7]}" / "built"):
        done = place.run(release_dir.MAKE, sha=sha, release=name)
        pruned = place.run(release_dir.PRUNE, keep=[name])

    assert done.returncode == 0, done.stderr
    assert "Some old releases could not be removed." in done.stderr
    assert (place.root / "releases" / name / "page.html").read_text() == "one"
    assert not (place.root / "releases" / f"2-{sha[:7]}").exists()
    assert pruned.returncode == 1


def test_a_branch_that_a_step_checked_out_is_fetched_all_the_same(place, repository):
    made = place.make(1, repository.commit(page_html="one"))
    subprocess.run(["git", "-C", made, "checkout", "--quiet", "main"], check=True)

    assert (place.make(2, repository.commit(page_html="two")) / "page.html").read_text() == "two"


@pytest.mark.parametrize(
    "path", ["", "/", "/etc", "../up", "a/../b", "a//b", "./a", ".git", ".git/config", "x/.git/", "a\nb", "a\0b"]
)
def test_a_path_that_leads_out_of_the_release_cannot_be_shared(path):
    assert release_dir.shared_problem(path)


@pytest.mark.parametrize("path", [".env", "storage/", "a/b c/d", "ünï", ".gitignore"])
def test_a_path_inside_can_be_shared(path):
    assert release_dir.shared_problem(path) is None
