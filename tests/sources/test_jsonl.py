"""The built-in source `jsonl`: a file that somebody else writes, rotates and cuts short."""

import json
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.sources import find
from flywheel.sources.conformance import check
from flywheel.sources.jsonl import LONGEST_LINE


def line(number):
    return json.dumps({"id": f"p-{number}", "text": f"第{number}句"}, ensure_ascii=False) + "\n"


def write(path, numbers, mode="a"):
    with path.open(mode, encoding="utf-8") as file:
        file.write("".join(line(number) for number in numbers))


def opened(pattern, cursor=None, **options):
    source = find("jsonl", pattern.parent)()
    source.open({"path": str(pattern), **options}, cursor)
    return source


def drained(source, limit=100):
    """Everything there is: ids in the order they came, and the last cursor."""
    ids, cursor = [], None
    while batch := source.poll(limit, 0):
        ids += [event.get("id", event.get("why")) for event in batch.events]
        cursor = batch.cursor
    return ids, cursor


def ids(*numbers):
    return [f"p-{number}" for number in numbers]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "app.jsonl"
    write(path, range(3))
    return path


def test_it_keeps_the_contract(log, tmp_path):
    write(log, range(3, 17))

    def spoil():
        with log.open("ab") as file:
            file.write(b"\xff\xfe no JSON at all\n[1, 2]\n\n")
        write(log, [99])
        return json.loads(line(99))

    checks = check(find("jsonl", tmp_path), {"path": str(log)}, spoil=spoil)
    assert [each for each in checks if not each[1]] == []


def test_lines_that_are_appended_are_read_once(log):
    source = opened(log)
    assert drained(source)[0] == ids(0, 1, 2)
    write(log, [3])
    assert drained(source)[0] == ids(3)


def test_a_line_counts_when_its_newline_is_written(log):
    source = opened(log)
    drained(source)
    whole = line(3)
    with log.open("a", encoding="utf-8") as file:
        file.write(whole[:9])
        file.flush()
        assert drained(source)[0] == []
        file.write(whole[9:])
    assert drained(source)[0] == ids(3)


def test_a_last_line_without_newline_counts_when_the_file_is_left_alone(log):
    with log.open("a", encoding="utf-8") as file:
        file.write(line(3).rstrip("\n"))
    source = opened(log)
    assert drained(source)[0] == ids(0, 1, 2)
    long_ago = time.time() - 60
    os.utime(log, (long_ago, long_ago))
    assert drained(source)[0] == ids(3)


def test_a_file_renamed_out_of_the_glob_is_finished_before_the_new_one(log, tmp_path):
    source = opened(log)
    _, cursor = drained(source)
    write(log, [3, 4])
    log.rename(tmp_path / "app.jsonl.1")
    write(log, [5])
    assert drained(source)[0] == ids(3, 4, 5)
    assert drained(opened(log, cursor))[0] == ids(3, 4, 5)  # the same after a restart


def test_a_renamed_file_inside_the_glob_is_not_read_again(log, tmp_path):
    pattern = tmp_path / "app.jsonl*"
    source = opened(pattern)
    drained(source)
    log.rename(tmp_path / "app.jsonl.1")
    write(log, [3])
    assert drained(source)[0] == ids(3)


def test_a_file_that_is_cut_short_is_read_from_its_start(log):
    source = opened(log)
    drained(source)
    write(log, [7], mode="w")
    assert drained(source)[0] == ids(7)


def test_a_file_that_is_cut_and_outgrows_its_old_size_is_read_from_its_start(log):
    source = opened(log)
    drained(source)
    write(log, range(10, 20), mode="w")
    assert drained(source)[0] == ids(*range(10, 20))


def test_a_reused_inode_is_another_file(log):
    _, cursor = drained(opened(log))
    (key,) = json.loads(cursor)
    log.unlink()
    write(log, [8, 9, 10, 11])
    status = log.stat()
    moved = cursor.replace(key, f"{status.st_dev}:{status.st_ino}")
    assert drained(opened(log, moved))[0] == ids(8, 9, 10, 11)


def test_a_file_without_name_or_content_for_a_moment_is_no_error(log):
    source = opened(log)
    drained(source)
    log.unlink()
    assert drained(source)[0] == []
    log.touch()
    assert drained(source)[0] == []
    write(log, [4])
    assert drained(source)[0] == ids(4)


def test_what_is_no_object_is_handed_on_for_the_daemon_to_keep(log):
    with log.open("ab") as file:
        file.write("听音乐\n".encode() + b"[1]\n\n" + b"x" * (LONGEST_LINE * 2 + 5) + b"\n")
    write(log, [3])
    got, _ = drained(opened(log))
    assert got[:3] + got[-1:] == ids(0, 1, 2, 3)
    assert got[3].startswith("no JSON: ")
    assert got[4:6] == ["no JSON object", "longer than 1 MiB"]


def test_it_can_start_at_the_end_and_stays_there_over_a_restart(log):
    source = opened(log, start="end")
    batch = source.poll(10, 0)
    assert batch.events == []
    write(log, [3])
    assert drained(source)[0] == ids(3)
    assert drained(opened(log, batch.cursor, start="end"))[0] == ids(3)


def test_a_file_that_may_not_be_read_is_tried_again_later(log, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    source = opened(log)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(SourceUnavailable, match=r"app.jsonl cannot be read: Permission denied"):
        source.poll(10, 0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "needs the option `path`"),
        ({"path": "a", "pth": "b"}, "no option `pth`"),
        ({"path": "a", "start": "middle"}, "`start` is 'middle'"),
    ],
)
def test_a_wrong_option_is_named(options, why, tmp_path):
    with pytest.raises(FlywheelError, match=why):
        find("jsonl", tmp_path)().open(options, None)


steps = st.lists(
    st.sampled_from(["write", "rotate", "copytruncate", "poll", "restart", "kill"]), max_size=25
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=steps, limit=st.integers(1, 4))
def test_no_line_is_lost_whatever_happens_to_the_file(tmp_path_factory, steps, limit):
    folder = tmp_path_factory.mktemp("tail")
    path, pattern = folder / "app.jsonl", folder / "app.jsonl*"
    write(path, [])
    written, read, committed = 0, [], None
    source = opened(pattern)
    for number, step in enumerate([*steps, "poll"]):
        if step == "write":
            write(path, range(written, written + 3))
            written += 3
        elif step == "rotate":
            path.rename(folder / f"app.jsonl.{number}")
            write(path, [])
        elif step == "copytruncate":  # loses what was not read yet, so all is read before
            read, committed = read_all(source, read, committed)
            write(path, [], mode="w")
        elif step == "poll":
            batch = source.poll(limit, 0)
            if batch:
                read += [event["id"] for event in batch.events]
                committed = batch.cursor
        elif step == "restart":
            source = opened(pattern, committed)
        elif step == "kill":  # what was polled here was never committed
            source.poll(limit, 0)
            source = opened(pattern, committed)
    read, _ = read_all(source, read, committed)
    assert sorted(set(read)) == sorted(ids(*range(written)))


def read_all(source, read, committed):
    more, cursor = drained(source)
    return read + more, cursor or committed
