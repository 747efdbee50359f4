"""A source reads no file through a symbolic link, unless it is told to follow them."""

import contextlib
import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from flywheel.errors import FlywheelError
from flywheel.sources import find

WHY = "it is reached by a symbolic link; set `links = true` for the source if it is meant"


def row(number):
    return {"id": f"p-{number}", "text": "放一首歌"}


def jsonl(path, number):
    path.write_text(json.dumps(row(number)) + "\n", encoding="utf-8")


def whole(path, number):
    path.write_bytes(gzip.compress(json.dumps([row(number)]).encode()))


def csv(path, number):
    path.write_text(f"id,text\np-{number},放一首歌\n", encoding="utf-8")


def parquet(path, number):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row(number)]), path)


WRITE = {"jsonl": jsonl, "jsonl whole": whole, "csv": csv, "parquet": parquet}


def read(kind, pattern, **options):
    """Ids of the events, and why the others cannot be read."""
    name, told = kind.split()[0], []
    with contextlib.closing(find(name, pattern.parent)()) as source:
        source.open({"path": str(pattern), **options}, None)
        while batch := source.poll(5, 0):
            told += [event.get("id", event.get("why")) for event in batch.events]
    return told


@pytest.fixture(params=WRITE)
def folders(request, tmp_path):
    """The kind of file; a folder with one file of its own; and a secret file elsewhere."""
    kind, write = request.param, WRITE[request.param]
    drop, elsewhere = tmp_path / "drop", tmp_path / "elsewhere"
    drop.mkdir()
    elsewhere.mkdir()
    write(drop / "b.log", 1)
    write(elsewhere / "secret.log", 2)
    for path in (drop / "b.log", elsewhere / "secret.log"):
        os.utime(path, (1, 1))
    return kind, drop, elsewhere


def test_a_link_to_a_file_is_told_and_not_read(folders):
    kind, drop, elsewhere = folders
    (drop / "a.log").symlink_to(elsewhere / "secret.log")
    refused, own = sorted(read(kind, drop / "*.log"))
    assert (refused.endswith(WHY), own) == (True, "p-1")
    assert sorted(read(kind, drop / "*.log", links=True)) == ["p-1", "p-2"]


def test_a_link_to_a_folder_is_told_and_not_read(folders):
    kind, drop, elsewhere = folders
    (drop / "a").symlink_to(elsewhere)
    (drop / "b").mkdir()
    (drop / "b.log").rename(drop / "b" / "b.log")
    refused, own = sorted(read(kind, drop / "*" / "*.log"))
    assert (refused.endswith(WHY), own) == (True, "p-1")
    assert sorted(read(kind, drop / "*" / "*.log", links=True)) == ["p-1", "p-2"]


def test_a_file_that_is_named_is_no_link_either(folders):
    kind, drop, elsewhere = folders
    (drop / "a.log").symlink_to(elsewhere / "secret.log")
    (refused,) = read(kind, drop / "a.log")
    assert refused.endswith(WHY)
    assert read(kind, drop / "a.log", links=True) == ["p-2"]


def test_the_way_to_the_folder_may_be_a_link_for_the_configuration_names_it(folders, tmp_path):
    kind, drop, _ = folders
    (tmp_path / "logs").symlink_to(drop)
    assert read(kind, tmp_path / "logs" / "*.log") == ["p-1"]
    assert read(kind, tmp_path / "logs" / "b.log") == ["p-1"]


def test_whether_links_are_followed_is_said_by_true_or_false(tmp_path):
    for name in ("jsonl", "csv", "parquet"):
        with pytest.raises(FlywheelError, match="`links` is 'yes'"):
            find(name, tmp_path)().open({"path": "x", "links": "yes"}, None)


def test_folders_that_lead_back_to_themselves_have_an_end(folders):
    kind, drop, _ = folders
    (drop / "deep" / ".hidden").mkdir(parents=True)
    (drop / "b.log").rename(drop / "deep" / "b.log")
    for name in ("l1", "l2", "l3", "l4"):
        (drop / name).symlink_to(".")
    assert read(kind, drop / "**" / "*.log") == ["p-1"]
    assert read(kind, drop / "deep" / "**" / "b.log") == ["p-1"]
