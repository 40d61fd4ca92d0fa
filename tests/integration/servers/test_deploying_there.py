"""A project of another server: commits come by git push, steps run there, and no credential leaves this host."""

from __future__ import annotations

import os
import time

import pytest

from deployer import servers
from deployer.executors.host_keys import fingerprint
from tests.support.ordinary_user import who
from tests.support.repository import git
from tests.support.waiting import wait_until


def test_a_push_is_deployed_there_as_the_servers_user_however_talkative_its_login_shell(
    operator, make_project, repository, runner, user
):
    project = make_project("id -un", "pwd; cat README.md; echo $DEPLOY_SHA $HOME")

    deployment = operator.wait_for_end(operator.pushed(project, repository.tip()))

    assert (deployment.status, deployment.cause) == ("success", None), operator.log(deployment.id)
    assert [command.kind for command in operator.commands(deployment.id)] == [
        "fetch",
        "send",
        "checkout",
        "step",
        "step",
    ]
    copy = f"{user.home}/.deployer/checkouts/app"
    assert operator.step_output(deployment.id, 0).decode() == f"{who(user)}\n"
    assert operator.step_output(deployment.id, 1).decode() == f"{copy}\nhello\n{repository.tip()} {user.home}\n"
    assert deployment.deployed_sha == repository.tip()
    assert "Welcome" not in operator.log(deployment.id)


def test_a_second_deployment_brings_the_new_commit(operator, make_project, repository, runner):
    project = make_project("cat README.md")
    operator.wait_for_end(operator.deploy(project))
    sha = repository.commit("second", README_md="changed\n")

    deployment = operator.wait_for_end(operator.pushed(project, sha))

    assert operator.step_output(deployment.id) == b"changed\n"
    assert deployment.deployed_sha == sha


def test_a_project_that_pulls_by_itself_pulls_from_the_bare_repository_there(
    operator, make_project, repository, runner
):
    project = make_project("git pull --quiet origin main", "cat README.md; git remote get-url origin")
    operator.wait_for_end(operator.deploy(project))
    repository.commit("second", README_md="changed\n")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "success", operator.log(deployment.id)
    assert operator.step_output(deployment.id, 1).startswith(b"changed\n")
    assert f".deployer/mirrors/{project.id}.git".encode() in operator.step_output(deployment.id, 1)
    assert deployment.deployed_sha == repository.tip()


@pytest.mark.parametrize("first", ["git pull --quiet origin main", "true"])
def test_a_certain_commit_is_deployed_there_whoever_brings_the_newest(
    operator, make_project, repository, runner, first
):
    project = make_project(first, "cat README.md")
    older = repository.tip()
    repository.commit("second", README_md="changed\n")
    operator.wait_for_end(operator.deploy(project))

    deployment = operator.wait_for_end(operator.deploy(project, commit=older[:8]))

    assert (deployment.status, deployment.deployed_sha) == ("success", older), operator.log(deployment.id)
    assert operator.step_output(deployment.id, len(operator.steps(deployment.id)) - 1) == b"hello\n"


def test_a_branch_that_was_rewritten_and_one_that_was_deleted_follow(operator, make_project, repository, runner):
    project = make_project("git rev-parse HEAD; git ls-remote --heads origin | sed 's,.*refs/heads/,,'")
    git("-C", str(repository.path), "branch", "other")
    operator.wait_for_end(operator.deploy(project))
    git("-C", str(repository.path), "branch", "--delete", "--force", "other")
    repository.commit("amended", README_md="other\n")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id).decode().split() == [repository.tip(), "main"]


def test_a_directory_of_ones_own_choice_may_lie_in_the_home_there(operator, make_project, runner, user):
    project = make_project("pwd", path="~/apps/site")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id).decode() == f"{user.home}/apps/site\n"


def test_no_credential_of_the_forge_reaches_the_server(operator, make_project, runner, user):
    # The pattern does not match itself, where the step's own text lies.
    project = make_project("env; ! grep -rl 'ghp_[0]123456789' ~/.deployer; echo looked")
    operator.set_https_token(project, "ghp_0123456789abcdef")
    operator.make_deploy_key(project)

    deployment = operator.wait_for_end(operator.deploy(project))

    output = operator.step_output(deployment.id).decode()
    assert output.endswith("looked\n")
    assert not list(user.home.rglob("deploy_key"))
    assert "ghp_" not in output


def test_the_servers_key_is_gone_from_this_host_after_use_and_never_readable_by_others(
    operator, installation, make_project, runner
):
    deployment = operator.wait_for_end(operator.deploy(make_project()))

    assert deployment.status == "success"
    assert not list(installation.data_dir.root.rglob("server_key"))


def test_a_variable_and_the_servers_own_path_reach_the_steps(operator, installation, make_project, web1, runner):
    project = make_project("echo $GREETING; echo $PATH")
    operator.set_variable(project, "GREETING", 'it\'s $HOME "quoted"')
    with installation.database.write_session() as session:
        servers.find(session, web1).extra_path = "/opt/tools/bin"

    deployment = operator.wait_for_end(operator.deploy(project))

    greeting, path = operator.step_output(deployment.id).decode().splitlines()
    assert greeting == 'it\'s $HOME "quoted"'
    assert path.startswith("/opt/tools/bin:/usr/local/sbin:")


def test_variables_are_written_into_a_file_there_before_the_first_step(operator, make_project, runner, user):
    project = make_project("stat -c %a .env; . ./.env; echo $GREETING")
    operator.set_variable(project, "GREETING", "it's  here")
    operator.write_variables_into(project, ".env")

    deployment = operator.wait_for_end(operator.deploy(project))

    kinds = [command.kind for command in operator.commands(deployment.id)]
    assert kinds == ["fetch", "send", "checkout", "variables", "step"]
    assert operator.step_output(deployment.id) == b"600\nit's here\n"
    written = next(one for one in operator.commands(deployment.id) if one.kind == "variables")
    left = user.home / ".deployer/spool" / written.id
    assert sorted(path.name for path in left.iterdir()) == ["exit", "pid"]


def test_a_failing_step_ends_the_deployment_with_its_exit_code(operator, make_project, runner):
    deployment = operator.wait_for_end(operator.deploy(make_project("exit 7", "echo never")))

    assert (deployment.status, deployment.cause) == ("failed", "step 'exit 7' exited with 7")
    assert [step.status for step in operator.steps(deployment.id)] == ["failed", "skipped"]


def test_a_secret_is_redacted_in_what_is_printed_there(operator, make_project, runner):
    project = make_project("echo before $TOKEN after")
    operator.set_variable(project, "TOKEN", "squeamish ossifrage", secret=True)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert operator.step_output(deployment.id) == b"before *** after\n"


def test_run_directories_are_collected_and_hold_no_environment_afterwards(operator, make_project, runner, user):
    deployment = operator.wait_for_end(operator.deploy(make_project("true", "true")))

    def left(step) -> list[str]:
        return sorted(path.name for path in (user.home / ".deployer/spool" / step.id).iterdir())

    for step in operator.steps(deployment.id):
        wait_until(lambda step=step: left(step) == ["exit", "pid"], "the run is collected")


def test_a_changed_host_key_refuses_with_both_fingerprints_and_nothing_runs(
    operator, make_project, runner, ssh, web1
):
    pinned, pinned_key = fingerprint(ssh.host_key), ssh.host_key
    ssh.stop()
    ssh.make_host_key()
    ssh.start()

    deployment = operator.wait_for_end(operator.deploy(make_project("echo never")))

    assert deployment.status == "failed"
    assert pinned in deployment.cause
    assert fingerprint(ssh.host_key) in deployment.cause
    assert "trust it on the server's page" in deployment.cause
    # And that page shows it.
    with operator.database.write_session() as session:
        server = servers.find(session, web1)
        assert (server.host_key, server.offered_host_key) == (pinned_key, ssh.host_key)
    assert [step.status for step in operator.steps(deployment.id)] == ["skipped"]


def test_a_host_key_of_another_type_refuses_too(operator, make_project, runner, ssh):
    pinned = fingerprint(ssh.host_key)
    ssh.stop()
    ssh.make_host_key("ecdsa")
    ssh.start()

    deployment = operator.wait_for_end(operator.deploy(make_project("echo never")))

    assert (deployment.status, pinned in deployment.cause) == ("failed", True)
    assert "ECDSA" in deployment.cause


def test_a_key_that_was_taken_out_is_told_with_what_to_do(operator, make_project, runner, ssh, user):
    ssh.revoke_all()

    deployment = operator.wait_for_end(operator.deploy(make_project("echo never")))

    assert deployment.status == "failed"
    assert deployment.cause.startswith(f"{who(user)}@web1 refused the login: it does not take Deployer's key.")
    assert "authorized_keys" in deployment.cause


def test_a_server_whose_host_key_nobody_confirmed_is_not_spoken_to(
    operator, installation, make_project, web1, runner
):
    with installation.database.write_session() as session:
        servers.find(session, web1).host_key = None

    deployment = operator.wait_for_end(operator.deploy(make_project("echo never")))

    assert deployment.status == "failed"
    assert deployment.cause.startswith("The host key of web1 is not trusted yet.")


@pytest.mark.parametrize("path", ["/srv/app", "~/app"])
def test_two_projects_of_two_servers_may_have_the_same_path(operator, make_project, make_ssh, path):
    other = operator.make_server(make_ssh(), "web2")

    make_project(name="one", path=path)
    make_project(name="two", path=path, server=other)


def test_a_lock_that_a_killed_receiver_left_there_stops_nothing(operator, make_project, repository, runner, user):
    project = make_project("cat README.md")
    operator.wait_for_end(operator.deploy(project))
    lock = user.home / f".deployer/mirrors/{project.id}.git/refs/heads/main.lock"
    lock.touch()
    long_ago = time.time() - 600
    os.utime(lock, (long_ago, long_ago))
    sha = repository.commit("second", README_md="changed\n")

    deployment = operator.wait_for_end(operator.pushed(project, sha))

    assert (deployment.status, deployment.deployed_sha) == ("success", sha), operator.log(deployment.id)
