"""What steps print that is hard to take, through the real runner: everything is stored as it was, and ends well."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deployer.config import LogSettings
from deployer.deployments import logs
from deployer.executors import processes
from deployer.models import Command
from deployer.web import ansi
from tests.support.waiting import wait_until

KIB, MIB = 1024, 1024 * 1024
SHOWN = 256 * KIB


def outcome(operator, make_project, *steps: str):
    deployment = operator.wait_for_end(operator.deploy(make_project(*steps)), within_s=60)
    return deployment, operator.steps(deployment.id)


def shown(operator, step, limit: int = SHOWN) -> bytes:
    """What a page gets of the log."""
    with operator.database.read() as connection:
        return logs.of_command(connection, Command(**vars(step)), limit)


def test_output_with_nuls_and_broken_utf_8_is_stored_to_the_byte_and_can_be_shown(operator, make_project, runner):
    printed = b"a\0b\xff\xfe\xc3(\xe2\x82 \xf0\x9f\x98\n\0\0end\xc3"
    script = "".join(f"\\{byte:03o}" for byte in printed)

    deployment, (step,) = outcome(operator, make_project, f"printf '{script}'")

    assert (deployment.status, operator.output(step)) == ("success", printed)
    assert "end" in ansi.render(shown(operator, step))


def test_a_line_of_fifty_megabytes_is_kept_at_both_ends_and_its_deployment_ends_well(operator, make_project, runner):
    size = 50_000_000
    step = f"printf begin; head -c {size} /dev/zero | tr '\\0' y; printf 'the end'; exit 3"

    deployment, (step,) = outcome(operator, make_project, step)

    assert (deployment.status, step.exit_code) == ("failed", 3)
    stored = operator.output(step)
    assert stored.startswith(b"begin" + b"y" * 1000)
    assert stored.endswith(b"y" * 1000 + b"the end")
    assert step.cut_bytes + len(stored) == size + len("begin" + "the end")
    assert len(stored) <= LogSettings().max_bytes_per_command + MIB
    # Nobody is handed more of it than a page can show; its end is what one looks for.
    page = shown(operator, step)
    assert len(page) < SHOWN + KIB
    assert page.startswith(b"begin")
    assert page.endswith(b"the end")
    assert b"bytes of output were left out here" in page
    assert max(len(chunk.data) for chunk in operator.chunks(deployment.id)) <= SHOWN


def test_a_progress_bar_of_a_million_carriage_returns_is_whole_and_shown_as_its_last_state(
    operator, make_project, runner
):
    script = 'awk \'BEGIN { for (n = 1; n <= 1000000; n++) printf "%d\\r", n; print "done" }\' | tee ../all'

    deployment, (step,) = outcome(operator, make_project, script)

    printed = (Path(operator.installation.data_dir.checkouts) / "all").read_bytes()
    assert printed.count(b"\r") == 1_000_000
    assert deployment.status == "success"
    assert hashlib.sha256(operator.output(step)).digest() == hashlib.sha256(printed).digest()
    # One line, so one number of a line, however many chunks it takes.
    assert str(ansi.render(shown(operator, step))).endswith("\ndone\n")


def test_a_command_of_a_hundred_kilobytes_runs_whole(operator, make_project, runner):
    lines = [f"echo {'x' * 90} {number}" for number in range(1000)]
    command = "\n".join(lines)[: 100 * KIB]
    assert len(command) > 95 * KIB

    deployment, (step,) = outcome(operator, make_project, command)

    assert deployment.status == "success"
    assert operator.output(step).decode() == "".join(line[5:] + "\n" for line in lines)
    assert step.line == command


def test_a_step_that_closes_its_output_goes_on_and_its_exit_code_counts(operator, make_project, runner):
    deployment, (step,) = outcome(
        operator, make_project, "echo before; exec >&- 2>&-; sleep 0.3; touch ../went-on; exit 4"
    )

    assert (deployment.status, step.exit_code, operator.output(step)) == ("failed", 4, b"before\n")
    assert (Path(operator.installation.data_dir.checkouts) / "went-on").exists()
    assert operator.remarks(step) == ""


def test_a_step_that_makes_itself_a_daemon_ends_at_once_and_what_it_left_is_named(
    operator, make_project, runner, tmp_path
):
    daemon = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); os.chdir('/')"
    script = f"{daemon}; os.closerange(0, 256); open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(1000)"
    step = f'python3 -c "{script}"; while [ ! -s {tmp_path}/pid ]; do sleep 0.02; done; echo started'

    deployment, (step,) = outcome(operator, make_project, step)

    pid = int((tmp_path / "pid").read_text())
    assert (deployment.status, operator.output(step)) == ("success", b"started\n")
    assert processes.stat(pid)
    assert f"Still running, and left alone: python3 -c {script} (process {pid})." in operator.remarks(step)


def test_a_step_that_prints_nothing_has_an_empty_log(operator, make_project, runner):
    deployment, (step,) = outcome(operator, make_project, "true")

    assert (deployment.status, operator.output(step), shown(operator, step)) == ("success", b"", b"")
    assert operator.remarks(step) == ""


@pytest.mark.parametrize(
    ("name", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("HUP", 129), ("PIPE", 141), ("ABRT", 134)]
)
def test_a_death_by_signal_is_told_with_the_signals_name(operator, make_project, runner, name, code):
    deployment, (step,) = outcome(operator, make_project, f"ulimit -c 0; echo before; kill -{name} $$; echo never")

    assert (deployment.status, step.exit_code, operator.output(step)) == ("failed", code, b"before\n")
    assert deployment.cause.endswith(f"exited with {code} (ended by SIG{name})")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGQUIT, 131)])
def test_what_the_runner_was_started_to_ignore_a_step_does_not(operator, make_project, make_runner, number, code):
    """As by nohup, or in the background of a shell."""
    runner = make_runner(prepare=partial(signal.signal, number, signal.SIG_IGN)).start()
    runner.wait_until_ready()

    deployment, (step,) = outcome(operator, make_project, f"ulimit -c 0; kill -{int(number)} $$; echo never")

    assert (deployment.status, step.exit_code, operator.output(step)) == ("failed", code, b"")
    os.kill(runner.pid, number)
    assert operator.wait_for_end(operator.deploy(make_project("true", name="next"))).status == "success"


class TestSmallBounds:
    @pytest.fixture
    def config(self, config):
        return replace(config, logs=LogSettings(max_bytes_per_command=64 * KIB))

    def test_a_flood_without_a_newline_is_cut_between_characters(self, operator, make_project, runner):
        script = "awk 'BEGIN { for (n = 0; n < 100000; n++) printf \"äö€\" }'"

        _, (step,) = outcome(operator, make_project, script)

        for chunk in operator.chunks(step.deployment_id):
            if chunk.command_id == step.id:
                assert set(chunk.data.decode()) <= set("äö€")
        assert step.cut_bytes + len(operator.output(step)) == 100_000 * len("äö€".encode())


def test_a_step_that_prints_while_it_is_cancelled_keeps_what_it_printed(operator, make_project, runner):
    # What the shell itself says of a `sleep` that was killed before it is no line of the step's.
    project = make_project("trap '' TERM; n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done 2>/dev/null")
    deployment_id = operator.deploy(project)
    operator.wait_for_output(deployment_id, b"5\n")

    operator.cancel(deployment_id)

    assert operator.wait_for_end(deployment_id).status == "cancelled"
    lines = operator.step_output(deployment_id).decode().split()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    wait_until(lambda: processes.with_variable(f"DEPLOY_ID={deployment_id}".encode()) == [], "the end of it all")
