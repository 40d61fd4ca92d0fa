"""Output: whole, in order, bounded, and never able to hold up the end."""

from __future__ import annotations

import hashlib
import time

import pytest

from deployer.executors import launcher
from tests.support.launching import NONCE
from tests.support.waiting import wait_until


def test_both_outputs_come_together_in_order(launching):
    launching.prepare("echo one; echo two >&2; echo three").start().wait()

    assert launching.output == b"one\ntwo\nthree\n"


def test_a_command_of_two_megabytes_runs(launching):
    line = "echo " + "x" * 1000 + "\n"
    launching.prepare(line * 2000).start().wait()

    assert launching.exit_code == 0
    assert launching.output == (line[5:] * 2000).encode()


def test_nuls_and_all_other_bytes_come_through(launching, tmp_path):
    every = bytes(range(256)) * 64
    (tmp_path / "bytes").write_bytes(every)
    launching.prepare("cat bytes; printf '\\0\\0'").start().wait()

    assert launching.output == every + b"\0\0"


def test_one_line_of_fifty_megabytes_comes_through(launching):
    launching.prepare("head -c 50000000 /dev/zero | tr '\\0' 'y'").start().wait()

    assert hashlib.sha256(launching.output).digest() == hashlib.sha256(b"y" * 50_000_000).digest()


def test_a_command_that_closes_its_output_still_ends_well(launching):
    launching.prepare("echo before; exec >&- 2>&-; exit 4").start().wait()

    assert (launching.exit_code, launching.output) == (4, b"before\n")


def test_a_grandchild_that_holds_the_output_does_not_hold_the_end(launching):
    launching.prepare("sleep 1000 & echo done").start().wait()

    assert (launching.exit_code, launching.output) == (0, b"done\n")


def test_a_program_that_opens_its_output_anew_does_not_truncate_it(launching):
    launching.prepare("echo before; echo again | tee /dev/stderr >/dev/null; echo after").start().wait()

    assert launching.output == b"before\nagain\nafter\n"


def test_output_is_written_up_to_its_bound_and_the_command_runs_on(launching):
    """The bound of 10 MiB against 300 MB."""
    bound = 10 * 1024 * 1024
    launching.prepare("head -c 300000000 /dev/zero | tr '\\0' 'y'; echo end; exit 5").start(max_bytes=bound)

    assert launching.wait_for_exit() == 5
    assert launching.launchers[0].wait(10) == 0
    assert launching.raw == b"y" * bound


def test_no_input_waits_for_anybody(launching):
    launching.prepare("cat; echo read nothing").start().wait()

    assert launching.output == b"read nothing\n"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4096])
def test_the_end_mark_follows_the_last_byte(make_launching, size):
    launching = make_launching()
    launching.prepare(f"head -c {size} /dev/zero | tr '\\0' 'y'").start().wait()

    assert launching.raw == b"y" * size + launcher.end_mark(NONCE)


def test_output_is_there_while_the_command_runs(launching):
    launching.prepare("echo first; sleep 1000").start()

    wait_until(lambda: launching.raw == b"first\n", "the first line")
    assert launching.exit_code is None


def test_a_hundred_megabytes_pass_in_seconds(launching):
    began = time.monotonic()
    launching.prepare("head -c 100000000 /dev/zero").start().wait()

    assert len(launching.output) == 100_000_000
    assert time.monotonic() - began < 10
