"""From raw output to stored log: nothing lost, nothing doubled, bounded, and numbered."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployer import clock
from deployer.deployments import claims, command_lifecycle, lifecycle
from deployer.deployments.command_lifecycle import PlannedCommand
from deployer.errors import LostClaim
from deployer.executors.launcher import end_mark
from deployer.models.deployment import ChunkKind, CommandKind
from deployer.runner.log_sink import READ_BYTES, LogSink, Numbering
from deployer.security.redaction import Redactor

RUNNER = "the runner"
MARK = end_mark("0123456789abcdef0123456789abcdef")
SECRET = b"correct-horse"


class Log:
    """A running command's log, written by one sink after another."""

    def __init__(self, operator, project) -> None:
        self.operator = operator
        self.database = operator.database
        self.deployment_id = operator.deploy(project)
        self.command_id = clock.new_id()
        planned = PlannedCommand(self.command_id, 0, CommandKind.STEP, "step", "step", 60, "nonce")
        with self.database.write() as connection:
            assert claims.claim(connection, RUNNER) == self.deployment_id
            command_lifecycle.plan(connection, self.deployment_id, [planned])
            command_lifecycle.start_command(connection, self.command_id, RUNNER, "boot")

    def sink(self, *, max_bytes: int = 1 << 20, secrets=(SECRET,)) -> LogSink:
        """A new sink, as a restarted runner makes it."""
        command = self.command
        with self.database.read() as connection:
            sink = LogSink(
                deployment_id=self.deployment_id,
                command_id=self.command_id,
                mark=MARK,
                redactor=Redactor(secrets),
                numbering=Numbering.of(connection, self.deployment_id),
                max_bytes=max_bytes,
                offset=command.output_offset,
                cut_bytes=command.cut_bytes,
                cut_after_seq=command.cut_after_seq,
            )
            sink.resume(connection)
        return sink

    def flush(self, sink: LogSink) -> None:
        with self.database.write() as connection:
            sink.flush(connection, RUNNER)
        sink.settle()

    @property
    def command(self):
        return self.operator.commands(self.deployment_id)[0]

    @property
    def chunks(self):
        return self.operator.chunks(self.deployment_id)

    @property
    def output(self) -> bytes:
        return self.operator.output(self.command)


@pytest.fixture
def log(operator, make_project):
    return Log(operator, make_project())


# Numbering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "lines"), [(b"a\n", 1), (b"a", 1), (b"a\nb", 2), (b"\n\n", 2), (b"a\nb\n", 2)])
def test_a_chunk_takes_as_many_numbers_as_it_has_lines(data, lines):
    assert Numbering(10).take(data) == (10 + lines, lines)


def test_numbers_go_on_after_a_restart(log):
    sink = log.sink()
    sink.feed(b"one\ntwo\n")
    log.flush(sink)

    sink = log.sink()
    sink.feed(b"three\n")
    sink.system("done")
    log.flush(sink)

    assert [(one.seq, one.lines, one.kind, one.data) for one in log.chunks] == [
        (2, 2, ChunkKind.OUTPUT, b"one\ntwo\n"),
        (3, 1, ChunkKind.OUTPUT, b"three\n"),
        (4, 1, ChunkKind.SYSTEM, b"done\n"),
    ]


# The end mark ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(len(MARK) + 1))
def test_the_end_mark_is_found_wherever_it_is_cut(log, place):
    sink = log.sink()
    sink.feed(b"output" + MARK[:place])
    assert sink.is_complete is (place == len(MARK))
    log.flush(sink)
    assert log.output == b"output"
    assert log.command.output_offset >= len(b"output")

    sink.feed(MARK[place:])
    sink.finish()
    log.flush(sink)

    assert sink.is_complete
    assert log.output == b"output"
    assert log.command.output_offset == len(b"output")


@pytest.mark.parametrize("behind", [b"", b"written by a grandchild"])
def test_who_goes_on_after_a_restart_sees_the_mark_too(log, behind):
    """Or the log would count as incomplete, though all of it is stored."""
    raw = b"output" + MARK + behind
    sink = log.sink()
    sink.feed(raw)
    log.flush(sink)

    sink = log.sink()
    assert not sink.is_complete
    sink.feed(raw[sink.position :])
    sink.finish()
    log.flush(sink)

    assert sink.is_complete
    assert log.output == b"output"


def test_what_only_begins_like_the_mark_is_shown(log):
    sink = log.sink()
    sink.feed(b"a" + MARK[:5])
    sink.feed(b"b" + MARK[:9])
    log.flush(sink)
    assert log.output == b"a" + MARK[:5] + b"b"
    assert log.command.output_offset == len(log.output)

    sink.finish()
    log.flush(sink)

    assert log.output == b"a" + MARK[:5] + b"b" + MARK[:9]
    assert not sink.is_complete


def test_what_follows_the_mark_is_not_output(log):
    sink = log.sink()
    sink.feed(b"a" + MARK + b"written by a grandchild")
    sink.feed(b"and more")
    sink.finish()
    log.flush(sink)

    assert log.output == b"a"


# Redaction and offsets ------------------------------------------------------------------------------------------


def test_the_committed_offset_excludes_what_is_held_back(log):
    sink = log.sink()
    sink.feed(b"word: correct-ho")
    log.flush(sink)

    assert log.output == b"word: "
    assert log.command.output_offset == len(b"word: ")


def test_a_secret_that_is_cut_by_a_restart_is_masked(log):
    raw = b"word: correct-horse!\n" + MARK
    for place in range(len(raw)):
        sink = log.sink()
        sink.feed(raw[sink.position : place])
        log.flush(sink)
    sink = log.sink()
    sink.feed(raw[sink.position :])
    log.flush(sink)

    assert log.output == b"word: ***!\n"


def test_a_secret_in_a_remark_is_masked(log):
    sink = log.sink()
    sink.system("cannot open correct-horse")
    log.flush(sink)

    assert log.operator.remarks(log.command) == "cannot open ***\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.sampled_from(
            [b"line\n", b"correct-horse", b"correct", b"\x1e0123", "äö€\U0001f600".encode(), b"\xff\xfe"]
        ),
        max_size=12,
    ),
    data=st.data(),
)
def test_a_log_is_whole_however_it_is_read_flushed_and_resumed(operator, make_project, pieces, data):
    raw = b"".join(pieces)
    project = make_project(name=f"p{clock.new_id()[-12:]}")
    log = Log(operator, project)
    places = [*sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6))), len(raw)]
    sink = log.sink()
    for place in places:
        action = data.draw(st.sampled_from(["feed", "flush", "restart"]))
        if place > sink.position:
            sink.feed(raw[sink.position : place])
        if action != "feed":
            log.flush(sink)
        if action == "restart":
            sink = log.sink()
    sink.feed((raw + MARK)[sink.position :])
    log.flush(sink)
    with log.database.write() as connection:
        lifecycle.fail(connection, log.deployment_id, RUNNER, "done")

    assert log.output == Redactor([SECRET]).whole(raw)
    assert [one.seq for one in log.chunks] == sorted({one.seq for one in log.chunks})


@pytest.mark.parametrize("place", range(1, 10))
def test_each_chunk_of_a_log_ends_between_characters(log, place):
    text = "ä€\U0001f600".encode()
    sink = log.sink()
    sink.feed(text[:place])
    log.flush(sink)
    sink.feed(text[place:])
    sink.finish()
    log.flush(sink)

    assert "".join(one.data.decode() for one in log.chunks) == "ä€\U0001f600"


# Failing to store -----------------------------------------------------------------------------------------------


class TheDiskIsFull(Exception):
    pass


def test_a_flush_that_failed_is_done_again_without_doubling(log):
    sink = log.sink()
    sink.feed(b"one\n")
    for _ in range(3):
        with contextlib.suppress(TheDiskIsFull), log.database.write() as connection:
            sink.flush(connection, RUNNER)
            raise TheDiskIsFull
        assert log.output == b""
    sink.feed(b"two\n")
    log.flush(sink)
    log.flush(sink)

    assert log.output == b"one\ntwo\n"
    assert log.command.output_offset == 8


def test_a_runner_that_lost_its_claim_writes_nothing(log):
    sink = log.sink()
    sink.feed(b"one\n")

    with pytest.raises(LostClaim), log.database.write() as connection:
        sink.flush(connection, "another runner")

    assert log.chunks == []
    assert log.command.output_offset == 0


# Bounds ---------------------------------------------------------------------------------------------------------


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(start, start + count))


@pytest.mark.parametrize("piece", [1000, 10_000, READ_BYTES])
def test_beyond_the_bound_head_and_tail_are_kept_and_every_byte_is_accounted_for(log, piece):
    bound = 64 * 1024
    raw = lines(40_000)
    sink = log.sink(max_bytes=bound)
    for start in range(0, len(raw), piece):
        sink.feed(raw[start : start + piece])
        log.flush(sink)
    sink.feed(MARK)
    log.flush(sink)

    command = log.command
    kept = log.output
    assert command.cut_bytes == len(raw) - len(kept)
    head = b"".join(one.data for one in log.chunks if one.seq <= command.cut_after_seq)
    tail = b"".join(one.data for one in log.chunks if one.seq > command.cut_after_seq)
    assert raw.startswith(head)
    assert raw.endswith(tail)
    assert len(head) >= bound // 2
    assert bound // 4 <= len(tail) <= bound // 2
    assert len(kept) <= bound + READ_BYTES


def test_a_log_within_the_bound_is_kept_whole(log):
    raw = lines(8000)
    sink = log.sink(max_bytes=64 * 1024)
    for start in range(0, len(raw), 1000):
        sink.feed(raw[start : start + 1000])
        log.flush(sink)

    assert log.output == raw
    assert (log.command.cut_bytes, log.command.cut_after_seq) == (0, None)


def test_the_bounds_hold_over_a_restart_in_the_middle(log):
    bound = 64 * 1024
    raw = lines(40_000)
    sink = log.sink(max_bytes=bound)
    for count, start in enumerate(range(0, len(raw), 5000)):
        sink.feed(raw[start : start + 5000])
        log.flush(sink)
        if count % 7 == 0:
            sink = log.sink(max_bytes=bound)

    assert log.command.cut_bytes == len(raw) - len(log.output)
    assert len(log.output) <= bound + 5000
    assert raw.endswith(log.output[-10_000:])


def test_numbers_never_come_back_after_what_bore_them_was_cut(log):
    """A viewer that has seen a number asks only for later ones."""
    bound = 64 * 1024
    sink = log.sink(max_bytes=bound)
    highest = 0
    raw = lines(100_000)
    for start in range(0, len(raw), 200_000):
        sink.feed(raw[start : start + 200_000])
        log.flush(sink)
        sink = log.sink(max_bytes=bound)
        assert log.chunks[-1].seq > highest
        highest = log.chunks[-1].seq
    assert highest == 100_000


def test_a_flood_is_skipped_and_the_skipped_bytes_are_counted(log):
    bound = 64 * 1024
    raw = lines(200_000)
    sink = log.sink(max_bytes=bound)
    sink.feed(raw[:50_000])
    log.flush(sink)
    assert sink.is_past_head

    target = len(raw) - sink.tail_bytes
    margin = sink.skip_margin
    sink.skip_to(target, raw[target - margin : target + margin])
    sink.feed(raw[sink.position :] + MARK)
    log.flush(sink)

    assert log.command.cut_bytes == len(raw) - len(log.output)
    assert raw.endswith(log.output[-bound // 2 :])
    assert log.command.output_offset == len(raw)


@pytest.mark.parametrize("shift", range(-3, len(SECRET) + 3))
def test_a_skip_into_a_secret_shows_nothing_of_it(log, shift):
    bound = 64 * 1024
    sink = log.sink(max_bytes=bound)
    head = b"h" * (bound // 2)
    raw = head + b"x" * 1000 + SECRET + b"y" * 1000
    target = len(head) + 1000 + shift
    sink.feed(head)
    log.flush(sink)

    margin = sink.skip_margin
    sink.skip_to(target, raw[target - margin : target + margin])
    sink.feed(raw[sink.position :])
    sink.finish()
    log.flush(sink)

    tail = log.output[len(head) :]
    assert tail.strip(b"xy") in (b"", b"***")
    if shift <= 0:
        assert tail == b"x" * -shift + b"***" + b"y" * 1000
    assert log.command.output_offset == len(raw)


def test_what_was_held_back_at_a_skip_counts_as_cut(log):
    bound = 64 * 1024
    head = b"h" * (bound // 2)
    raw = head + b"correct-ho" + b"z" * 5000
    sink = log.sink(max_bytes=bound)
    sink.feed(raw[: len(head) + 10])
    log.flush(sink)

    margin = sink.skip_margin
    target = len(raw) - 100
    sink.skip_to(target, raw[target - margin : target + margin])
    sink.feed(raw[sink.position :])
    log.flush(sink)

    assert log.output == head + b"z" * 100
    assert log.command.cut_bytes == len(raw) - len(log.output)


def test_the_log_of_one_command_is_not_touched_by_anothers(log):
    sink = log.sink()
    sink.feed(b"mine\n")
    log.flush(sink)
    other = clock.new_id()
    with log.database.write() as connection:
        planned = PlannedCommand(other, 1, CommandKind.STEP, "next", "next", 60, "nonce")
        command_lifecycle.plan(connection, log.deployment_id, [planned])
        command_lifecycle.start_command(connection, other, RUNNER, "boot")
        numbering = Numbering.of(connection, log.deployment_id)
    following = LogSink(
        deployment_id=log.deployment_id,
        command_id=other,
        mark=MARK,
        redactor=Redactor([]),
        numbering=numbering,
        max_bytes=64 * 1024,
    )
    with log.database.write() as connection:
        following.resume(connection)
        following.feed(lines(40_000))
        following.flush(connection, RUNNER)

    with log.database.read() as connection:
        rows = connection.execute(
            sa.text("SELECT data FROM log_chunks WHERE command_id = :id"), {"id": log.command_id}
        )
        assert rows.scalars().all() == [b"mine\n"]


@pytest.mark.parametrize("shift", range(9))
def test_a_skip_goes_on_with_a_whole_character(log, shift):
    bound = 64 * 1024
    sink = log.sink(max_bytes=bound)
    head = b"h" * (bound // 2)
    text = "äö€🚀".encode() * 100
    raw = head + text
    sink.feed(head)
    log.flush(sink)

    margin, target = sink.skip_margin, len(head) + 110 + shift
    sink.skip_to(target, raw[target - margin : target + margin])
    sink.feed(raw[sink.position :])
    sink.finish()
    log.flush(sink)

    tail = log.output[len(head) :]
    assert set(tail.decode()) <= set("äö€🚀")
    assert len(text) - 110 - shift - len(tail) <= 3
    assert log.command.cut_bytes == len(raw) - len(log.output)
