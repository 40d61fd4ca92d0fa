"""The test of a server's connection: what it finds in whatever state a server is, and that it never takes long."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from deployer import server_check, servers
from deployer.audit import Actor
from deployer.executors import processes
from deployer.executors.host_keys import fingerprint
from deployer.models import Server
from deployer.server_check import Finding, Level, Report
from tests.support.ordinary_user import OrdinaryUser, who
from tests.support.ssh_server import SshServer, parent_of
from tests.support.waiting import wait_until

PROMISED_S = 15
ADA = Actor("ada", "192.0.2.1")


@pytest.fixture
def check(operator):
    """Adds a server for an sshd, lets its key in, trusts it, and tests it."""

    def run(ssh: SshServer, *, is_let_in: bool = True, extra_path: str = "") -> Report:
        server_id = operator.make_server(ssh)
        if not is_let_in:
            ssh.revoke_all()
        with operator.database.write_session() as session:
            servers.find(session, server_id).extra_path = extra_path or None
        return server_check.test(operator.installation, server_id, ADA)

    return run


def need(program: str) -> None:
    if not Path(program).exists():
        if os.environ.get("DEPLOYER_TEST_REQUIRE_PARTS"):
            pytest.fail(f"{program} is required")
        pytest.skip(f"needs {program}")


def finding(report: Report, about: str) -> Finding:
    (one,) = [one for one in report.findings if one.about == about]
    return one


def failures(report: Report) -> list[str]:
    return [one.about for one in report.findings if one.level is Level.FAILURE]


# What is good -----------------------------------------------------------------------------------------------------


def test_a_server_that_can_run_projects_is_found_good_in_all_points(check, ssh, user):
    report = check(ssh)

    assert report.is_good
    assert [(one.about, one.level.value) for one in report.findings] == [
        (about, "ok") for about in ("connection", "system", "git", "setsid", "shell", "disk", "PATH", "durability")
    ]
    assert finding(report, "connection").text.startswith(f"{who(user)}@127.0.0.1:{ssh.port} answers")
    assert finding(report, "system").text.startswith("Linux ")
    assert finding(report, "git").text.startswith("git version ")
    assert f"GiB free at {user.home}." in finding(report, "disk").text
    assert not any(one.mend for one in report.findings)


def test_what_was_found_is_on_record_with_who_asked(check, ssh, operator):
    report = check(ssh)

    (stored,) = operator.rows(sa.select(Server.test_report, Server.tested_at))
    assert Report.from_json(stored.test_report) == report
    assert stored.tested_at is not None


def test_nothing_of_the_test_is_left_there(check, ssh, user):
    check(ssh)

    assert list((user.home / ".deployer" / "spool").iterdir()) == []
    assert not (user.home / ".deployer" / "probe").exists()


@pytest.mark.parametrize("noise", ["exec 2>&1; echo begin; set -x", "cat /dev/zero | head -c 300000"])
def test_a_login_shell_that_talks_does_no_harm(check, ssh, user, noise):
    before = (user.home / ".bashrc").read_text()
    (user.home / ".bashrc").write_text(f"{noise}\n")
    try:
        report = check(ssh)
    finally:
        (user.home / ".bashrc").write_text(before)

    assert report.is_good, report


# What is missing ----------------------------------------------------------------------------------------------------


def test_a_missing_git_is_named_with_the_mend(check, make_ssh):
    report = check(make_ssh("rm /usr/bin/git"))

    assert failures(report) == ["git"]
    assert finding(report, "git") == Finding(
        Level.FAILURE, "git", "git is not installed.", "Install it there, as root: apt-get install git"
    )


def test_a_setsid_that_cannot_fork_is_named_with_the_mend(check, make_ssh):
    need("/usr/bin/busybox")

    report = check(make_ssh("ln -sf busybox /usr/bin/setsid"))

    assert failures(report) == ["setsid"]
    assert finding(report, "setsid").mend == "Install it there, as root: apt-get install util-linux"


def test_a_missing_setsid_is_named_and_not_what_follows_from_it(check, make_ssh):
    report = check(make_ssh("rm /usr/bin/setsid"))

    assert failures(report) == ["setsid"]
    assert [one.about for one in report.findings][-1] == "PATH"


@pytest.mark.parametrize(
    ("tools", "said"),
    [(["find"], "find is missing."), (["sort", "tail"], "sort, tail are missing.")],
)
def test_missing_tools_are_named(check, make_ssh, tools, said):
    report = check(make_ssh(*(f"rm /usr/bin/{tool}" for tool in tools)))

    assert "shell" in failures(report)
    assert finding(report, "shell").text == said
    assert finding(report, "shell").mend.endswith("apt-get install coreutils findutils grep")


@pytest.mark.parametrize("tool", ["mktemp", "timeout"])
def test_a_tool_that_the_questions_themselves_need_is_named_too(check, make_ssh, tool):
    report = check(make_ssh(f"rm /usr/bin/{tool}"))

    assert failures(report) == ["commands"]
    assert tool in finding(report, "commands").text


def test_a_home_that_cannot_be_written_is_named_with_what_to_do(check, ssh, user):
    user.home.chmod(0o555)
    try:
        if os.access(user.home, os.W_OK) and user.name is None:
            pytest.skip("this user may write everywhere")
        report = check(ssh)
    finally:
        user.home.chmod(0o755)

    (one,) = report.findings
    assert (one.level, one.about) == (Level.FAILURE, "commands")
    assert f"{user.home}/.deployer cannot be written" in one.text
    assert one.mend.startswith(f"Make {user.home} writable for {who(user)}")


def test_a_folder_for_path_that_is_not_there_is_a_warning_and_no_failure(check, ssh, user):
    there = user.owns_folder("bin")

    report = check(ssh, extra_path=f"{there}\n/opt/no-such/bin\n/opt/nor $(this)/bin")

    assert report.is_good
    assert finding(report, "PATH").level is Level.WARNING
    assert finding(report, "PATH").text == "There is no /opt/no-such/bin, no /opt/nor $(this)/bin."


def test_folders_for_path_that_are_there_come_first(check, ssh, user):
    there = user.owns_folder("bin")

    assert finding(check(ssh, extra_path=str(there)), "PATH").text.startswith(f"{there}:/usr/local/sbin:")


# Who is not let in ------------------------------------------------------------------------------------------------


def test_a_key_that_is_not_let_in_is_told_with_the_file_it_belongs_into(check, ssh, user):
    report = check(ssh, is_let_in=False)

    (one,) = report.findings
    assert (one.level, one.about) == (Level.FAILURE, "login")
    assert one.text == f"{who(user)}@web1 refused the login: it does not take Deployer's key."
    assert f"~{who(user)}/.ssh/authorized_keys" in one.mend


def test_a_server_that_is_not_trusted_yet_is_not_spoken_to(operator, ssh):
    server_id = operator.make_server(ssh)
    with operator.database.write_session() as session:
        servers.find(session, server_id).host_key = None
    ssh.stop()

    report = server_check.test(operator.installation, server_id, ADA)

    assert [(one.level, one.about) for one in report.findings] == [(Level.FAILURE, "host key")]
    assert report.findings[0].text == "The host key of web1 is not trusted yet."


def test_a_changed_host_key_is_told_with_both_fingerprints_and_kept_to_be_compared(check, ssh, operator):
    pinned = ssh.host_key
    server_id = operator.make_server(ssh)
    ssh.stop()
    ssh.make_host_key()
    ssh.start()

    report = server_check.test(operator.installation, server_id, ADA)

    assert failures(report) == ["host key"]
    assert fingerprint(pinned) in finding(report, "host key").text
    assert fingerprint(ssh.host_key) in finding(report, "host key").text
    assert "compare the new fingerprint" in finding(report, "host key").mend
    (stored,) = operator.rows(sa.select(Server.host_key, Server.offered_host_key))
    assert (stored.host_key, stored.offered_host_key) == (pinned, ssh.host_key)


def test_a_further_host_key_of_another_type_is_no_changed_one(check, make_ssh, operator):
    ssh = make_ssh()
    ssh.stop()
    ssh.make_host_key("ecdsa")
    ssh.add_host_key("ed25519")
    ssh.start()

    assert check(ssh).is_good
    with operator.database.write_session() as session:
        server = servers.find(session, "web1")
    assert servers.scan(server) == server.host_key == ssh.host_key


def test_where_nothing_listens_it_is_told_where_to_look(check, ssh):
    ssh.stop()

    report = check(ssh)

    (one,) = report.findings
    assert (one.about, one.text) == ("connection", "web1 cannot be reached: connection refused.")
    assert one.mend == "Check host, port and firewall, and that sshd runs there."


def test_a_user_without_a_shell_is_told_so_and_not_that_the_server_is_away(check, ssh, user):
    with login_shell(user, "/usr/sbin/nologin"):
        report = check(ssh)

    (one,) = report.findings
    assert (one.level, one.about) == (Level.FAILURE, "login")
    assert f"web1 lets {user.name} in, but runs no commands" in one.text
    assert one.mend == f"Give the user a shell there, as root: usermod --shell /bin/bash {user.name}"


def test_another_key_file_is_told_and_is_no_accident(operator, ssh, tmp_path):
    server_id = operator.make_server(ssh)
    with operator.database.write_session() as session:
        server = servers.find(session, server_id)
        server.private_key = server.private_key[:-4] + b"xxxx"

    report = server_check.test(operator.installation, server_id, ADA)

    assert [one.about for one in report.findings] == ["key"]
    assert "make a new key" in report.findings[0].mend


@contextmanager
def login_shell(user: OrdinaryUser, shell: str) -> Iterator[None]:
    if user.name is None:
        pytest.skip("needs root to give a user another shell")
    need(shell)
    subprocess.run(["usermod", "--shell", shell, user.name], check=True)
    try:
        yield
    finally:
        subprocess.run(["usermod", "--shell", "/bin/bash", user.name], check=True)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/tcsh"])
def test_other_login_shells_do_as_well(check, ssh, user, shell):
    with login_shell(user, shell):
        report = check(ssh)

    assert report.is_good, report


# What ends what a user leaves behind --------------------------------------------------------------------------------


@contextmanager
def login_manager_that_kills(ssh: SshServer, user: OrdinaryUser) -> Iterator[None]:
    """Ends what a user's connection left behind as soon as it ended, as logind's KillUserProcesses=yes does.

    The end is waited for, not looked for between two connections: a busy machine would miss the time without one.
    """
    if user.name is None:
        pytest.skip("needs root, and a user of the test's own")
    uid = user.home.stat().st_uid
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            if one_ends(ssh.connections(), is_over):
                end_what_is_left_of(uid, ssh)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def one_ends(pids: list[int], is_over: threading.Event) -> bool:
    """Wait until one of the processes ends. False: the test was over before, or there is none."""
    with contextlib.ExitStack() as held:
        handles = []
        for pid in pids:
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                return True
            held.callback(os.close, handles[-1])
        while handles and not is_over.is_set():
            if select.select(handles, [], [], 0.1)[0]:
                return True
        return False


def end_what_is_left_of(uid: int, ssh: SshServer) -> None:
    theirs = [pid for pid in processes.pids() if is_of(uid, pid)]
    connections = set(ssh.connections())
    for pid in theirs:
        if not connections.intersection(ancestry(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_of(uid: int, pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == uid
    except FileNotFoundError:
        return False


def ancestry(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        pid = parent_of(pid)


def test_a_login_manager_that_ends_what_a_user_leaves_behind_is_found_and_named(check, ssh, user):
    with login_manager_that_kills(ssh, user):
        report = check(ssh)

    assert failures(report) == ["durability"]
    assert "login manager" in finding(report, "durability").text
    assert f"loginctl enable-linger {user.name}" in finding(report, "durability").mend


# How long it takes ------------------------------------------------------------------------------------------------


def took_s(check, ssh) -> tuple[float, Report]:
    begin = time.monotonic()
    report = check(ssh)
    return time.monotonic() - begin, report


def test_a_frozen_server_is_given_up_in_time(check, ssh):
    ssh.freeze()

    seconds, report = took_s(check, ssh)

    assert failures(report) == ["connection"]
    assert "no answer for 10 s" in finding(report, "connection").text
    assert seconds < PROMISED_S + 1


def test_a_server_that_freezes_in_the_middle_is_given_up_in_time_and_what_was_found_is_kept(
    check, ssh, user, monkeypatch
):
    """After the first answers, at the question for the tools."""
    ask = server_check._ask

    def ask_and_freeze(executor, script):
        if script.startswith("setsid"):  # the question right after git's
            ssh.freeze()
        return ask(executor, script)

    monkeypatch.setattr(server_check, "_ask", ask_and_freeze)
    seconds, report = took_s(check, ssh)

    assert [one.about for one in report.findings] == ["connection", "system", "git", "connection"]
    assert report.findings[-1].level is Level.FAILURE
    assert "took longer than 15 s" in report.findings[-1].text
    assert seconds < PROMISED_S + 1


def test_a_server_that_is_slow_in_every_answer_is_given_up_in_time(check, make_ssh):
    slow = r"""printf '#!/bin/sh\nsleep 4; shift; exec "$@"\n' > /usr/bin/timeout"""

    seconds, report = took_s(check, make_ssh("rm /usr/bin/timeout", slow, "chmod 755 /usr/bin/timeout"))

    assert failures(report) == ["connection"]
    assert "took longer than 15 s" in report.findings[-1].text
    assert seconds < PROMISED_S + 1


def test_a_name_that_is_resolved_for_ever_is_given_up_in_time(operator, ssh, monkeypatch):
    is_over = threading.Event()
    monkeypatch.setattr(server_check, "LIMIT_S", 0.3)
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: is_over.wait(30) or None)
    server_id = operator.make_server(ssh)

    report = server_check.test(operator.installation, server_id, ADA)
    is_over.set()

    assert failures(report) == ["connection"]
    wait_until(lambda: not [one for one in threading.enumerate() if one.name == "probe"], "the probe's end")
