"""The built-in source `jsonl`: a file that somebody else writes, rotates and cuts short."""

import base64
import bz2
import gzip
import json
import lzma
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.errors import FlywheelError
from flywheel.sources import find
from flywheel.sources.conformance import check
from flywheel.sources.jsonl import LONGEST_LINE, TORN_S


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


def test_a_torn_last_line_is_waited_for_and_told_in_the_end(log):
    with log.open("a", encoding="utf-8") as file:
        file.write('{"id": "torn')
    source = opened(log)
    for ago, told in ((60, []), (2 * TORN_S, ['{"id": "torn'])):
        moment = time.time() - ago
        os.utime(log, (moment, moment))
        events = [
            event for batch in iter(lambda: source.poll(9, 0), None) for event in batch.events
        ]
        assert [event["unreadable"] for event in events if "unreadable" in event] == told


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
    assert got[3] == "is not JSON: invalid character (byte 0)"
    assert got[4:6] == ["no JSON object", "longer than 1 MiB"]


def test_it_can_start_at_the_end_and_stays_there_over_a_restart(log):
    source = opened(log, start="end")
    batch = source.poll(10, 0)
    assert batch.events == []
    write(log, [3])
    assert drained(source)[0] == ids(3)
    assert drained(opened(log, batch.cursor, start="end"))[0] == ids(3)


def test_a_file_that_may_not_be_read_is_told_once_and_read_when_it_may_be(
    log, tmp_path, monkeypatch
):
    real = os.open

    def refuse(path, *rest, **options):
        if path == str(log):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    other = tmp_path / "other.jsonl"
    write(other, [7])
    source = opened(tmp_path / "*.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        batch = source.poll(10, 0)
        told = {"unreadable": str(log), "why": "cannot be read: Permission denied"}
        assert [event for event in batch.events if "why" in event] == [told]
        assert [event["id"] for event in batch.events if "id" in event] == ids(7)
        assert drained(source)[0] == []
        source = opened(tmp_path / "*.jsonl", batch.cursor)
        assert drained(source)[0] == []
    assert drained(source)[0] == ids(0, 1, 2)


def old(path):
    """Nobody has written to the file for a while."""
    os.utime(path, (time.time() - 60,) * 2)


def test_a_rotated_file_that_was_compressed_is_read_from_where_its_lines_ended(log, tmp_path):
    source = opened(tmp_path / "app.jsonl*")
    _, cursor = drained(source)
    write(log, [3, 4])
    packed = tmp_path / "app.jsonl.1.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    old(packed)
    assert drained(source)[0] == ids(3, 4)
    again = opened(tmp_path / "app.jsonl*", cursor)  # the same after a restart
    assert drained(again)[0] == ids(3, 4)
    assert drained(source)[0] == []


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_compressed_file_is_read_whole_when_it_is_quiet(tmp_path, pack, limit):
    packed = tmp_path / "app.jsonl.packed"
    packed.write_bytes(pack("".join(map(line, range(5))).encode()))
    source = opened(tmp_path / "app.*")
    assert drained(source)[0] == []
    old(packed)
    first = source.poll(limit, 0)
    rest = drained(opened(tmp_path / "app.*", first.cursor), limit)[0]
    assert [event["id"] for event in first.events] + rest == ids(*range(5))
    assert drained(source, limit)[0] == rest
    assert drained(source)[0] == []


def test_a_compressed_file_that_ends_early_is_told_behind_its_good_lines(tmp_path):
    packed = tmp_path / "app.jsonl.gz"
    packed.write_bytes(gzip.compress(line(1).encode())[:-8])
    write(tmp_path / "app.jsonl", [2])
    old(packed)
    got, _ = drained(opened(tmp_path / "app.*"))
    assert got == ["p-1", f"{packed}:1: the gzip data ends early", "p-2"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_file_in_utf_16_and_a_list_are_read_whole_too(tmp_path, encoding):
    wide = tmp_path / "wide.jsonl"
    wide.write_bytes("".join(map(line, range(2))).encode(encoding))
    listed = tmp_path / "x-list.json"
    listed.write_text(json.dumps([{"id": "p-2"}, {"id": "p-3"}], indent=1))
    old(wide)
    old(listed)
    assert sorted(drained(opened(tmp_path / "*"))[0]) == ids(0, 1, 2, 3)


def test_another_encoding_is_an_option_and_its_bytes_are_kept(tmp_path):
    path = tmp_path / "app.jsonl"
    text = '{"id": "p-0", "text": "第"}\n'
    path.write_bytes(text.encode("gbk") + b'{"id": "\xff"}\n')
    raw = base64.b64encode(text.strip().encode("gbk")).decode()
    events = opened(path).poll(10, 0).events
    assert events[0]["unreadable_base64"] == raw
    assert events[0]["why"].startswith("is not UTF-8: byte 0x")
    good, bad = opened(path, encoding="gbk").poll(10, 0).events
    assert good == {"id": "p-0", "text": "第"}
    assert (bad["unreadable_base64"], bad["encoding"]) == (
        base64.b64encode(b'{"id": "\xff"}').decode(),
        "gbk",
    )


def test_lines_that_are_no_json_for_the_daemon_are_unreadable_here(tmp_path):
    path = tmp_path / "app.jsonl"
    bad = [b'{"text": "\\ud800"}', b"[" * 9_000 + b"]" * 9_000, b'{"a": NaN}', b'{"a": 1e400}']
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(bad) + b"\n" + line(1).encode())
    events = opened(path).poll(10, 0).events
    assert [event.get("why", "fine") for event in events] == [
        "is not JSON: half of a surrogate pair (\\ud800 to \\udfff) stands alone",
        "is nested too deeply",
        "is not JSON: NaN is no JSON value (byte 6)",
        "is not JSON: 1e400 is larger than any number of 64 bits",
        "fine",
    ]


def test_a_mark_on_every_line_and_a_comma_behind_it_do_no_harm(tmp_path):
    path = tmp_path / "app.jsonl"
    path.write_bytes(b"".join(b"\xef\xbb\xbf" + line(n).encode()[:-1] + b",\n" for n in range(3)))
    assert drained(opened(path))[0] == ids(0, 1, 2)


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
