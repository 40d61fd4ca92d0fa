"""A private repository over SSH, reached with the project's deploy key and a pinned host key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.config import GitSettings
from tests.support.ssh_server import SshServer, require_sshd


@pytest.fixture
def ssh_server(tmp_path):
    require_sshd()
    with SshServer(tmp_path / "sshd").running() as server:
        yield server


@pytest.fixture
def config(config, ssh_server, tmp_path):
    pinned = tmp_path / "known hosts"
    pinned.write_text(ssh_server.known_hosts)
    return replace(config, git=GitSettings(allow_file=True, known_hosts=str(pinned)))


@pytest.fixture
def project(make_project, ssh_server, repository):
    return make_project("cat README.md", url=ssh_server.url(repository.path))


def test_a_private_repository_is_deployed_with_its_deploy_key(operator, installation, ssh_server, project, runner):
    ssh_server.authorize(operator.make_deploy_key(project))

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "success", operator.log(deployment.id)
    assert operator.step_output(deployment.id) == b"hello\n"
    assert not list(installation.data_dir.root.rglob("deploy_key"))


def test_a_key_that_the_server_does_not_know_fails_with_its_words_and_what_to_do(operator, project, runner):
    operator.make_deploy_key(project)

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert deployment.cause == (
        f"'git fetch {project.repository_url}' exited with 128. "
        "Add the deploy key shown on the project's page to the repository."
    )
    assert operator.commands(deployment.id)[0].cause == deployment.cause
    assert "Permission denied" in operator.log(deployment.id)


def test_without_a_deploy_key_no_other_key_is_tried(operator, ssh_server, project, runner):
    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert deployment.cause.endswith(" Make a deploy key on the project's page and add it to the repository.")
    assert "Permission denied" in operator.log(deployment.id)


def test_a_changed_host_key_is_refused_before_the_key_is_shown(
    operator, config, ssh_server, project, runner, tmp_path
):
    ssh_server.authorize(operator.make_deploy_key(project))
    pinned = tmp_path / "known hosts"
    other = SshServer(tmp_path / "other")
    pinned.write_text(ssh_server.known_hosts.split(" ")[0] + " " + other.known_hosts.split(" ", 1)[1])

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert "This host's key is not pinned" in deployment.cause
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in operator.log(deployment.id)


def test_an_unknown_host_key_is_refused(operator, ssh_server, project, runner, tmp_path):
    ssh_server.authorize(operator.make_deploy_key(project))
    (tmp_path / "known hosts").write_text("")

    deployment = operator.wait_for_end(operator.deploy(project))

    assert deployment.status == "failed"
    assert "Host key verification failed" in operator.log(deployment.id)
