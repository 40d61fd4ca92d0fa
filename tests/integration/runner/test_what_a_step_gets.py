"""The environment, shell, directory and umask of a step."""

from __future__ import annotations

import getpass
import os
import pwd

import pytest

from deployer import settings

MADE_BY_THE_SHELL = {"PWD", "SHLVL", "_"}


def environment_of(operator, deployment_id):
    lines = operator.step_output(deployment_id).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_a_step_gets_its_facts_the_projects_variables_and_nothing_of_the_daemons(
    operator, repository, make_project, make_runner
):
    project = make_project("env")
    operator.set_variable(project, "COLOUR", "blue")
    make_runner(
        {"DEPLOYER_STORAGE_KEY": "of the daemon", "PYTHONPATH": "/daemon", "SECRET_KEY": "of the daemon"}
    ).start()

    deployment = operator.wait_for_end(operator.deploy(project))

    found = environment_of(operator, deployment.id)
    user = pwd.getpwuid(os.getuid())
    runtime = f"/run/user/{user.pw_uid}"
    expected = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": user.pw_dir,
        "USER": getpass.getuser(),
        "LOGNAME": getpass.getuser(),
        "LANG": "C.UTF-8",
        "COLOUR": "blue",
        "DEPLOY_ID": deployment.id,
        "DEPLOY_REF": f"DEP-{deployment.number:04d}",
        "DEPLOY_PROJECT": "app",
        "DEPLOY_BRANCH": "main",
        "DEPLOY_SHA": repository.tip(),
        "DEPLOY_AUTHOR": "Ada Lovelace",
        "DEPLOY_TRIGGER": "manual",
    }
    if os.path.isdir(runtime):
        expected["XDG_RUNTIME_DIR"] = runtime
    assert {name: value for name, value in found.items() if name not in MADE_BY_THE_SHELL} == expected


def test_values_reach_a_step_as_they_were_entered(operator, make_project, runner):
    project = make_project("printf %s \"$VALUE\" | od -An -tx1 -v | tr -d ' \\n'; printf ' %s' \"$PLACE\"")
    value = "a 'quoted' \"$HOME\" `id` \\ \n\nzwei Zeilen: äöü\t\x01 !"
    operator.set_variable(project, "VALUE", value)
    operator.set_variable(project, "PLACE", "{run_dir}")

    deployment = operator.wait_for_end(operator.deploy(project))

    encoded, place = operator.step_output(deployment.id).split(b" ")
    assert bytes.fromhex(encoded.decode()).decode() == value
    assert place == b"{run_dir}"


def test_a_hostile_author_name_is_only_a_value(operator, make_repository, make_project, runner):
    repository = make_repository("hostile")
    hostile = "$(touch pwned) `touch pwned` '; touch pwned; 'x"
    repository.git(
        "-c",
        f"user.name={hostile}",
        "commit",
        "--quiet",
        "--allow-empty",
        "-m",
        "x",
        "--author",
        f"{hostile} <a@example.com>",
    )
    project = make_project('echo "$DEPLOY_AUTHOR"; ls', url=repository.url)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.author_name == hostile
    assert operator.step_output(deployment.id).decode() == f"{hostile}\nREADME.md\n"


def test_configured_folders_come_first_in_the_path(operator, installation, make_project, runner):
    with installation.database.write() as connection:
        settings.set_extra_path(connection, ["/opt/node/bin", "/opt/my tools"])

    deployment = operator.wait_for_end(operator.deploy(make_project('echo "$PATH"')))

    assert operator.step_output(deployment.id).startswith(b"/opt/node/bin:/opt/my tools:/usr/local/sbin:")


def test_a_step_runs_in_the_working_copy_with_umask_022_and_an_empty_input(operator, make_project, runner):
    project = make_project("pwd; umask; cat | wc -c")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id).decode().split() == [project.path, "0022", "0"]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_step_is_not_told_the_way_to_its_run_directory(operator, make_project, runner, shell):
    project = make_project('echo "${OLDPWD-none}"; env | grep -c "^OLDPWD=" || :', shell=shell)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == b"none\n0\n"


def test_a_project_with_bash_gets_bash_with_pipefail(operator, make_project, runner):
    project = make_project("words=(one two); echo ${words[1]}", "false | true", shell="bash")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == b"two\n"
    assert (deployment.status, deployment.cause) == ("failed", "step 'false | true' exited with 1")


def test_a_project_with_sh_has_no_pipefail(operator, make_project, runner):
    assert operator.wait_for_end(operator.deploy(make_project("false | true"))).status == "success"


def test_a_working_copy_that_is_gone_at_a_step_says_so_by_126(operator, make_project, runner, tmp_path):
    project = make_project('cd /; rm -rf "$COPY"', "true", path=str(tmp_path / "copy"))
    operator.set_variable(project, "COPY", str(tmp_path / "copy"))

    deployment = operator.wait_for_end(operator.deploy(project))

    assert (deployment.status, deployment.cause) == ("failed", "step 'true' exited with 126")


def test_secret_variables_never_reach_the_stored_log(operator, installation, make_project, runner):
    secret = "s3cr3t-of-the-project"
    project = make_project(
        'echo "the token is $TOKEN."; printf %s "$TOKEN" | base64; '
        'printf "%.4s" "$TOKEN"; sleep 0.2; printf %s "${TOKEN#????}"'
    )
    operator.set_variable(project, "TOKEN", secret, secret=True)

    deployment = operator.wait_for_end(operator.deploy(project))

    output = operator.step_output(deployment.id)
    assert output.startswith(b"the token is ***.\n***")
    assert output.endswith(b"\n***")
    installation.database.dispose()
    for path in installation.data_dir.root.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_a_secret_in_a_cause_is_hidden(operator, make_project, runner):
    project = make_project("exit 7 # hunter2hunter2")
    operator.set_variable(project, "PASSWORD", "hunter2hunter2", secret=True)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.cause == "step 'exit 7 # ***' exited with 7"
