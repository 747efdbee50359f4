import contextlib
import os
import resource
import threading

import pytest

from flywheel.errors import DiskFull
from flywheel.spool import Spool, SpoolFailed, SpoolFull
from tests.fakes.spool_writer import append_and_wait
from tests.waiting import CEILING_S

MIB = 1 << 20


@pytest.fixture
def open_spool(tmp_path):
    opened = []

    def make(limit=MIB, **options):
        opened.append(Spool(tmp_path / "spool", limit, **options))
        return opened[-1]

    yield make
    for spool in opened:
        spool.close()


def contents(spool):
    return b"".join(path.read_bytes() for path in spool.close_segment())


def test_what_was_appended_is_in_the_file_when_it_is_acknowledged(open_spool):
    spool = open_spool()
    append_and_wait(spool, b"one\n")
    (segment,) = spool.folder.iterdir()
    assert segment.read_bytes() == b"one\n"


def test_many_threads_lose_nothing_and_keep_their_lines_whole(open_spool):
    spool = open_spool(segment_bytes=4096)

    def send(who):
        for number in range(50):
            append_and_wait(spool, f"{who}-{number}-{'x' * 50}\n".encode())

    threads = [threading.Thread(target=send, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = contents(spool).decode().splitlines()
    wanted = {f"{who}-{number}-{'x' * 50}" for who in range(8) for number in range(50)}
    assert (len(lines), set(lines)) == (400, wanted)
    assert len(list(spool.folder.iterdir())) > 1


def test_those_who_wait_share_one_fdatasync(open_spool, monkeypatch):
    spool = open_spool()
    syncs, enter, go = [], threading.Event(), threading.Event()
    real = os.fdatasync

    def slow(file):
        syncs.append(file)
        enter.set()
        assert go.wait(CEILING_S)
        real(file)

    monkeypatch.setattr(os, "fdatasync", slow)
    told = threading.Semaphore(0)
    spool.append(b"first\n", lambda error: told.release())
    assert enter.wait(CEILING_S)
    for number in range(20):
        spool.append(f"{number}\n".encode(), lambda error: told.release())
    go.set()
    for _ in range(21):
        assert told.acquire(timeout=CEILING_S)
    assert len(syncs) == 2


def test_above_its_limit_it_takes_nothing_until_segments_are_removed(open_spool):
    spool = open_spool(limit=100)
    append_and_wait(spool, b"x" * 90 + b"\n")
    with pytest.raises(SpoolFull, match="wait to be loaded"):
        append_and_wait(spool, b"y" * 20 + b"\n")
    assert spool.is_full
    spool.remove(spool.close_segment())
    append_and_wait(spool, b"y" * 20 + b"\n")
    assert contents(spool) == b"y" * 20 + b"\n"


def test_every_start_opens_a_new_segment_and_finds_the_old_ones(open_spool):
    first = open_spool()
    append_and_wait(first, b"old\n")
    first.close()
    (kept,) = first.folder.iterdir()
    with kept.open("ab") as file:
        file.write(b"torn")
    second = open_spool()
    append_and_wait(second, b"new\n")
    assert [path.read_bytes() for path in second.close_segment()] == [b"old\ntorn", b"new\n"]


def test_a_segment_that_is_long_enough_is_closed(open_spool):
    spool = open_spool(segment_bytes=8)
    for _ in range(3):
        append_and_wait(spool, b"0123456789\n")
    assert len(list(spool.folder.iterdir())) == 3


def test_a_closed_spool_takes_nothing(open_spool):
    spool = open_spool()
    spool.close()
    with pytest.raises(SpoolFailed, match="closed"):
        append_and_wait(spool, b"late\n")


@contextlib.contextmanager
def files_of_at_most(length):
    """The kernel itself refuses to write further, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_refuses_and_leaves_nothing_half_written(open_spool):
    spool = open_spool()
    append_and_wait(spool, b"kept\n")
    with files_of_at_most(8192), pytest.raises(DiskFull, match="nothing was kept"):
        append_and_wait(spool, b"z" * 20_000 + b"\n")
    append_and_wait(spool, b"after\n")
    assert contents(spool) == b"kept\nafter\n"


def test_a_failed_fdatasync_is_never_acknowledged(open_spool, monkeypatch):
    spool = open_spool()
    append_and_wait(spool, b"kept\n")
    with monkeypatch.context() as patched:

        def fails(file):
            raise OSError(5, "Input/output error")

        patched.setattr(os, "fdatasync", fails)
        with pytest.raises(SpoolFailed, match="Input/output error"):
            append_and_wait(spool, b"unsure\n")
    append_and_wait(spool, b"after\n")
    assert contents(spool) == b"kept\nafter\n"
    assert spool.alive()


@pytest.mark.parametrize(
    "name",
    ["notes.ndjson", "000000000001 (copy).ndjson", "1.ndjson", "٣٣٣٣٣٣٣٣٣٣٣٣.ndjson", "备份.ndjson",
     "000000000007.ndjson.bak"],
)  # fmt: skip
def test_a_stray_file_stops_nothing_and_is_told_read_by_nobody_and_kept(open_spool, name):
    spool = open_spool()
    append_and_wait(spool, b"one\n")
    spool.close()
    (spool.folder / name).write_bytes(b"stray\n")
    again = open_spool()
    append_and_wait(again, b"two\n")
    assert contents(again) == b"one\ntwo\n"
    assert again.strays == (name,)
    again.remove(again.close_segment())
    assert (again.folder / name).read_bytes() == b"stray\n"


def test_what_has_a_segments_name_and_is_none_takes_no_number_of_one(open_spool, tmp_path):
    spool = open_spool()
    spool.close()
    (spool.folder / "000000000003.ndjson").mkdir()
    (spool.folder / "000000000004.ndjson").symlink_to(tmp_path / "nowhere")
    again = open_spool()
    append_and_wait(again, b"one\n")
    (segment,) = again.close_segment()
    assert segment.name == "000000000005.ndjson"
    assert again.strays == ("000000000003.ndjson", "000000000004.ndjson")
