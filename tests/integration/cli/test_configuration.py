"""A configuration that cannot work refuses the start: which file, which key, and what was expected."""

from __future__ import annotations

import pytest

from deployer.config import SECTIONS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nbnid = 'x'", "server.bnid: unknown key; there are bind, public_url, "),
        ("[srever]", f"srever: unknown section; there are {', '.join(SECTIONS)}."),
        ("[server]\nthreads = '8'", "server.threads: should be a whole number, but is '8'."),
        ("[runner]\nmax_queued = 0", "runner.max_queued: should be between 1 and "),
        ("[server", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_work_is_named_with_the_key_and_what_was_expected(shell, text, words):
    (shell.folder / "my.toml").write_text(text)

    done = shell("--config", "my.toml", "serve", code=1)

    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: my.toml: {words}")
    assert not shell.data_dir.exists()


def test_a_file_that_is_not_there_is_named(shell):
    assert shell("--config", "none.toml", "serve", code=1).stderr == (
        "Error: none.toml: there is no such file. Copy config.example.toml there.\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DEPLOYER_SERVER_BNID", "x", "environment: DEPLOYER_SERVER_BNID: there is no such setting."),
        (
            "DEPLOYER_SERVER_THREADS",
            "many",
            "environment: DEPLOYER_SERVER_THREADS: should be a whole number, but is ",
        ),
        (
            "DEPLOYER_GIT_ALLOW_FILE",
            "maybe",
            "environment: DEPLOYER_GIT_ALLOW_FILE: should be true or false, but is ",
        ),
        ("DEPLOYER_SERVER_BIND", "8420", "environment: server.bind: should be HOST:PORT, for example 127.0.0.1:8420"),
        ("DEPLOYER_SERVER_PUBLIC_URL", "deploy.example.com", "environment: server.public_url: should be an address"),
    ],
)
def test_a_variable_that_cannot_work_is_named_with_what_was_expected(shell, name, value, words):
    done = shell("serve", code=1, **{name: value})

    assert (done.stdout, done.stderr.startswith(f"Error: {words}")) == ("", True), done.stderr


@pytest.mark.usefixtures("operator")
def test_the_file_of_the_working_directory_is_read_and_a_variable_goes_before_it(shell):
    (shell.folder / "config.toml").write_text("[server]\npublic_url = 'https://file.example.com'\n")
    words = ("project", "create", "--repo", "https://github.com/a/b", "--json")

    assert "https://file.example.com/webhook/" in shell(*words, "one").stdout
    assert (
        "https://variable.example.com/webhook/"
        in shell(*words, "two", DEPLOYER_SERVER_PUBLIC_URL="https://variable.example.com").stdout
    )


def test_a_data_folder_that_cannot_be_made_is_told(shell):
    (shell.folder / "file").write_text("")

    done = shell("project", "list", code=1, DEPLOYER_STORAGE_DATA_DIR=str(shell.folder / "file" / "data"))

    assert done.stderr.startswith(f"Error: The data folder {shell.folder}/file/data cannot be used: Not a directory.")
