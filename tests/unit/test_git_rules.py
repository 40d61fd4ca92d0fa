"""What may be a repository's address and a branch's name, and what every git call of ours is given."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.commands import git, git_look, git_verify
from deployer.commands.git import Credential, branch_problem, transport, url_problem


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/octo/app.git", "https"),
        ("https://git.example.com:8443/octo/app", "https"),
        ("ssh://git@git.example.com:2222/octo/app.git", "ssh"),
        ("git@github.com:octo/app.git", "ssh"),
        ("server:app.git", "ssh"),
        ("http://127.0.0.1:3000/octo/app.git", "http"),
        ("http://localhost/app.git", "http"),
        ("http://[::1]:3000/app.git", "http"),
    ],
)
def test_an_address_over_an_allowed_transport_is_taken(url, name):
    assert url_problem(url, allow_file=False) is None
    assert transport(url) == name


@pytest.mark.parametrize(
    "url",
    [
        "",
        " https://github.com/octo/app",
        "https://github.com/octo/app ",
        "https://github.com/octo app",
        "https://github.com/octo/app\n",
        "https://github.com/octo/\0app",
        "https://github.com/\x7fapp",
        "-u./payload",
        "--upload-pack=touch${IFS}x",
        "ext::sh -c id",
        "ext::sh%20-c%20id",
        "fd::17/foo",
        "https::https://github.com/octo/app",
        "git://github.com/octo/app",
        "ftp://github.com/octo/app",
        "ssh://-oProxyCommand=id/app",
        "ssh://git@-oProxyCommand=id/app",
        "ssh://-oProxyCommand=id@host/app",
        "-oProxyCommand=id:app",
        "git@-oProxyCommand=id:app",
        "git@host:-app",
        "https://user@github.com/octo/app",
        "https://user:token@github.com/octo/app",
        "https://:token@github.com/octo/app",
        "ssh://git:password@github.com/octo/app",
        "http://github.com/octo/app",
        "http://10.0.0.1/app",
        "http://localhost.example.com/app",
        "http://127.0.0.1.example.com/app",
        "http://127.0.0.1@example.com/app",
        "https://github.com",
        "https://github.com/",
        "https:///app",
        "https://[::1/app",
        "https://[nonsense]/app",
        "app.git",
        "./app.git",
        "../app.git",
        "https://github.com/octo/\ud800",
        "https://github.com/" + "x" * 3000,
    ],
)
def test_an_address_that_is_none_or_over_another_transport_is_refused_in_words(url):
    problem = url_problem(url, allow_file=True)

    assert problem
    assert "token@" not in problem


@pytest.mark.parametrize("url", ["/srv/git/app.git", "file:///srv/git/app.git"])
def test_a_path_of_this_host_is_only_taken_where_it_is_allowed(url):
    assert "git.allow_file" in url_problem(url, allow_file=False)
    assert url_problem(url, allow_file=True) is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused(text):
    problem = url_problem(text, allow_file=False)

    if problem is None:
        assert transport(text) in ("https", "ssh", "http")
        assert not text.startswith("-")
        assert "::" not in text.split("/")[0]


@pytest.mark.parametrize("branch", ["main", "feature/login", "release-1.0", "ä", "a-b", "x.y", "HEAD2", "@x", "a@b"])
def test_a_branch_name_is_taken(branch):
    assert branch_problem(branch) is None


@pytest.mark.parametrize(
    "branch",
    [
        "",
        "-d",
        "--force",
        "a b",
        "a..b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "@",
        "a@{b",
        "/a",
        "a/",
        "a//b",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "a.",
        "a\n",
        "a\0b",
        "\x7f",
        "a\t",
        "x" * 300,
        "\ud800",
    ],
)
def test_what_is_no_branch_name_is_refused(branch):
    assert branch_problem(branch)


@settings(max_examples=150, deadline=None)
@given(st.text("ab./-@{}~^:?*[\\ \t\x7fä", min_size=1, max_size=8))
def test_our_rules_of_branch_names_are_gits(text):
    """git-check-ref-format(1), asked of git itself. Ours refuse a leading dash, as ``--branch`` does."""
    done = subprocess.run(["git", "check-ref-format", "--branch", text], capture_output=True, check=False)
    # What git expands (@{-1}) it answers with another name; @ alone is its word for HEAD.
    is_fine = done.returncode == 0 and done.stdout.decode() == f"{text}\n" and text != "@"

    assert (branch_problem(text) is None) == is_fine


@pytest.mark.parametrize(
    ("step", "is_own"),
    [
        ("git pull", True),
        ("  git  pull --ff-only && npm ci", True),
        ("git fetch origin", True),
        ("git push", False),
        ("git pullx", False),
        ("cd x && git pull", False),
        ("echo git pull", False),
        ("", False),
    ],
)
def test_a_first_step_that_pulls_is_recognised(step, is_own):
    assert git.pulls_itself(step) is is_own


# Scripts and environment ----------------------------------------------------------------------------------------


SCRIPTS = {
    "fetch": git.FETCH,
    "checkout": git.CHECKOUT,
    "clone": git.CLONE,
    "return": git.RETURN,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_a_constant_that_quotes_every_value(script):
    """Nothing is composed into it: no format places, and each variable stands in double quotes."""
    assert "{}" not in script
    assert "%s" not in script.replace("%h %s", "")
    outside_quotes = re.sub(r'"[^"$]*(?:\$[A-Z_]+[^"$]*)+"', "", script)
    outside_quotes = re.sub(r'"\$\([^"$]*\)"', "", outside_quotes)
    assert "$" not in outside_quotes
    assert "eval" not in script


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_plain_sh(script):
    for shell in (["dash", "-n"], ["bash", "--posix", "-n"]):
        subprocess.run(shell, input=script.encode(), check=True)


def config_of(environment) -> dict[str, str]:
    count = int(environment["GIT_CONFIG_COUNT"])
    return {environment[f"GIT_CONFIG_KEY_{i}"]: environment[f"GIT_CONFIG_VALUE_{i}"] for i in range(count)}


@pytest.mark.parametrize(
    "url", [None, "https://github.com/o/a", "git@github.com:o/a", "/srv/a", "http://127.0.0.1/a"]
)
def test_every_git_call_is_without_hooks_prompts_and_submodules(url):
    environment = git.environment(url)

    config = config_of(environment)
    assert config["core.hooksPath"] == "/dev/null"
    assert config["core.fsmonitor"] == "false"
    assert config["fetch.recurseSubmodules"] == "no"
    assert config["submodule.recurse"] == "false"
    assert config["credential.helper"] == ""
    assert environment["GIT_TERMINAL_PROMPT"] == "0"
    assert (environment["GIT_ASKPASS"], environment["SSH_ASKPASS"]) == ("", "")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        (None, "file"),
        ("https://github.com/o/a", "https"),
        ("git@github.com:o/a", "ssh"),
        ("ssh://git@github.com/o/a", "ssh"),
        ("/srv/a", "file"),
        ("http://127.0.0.1/a", "http:https"),
        ("ext::sh -c id", "https"),
    ],
)
def test_git_is_allowed_the_one_transport_of_the_address(url, allowed):
    assert git.environment(url)["GIT_ALLOW_PROTOCOL"] == allowed


def test_git_itself_refuses_another_transport(tmp_path):
    done = subprocess.run(
        ["git", "ls-remote", "--", f"ext::sh -c touch% {tmp_path}/ran"],
        env={"PATH": "/usr/bin:/bin", **git.environment("https://github.com/o/a")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "transport 'ext' not allowed" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("url", "asked", "gets_token"),
    [
        ("https://git.example.com/o/a", "https://git.example.com/o/a", True),
        ("https://git.example.com:8443/o/a", "https://git.example.com:8443/o/a", True),
        ("https://git.example.com/o/a", "https://evil.example.com/o/a", False),
        ("https://git.example.com/o/a", "https://git.example.com:8443/o/a", False),
        ("https://git.example.com/o/a", "http://git.example.com/o/a", False),
        ("https://git.example.com/o/a", "https://git.example.com.evil.example/o/a", False),
    ],
)
def test_a_token_is_given_to_its_host_only(url, asked, gets_token):
    """Asked of git's own credential machinery."""
    scheme, _, rest = asked.partition("://")
    host, _, path = rest.partition("/")
    environment = git.environment(url, Credential(token="the-token"))
    done = subprocess.run(
        ["git", "credential", "fill"],
        input=f"protocol={scheme}\nhost={host}\npath={path}\n\n",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ("password=the-token" in done.stdout) is gets_token


def test_the_token_is_no_part_of_gits_configuration():
    environment = git.environment("https://github.com/o/a", Credential(token="the-token"))

    assert [name for name, value in environment.items() if "the-token" in value] == ["DEPLOYER_TOKEN"]


@pytest.mark.parametrize("url", ["/srv/a", "git@github.com:o/a", None])
def test_a_token_stays_away_from_other_transports(url):
    assert "the-token" not in str(git.environment(url, Credential(token="the-token")))


def test_ssh_pins_host_keys_and_uses_one_key_only():
    environment = git.environment("git@github.com:o/a", Credential(key_path="/run/key", known_hosts="/etc/my hosts"))

    command = environment["GIT_SSH_COMMAND"]
    for part in (
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "/run/key",
    ):
        assert part in command
    assert "-F none" in command
    assert '"/etc/my hosts"' in command
    assert "accept-new" not in command


def test_the_big_forges_keys_are_pinned():
    hosts = {line.split()[0] for line in Path(git.PINNED_HOSTS).read_text().splitlines()}

    assert hosts == {"github.com", "gitlab.com", "bitbucket.org"}


@pytest.mark.parametrize(
    "argv",
    [
        git.list_branches("--upload-pack=x"),
        git.resolve("/d", "--evil"),
        git.contains("/d", "--evil", "--worse"),
        git_look.begin_look(Path("/d"), "--evil")[1],
        git_look.look(Path("/d"), "--evil", without_files=True),
        git_look.look(Path("/d"), "--evil", without_files=False),
        git_look.tip("--upload-pack=x", "main"),
        git_verify.verify("/d", "--evil", Path("/f")),
    ],
)
def test_a_value_that_looks_like_an_option_stands_behind_the_end_of_options(argv):
    end = next(place for place, word in enumerate(argv) if word in ("--", "--end-of-options"))

    assert all(not word.startswith(("--evil", "--worse", "--upload")) for word in argv[:end])


@pytest.mark.parametrize("commit", ["0123abc", "a" * 40, "f" * 64])
def test_the_beginning_of_a_commits_id_is_taken(commit):
    assert git.commit_problem(commit) is None


@pytest.mark.parametrize(
    "commit", ["", "012345", "f" * 65, "ABCDEF0", "--evil0", "0123abc\n", "main", "0123abc^{tree}"]
)
def test_what_is_no_commits_id_is_refused(commit):
    """So that it can stand in an option's value too."""
    assert git.commit_problem(commit)


def test_a_commit_is_described_by_its_id_only():
    argv = git.describe("/d", "a" * 40)

    assert argv[-2:] == ["a" * 40, "--"]


# The whole program ----------------------------------------------------------------------------------------------

PACKAGE = Path(git.__file__).parents[1]
OF_ITS_OWN = {"cli/demo.py", "cli/doctor.py"}
"""The demo plays a person with a repository of their own; the doctor asks for git's version."""


def modules():
    for path in PACKAGE.rglob("*.py"):
        yield path.relative_to(PACKAGE).as_posix(), ast.walk(ast.parse(path.read_text()))


def test_every_git_call_is_composed_among_the_commands():
    """Elsewhere no argv begins with git, whatever follows it."""
    found = {
        name
        for name, nodes in modules()
        for node in nodes
        if isinstance(node, ast.List | ast.Tuple)
        and node.elts
        and isinstance(node.elts[0], ast.Constant)
        and node.elts[0].value == "git"
    }

    assert {name for name in found if not name.startswith("commands/")} == OF_ITS_OWN
    assert {"commands/git.py", "commands/git_look.py", "commands/git_verify.py"} <= found


def test_nothing_that_the_program_starts_goes_through_a_shell():
    """Steps are handed to one on purpose, as a file that the launcher reads."""
    calls = [(name, node) for name, nodes in modules() for node in nodes if isinstance(node, ast.Call)]
    started = [(name, node) for name, node in calls if ast.unparse(node.func).startswith("subprocess.")]
    assert len(started) > 5
    for name, node in started:
        assert "shell" not in {one.arg for one in node.keywords}, name
        assert not [one for one in node.args[:1] if isinstance(one, ast.Constant | ast.JoinedStr)], name
    through_a_shell = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
    assert not {name for name, node in calls if ast.unparse(node.func) in through_a_shell}
