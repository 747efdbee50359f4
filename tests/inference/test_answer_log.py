import errno
import logging
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from answer_lines import answer_line

from flywheel.errors import Refused
from flywheel.inference import answer_log
from flywheel.inference.answer_log import AnswerLog
from tests.waiting import CEILING_S, until

MIB = 1 << 20


@pytest.fixture
def open_log(tmp_path):
    opened = []

    def make(limit=MIB, **options):
        opened.append(AnswerLog(tmp_path / "answers", limit, **options))
        return opened[-1]

    yield make
    for log in opened:
        log.close()


def lines(log):
    return b"".join(segment.path.read_bytes() for segment in log.segments())


def test_what_was_written_is_with_the_kernel_when_the_call_returns(open_log):
    log = open_log()
    assert log.write([b'{"id":"p-1"}', b'{"id":"p-2"}'])
    (segment,) = log.segments()
    assert segment.path.read_bytes() == b'{"id":"p-1"}\n{"id":"p-2"}\n'
    assert (segment.path.name, segment.size, segment.closed) == (
        "000000000001.predictions.ndjson",
        26,
        False,
    )


def test_the_lines_of_a_request_go_in_by_one_write(open_log, monkeypatch):
    log, written, real = open_log(), [], os.write
    monkeypatch.setattr(os, "write", lambda *call: (written.append(bytes(call[1])), real(*call))[1])
    log.write([b"{}", b"[]"])
    assert written == [b"{}\n[]\n"]


def test_what_a_write_left_is_written_by_the_next_one(open_log, monkeypatch):
    log, real = open_log(), os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:3]))
    assert log.write([b'{"id":"p-1"}'])
    assert lines(log) == b'{"id":"p-1"}\n'


def test_all_is_synced_by_the_thread_and_so_is_the_folder(open_log, monkeypatch):
    synced, folders = [], []
    real_file, real_folder = os.fdatasync, answer_log.files.sync
    monkeypatch.setattr(os, "fdatasync", lambda file: (real_file(file), synced.append(file)))
    monkeypatch.setattr(
        answer_log.files, "sync", lambda path: (real_folder(path), folders.append(path))
    )
    log = open_log(segment_bytes=20)
    for number in range(3):
        log.write([b'{"id":"p-%d"}' % number, b'{"id":"p-%db"}' % number])  # a segment each
        seen = number + 1
        until(lambda seen=seen: (len(synced), len(folders)) == (seen, seen), "all is synced")


def test_writes_of_a_moment_share_one_fdatasync(open_log, monkeypatch):
    synced, real = [], os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (real(file), synced.append(file)))
    written, pauses = threading.Event(), []

    def pause(seconds):
        pauses.append(seconds)
        assert written.wait(CEILING_S)

    monkeypatch.setattr(answer_log, "time", SimpleNamespace(sleep=pause))
    log = open_log()
    for _ in range(50):
        log.write([b"{}"])
    written.set()
    until(lambda: synced, "it is synced")
    assert (len(synced), pauses[0]) == (1, 0.05)


def test_a_full_log_takes_nothing_more_and_says_so(open_log, caplog):
    log = open_log(limit=MIB)
    line = b"x" * (MIB // 2 - 1)
    assert [log.write([line]), log.write([line]), log.write([b"{}", b"{}"])] == [True, True, False]
    state = log.state()
    assert (state["bytes"], state["logged"], state["not_logged"]) == (MIB, 2, 2)
    assert state["why_not"] == "1 MiB wait for the daemon, as many as [serving] log_mb"
    log.write([b"{}"])
    told = "answers are not logged: 1 MiB wait for the daemon, as many as [serving] log_mb"
    assert [record.message for record in caplog.records] == [told]


def test_once_there_is_room_it_says_that_it_goes_on(open_log, caplog):
    caplog.set_level(logging.INFO)
    log = open_log(limit=MIB, segment_bytes=1000)
    log.write([b"x" * (MIB - 1)])
    log.write([b"{}"])
    log.remove(log.segments())
    assert log.write([b"{}"])
    assert log.state()["why_not"] == ""
    assert caplog.records[-1].message == "answers are logged again"


@pytest.mark.parametrize(
    ("number", "why"), [(errno.ENOSPC, "the disk is full"), (errno.EIO, "Input/output error")]
)
def test_a_failing_disk_fails_no_answer_and_tears_no_line(open_log, monkeypatch, number, why):
    log, real = open_log(), os.write
    log.write([b"{}"])

    def half(file, data):
        if len(data) < 10:
            raise OSError(number, os.strerror(number))
        return real(file, bytes(data)[: len(data) - 5])

    monkeypatch.setattr(os, "write", half)
    assert not log.write([b'{"id":"p-1"}'])
    assert log.state()["why_not"] == why
    monkeypatch.setattr(os, "write", real)
    assert log.write([b'{"id":"p-2"}'])
    assert [each.path.read_bytes() for each in log.segments()] == [b"{}\n", b'{"id":"p-2"}\n']
    assert (log.state()["logged"], log.state()["not_logged"]) == (2, 1)


def test_a_full_disk_that_makes_no_segment_fails_no_answer(open_log, monkeypatch):
    log, real = open_log(), os.open

    def full(path, flags, *mode):
        if str(path).endswith(".ndjson"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", full)
    assert not log.write([b"{}"])
    monkeypatch.setattr(os, "open", real)
    assert log.write([b"{}"])


def test_a_failed_fdatasync_is_counted_and_answers_go_on(open_log, monkeypatch, caplog):
    def fail(file):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    log = open_log()
    assert log.write([b"{}"])
    until(lambda: log.state()["sync_failures"], "it failed")
    assert log.write([b"{}"])
    until(lambda: "could not be synced" in caplog.text, "it was told")


def test_every_start_opens_new_segments(open_log):
    log = open_log()
    log.write([b"{}"])
    log.close()
    again = open_log()
    again.write([b"{}"])
    again.write([b"{}"], "feedback")
    names = [(each.path.name.removesuffix(".ndjson"), each.closed) for each in again.segments()]
    assert names == [
        ("000000000001.predictions", True),
        ("000000000002.predictions", False),
        ("000000000003.feedback", False),
    ]


def test_a_second_process_may_not_write_the_same_log(open_log):
    log = open_log()
    other = f"from flywheel.inference.answer_log import *; AnswerLog(Path({str(log.folder)!r}), 9)"
    refused = subprocess.run([sys.executable, "-c", other], capture_output=True, check=False)
    assert b"another `flywheel serve` writes" in refused.stderr


def test_a_second_one_in_this_process_may_not_either_until_the_first_is_closed(open_log):
    first = open_log()
    with pytest.raises(Refused, match="another `flywheel serve`"):
        open_log()
    first.close()
    first.close()
    assert open_log().write([b"{}"])


def test_a_closed_log_takes_nothing(open_log):
    log = open_log()
    log.close()
    assert not log.write([b"{}"])


def test_an_event_of_two_lines_is_a_defect(open_log):
    with pytest.raises(ValueError, match="is one line"):
        open_log().write([answer_line("p-1"), b"{\n}"])


def test_a_delivered_segment_is_closed_after_a_minute_and_not_before(open_log):
    now = [0.0]
    log = open_log(clock=lambda: now[0])
    log.write([b"{}"])
    (segment,) = log.segments()
    now[0] = 59.0
    log.close_delivered(segment)
    assert not log.segments()[0].closed
    log.write([b"{}"])
    now[0] = 61.0
    log.close_delivered(segment)  # there is more in it by now
    assert not log.segments()[0].closed
    log.close_delivered(log.segments()[0])
    assert log.segments()[0].closed
