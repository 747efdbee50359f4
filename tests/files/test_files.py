"""A file is the old one or the new one, whole, whatever fails in between."""

import errno
import hashlib
import io
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from flywheel import files


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def failing(*_):
    raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def calls(monkeypatch):
    """What is synced and renamed, in order; a descriptor by the name of what it is open on."""
    noted = []
    sync, replace = os.fsync, os.replace

    def fsync(handle):
        noted.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        sync(handle)

    def renamed(source, to):
        noted.append(f"rename to {Path(to).name}")
        replace(source, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed)
    return noted


def test_a_file_is_synced_renamed_and_its_folder_synced_in_this_order(tmp_path, calls):
    files.write_json(tmp_path / "result.json", {"text": "我要听音乐"})
    assert calls == ["sync .result.json.tmp", "rename to result.json", f"sync {tmp_path.name}"]
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert text == '{"text": "我要听音乐"}'
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failure_before_the_rename_leaves_the_old_file_and_nothing_beside_it(
    tmp_path, monkeypatch, broken
):
    path = tmp_path / "worker.json"
    files.write_json(path, {"pid": 1})
    monkeypatch.setattr(os, broken, failing)
    with pytest.raises(OSError, match="Input/output"):
        files.write_json(path, {"pid": 2})
    assert json.loads(path.read_text()) == {"pid": 1}
    assert names(tmp_path) == ["worker.json"]


def test_an_error_while_it_is_written_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as staged:
        staged.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["rows.parquet"]


def test_what_a_crash_left_half_written_is_no_obstacle(tmp_path):
    path = tmp_path / "rows.parquet"
    (tmp_path / ".rows.parquet.tmp").write_text("half")
    with files.replacing(path) as staged:
        staged.write_text("new")
    assert names(tmp_path) == ["rows.parquet"]
    assert path.read_text() == "new"


def test_a_file_keeps_the_permissions_of_the_one_it_replaces(tmp_path):
    path = tmp_path / "flywheel.duckdb"
    path.write_text("old")
    path.chmod(0o640)
    written = tmp_path / "fresh"
    written.write_text("new")
    written.chmod(0o600)
    files.replace(written, path)
    assert (path.read_text(), mode(path)) == ("new", 0o640)
    with files.replacing(path) as staged:
        staged.write_text("newer")
    assert mode(path) == 0o640


def test_a_new_file_has_the_permissions_it_was_written_with(tmp_path):
    with files.replacing(tmp_path / "new") as staged:
        staged.write_text("x")
        staged.chmod(0o604)
    assert mode(tmp_path / "new") == 0o604


def test_a_cache_is_whole_and_not_synced_and_each_process_writes_its_own(tmp_path, calls):
    with files.replacing(tmp_path / "states", durable=False) as staged:
        staged.write_text("x")
        assert str(os.getpid()) in staged.name
    assert calls == ["rename to states"]
    assert names(tmp_path) == ["states"]


def test_a_tree_is_synced_from_its_leaves_to_its_own_name(tmp_path, calls):
    adapter = tmp_path / "adapter"
    (adapter / "more").mkdir(parents=True)
    (adapter / "more" / "weights").write_text("x")
    (adapter / "card").write_text("x")
    (adapter / "link").symlink_to("nowhere")
    files.sync_tree(adapter)
    assert calls == [
        "sync weights",
        "sync more",
        "sync card",
        "sync adapter",
        f"sync {tmp_path.name}",
    ]


def test_a_move_is_on_disk_in_both_folders(tmp_path, calls):
    (tmp_path / "job" / "adapter").mkdir(parents=True)
    (tmp_path / "adapters").mkdir()
    files.move(tmp_path / "job" / "adapter", tmp_path / "adapters" / "a-1")
    assert calls == ["sync adapters", "sync job"]
    assert (tmp_path / "adapters" / "a-1").is_dir()


def test_an_open_file_is_on_disk_after_a_flush(tmp_path, calls):
    with (tmp_path / "copy").open("wb") as file:
        file.write(b"x")
        files.flush(file)
        assert (tmp_path / "copy").read_bytes() == b"x"
    assert calls == ["sync copy"]


# What is in a folder


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "weights").write_bytes(b"1" * 3_000_000)  # more than one block
    (made / "deep" / "notes").write_bytes(b"")
    return made


def test_every_file_is_hashed_by_its_content_wherever_it_lies(folder):
    assert files.hashes(folder) == {
        "deep/notes": hashlib.sha256(b"").hexdigest(),
        "weights": hashlib.sha256(b"1" * 3_000_000).hexdigest(),
    }
    copy = shutil.copytree(folder, folder.with_name("copy"))
    assert files.differences(files.hashes(folder), files.hashes(copy)) == []


def test_each_way_in_which_a_folder_changes_is_named(folder):
    before = files.hashes(folder)
    (folder / "weights").write_bytes(b"1" * 2_999_999 + b"2")
    (folder / "deep" / "notes").unlink()
    (folder / "more").write_bytes(b"")
    (folder / "side").symlink_to("weights")
    (folder / "out").symlink_to("/tmp", target_is_directory=True)
    (folder / "lost").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")  # would wait for a writer for ever
    assert files.differences(before, files.hashes(folder)) == [
        "deep/notes is missing",
        "lost is a link",
        "more was added",
        "out is a link",
        "pipe is no plain file",
        "side is a link",
        "weights changed",
    ]


def test_a_link_in_the_place_of_a_file_is_a_change_whatever_it_points_to(folder):
    before = files.hashes(folder)
    (folder / "weights").rename(folder.with_name("elsewhere"))
    (folder / "weights").symlink_to("../elsewhere")
    assert files.differences(before, files.hashes(folder)) == ["weights is a link"]


@pytest.mark.parametrize("how", ["replaced", "written", "removed"])
def test_a_file_that_changes_while_it_is_read_has_no_hash(folder, monkeypatch, how):
    before = files.hashes(folder)
    path, read = folder / "weights", io.FileIO.read
    acts = {
        "replaced": lambda: shutil.copy(path, folder / "new") and (folder / "new").replace(path),
        "written": lambda: path.write_bytes(b"2" * 3_000_001),
        "removed": path.unlink,
    }

    class Raced(io.FileIO):
        def read(self, size=-1):
            block = read(self, size)
            if not block and path.name == "weights" and acts:
                acts.pop(how)()
                acts.clear()
            return block

    monkeypatch.setattr(files.os, "fdopen", lambda handle, *_, **__: Raced(handle))
    (folder / "deep" / "notes").unlink()
    del before["deep/notes"]
    assert files.differences(before, files.hashes(folder)) == [
        "weights was replaced while it was read"
    ]


def test_a_sparse_file_of_terabytes_takes_no_time(folder):
    before = files.hashes(folder)
    for name in ("weights", "more"):
        with (folder / name).open("ab") as file:
            file.truncate(1 << 42)
    assert files.differences(before, files.hashes(folder, before)) == [
        "more was added",
        "weights is too large",
    ]


def test_a_folder_that_is_not_there_has_no_hashes(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.hashes(tmp_path / "nowhere")
