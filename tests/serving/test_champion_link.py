"""The link to the champion is there or not, and never half."""

import threading

import pytest

from flywheel.errors import NotFound
from flywheel.serving import ChampionLink


@pytest.fixture
def adapters(tmp_path):
    for name in ("a-1", "a-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flywheel.json").write_text(name)
    return tmp_path


def test_nothing_is_served_at_first(adapters):
    assert ChampionLink(adapters).serving() is None


def test_a_promoted_adapter_is_read_through_the_link(adapters):
    link = ChampionLink(adapters)
    link.promote("a-1")
    link.promote("a-2")
    link.promote("a-2")
    assert link.serving() == "a-2"
    assert (adapters / "champion" / "flywheel.json").read_text() == "a-2"
    assert sorted(path.name for path in adapters.iterdir()) == ["a-1", "a-2", "champion"]


def test_the_link_moves_with_its_folder(adapters, tmp_path):
    ChampionLink(adapters).promote("a-1")
    moved = adapters.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert (moved / "champion" / "flywheel.json").read_text() == "a-1"


def test_a_reader_always_finds_an_adapter(adapters):
    link = ChampionLink(adapters)
    link.promote("a-1")
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add((adapters / "champion" / "flywheel.json").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        link.promote("a-2")
        link.promote("a-1")
    stop.set()
    reader.join()
    assert seen <= {"a-1", "a-2"}


@pytest.mark.parametrize("name", ["a-3", "gpt-4", "", "..", "champion", "../x", "a-1/.."])
def test_what_has_no_folder_cannot_be_served(adapters, name):
    with pytest.raises(NotFound, match="has no folder"):
        ChampionLink(adapters).promote(name)


def test_what_a_crash_left_behind_is_no_obstacle(adapters):
    import os

    (adapters / f".champion.{os.getpid()}").symlink_to("a-1")
    ChampionLink(adapters).promote("a-2")
    assert ChampionLink(adapters).serving() == "a-2"


def test_retired_it_serves_none_and_can_serve_again(adapters):
    link = ChampionLink(adapters)
    link.retire()
    link.promote("a-1")
    link.retire()
    assert link.serving() is None
    assert not (adapters / "champion").is_symlink()
    link.promote("a-1")
    assert link.serving() == "a-1"
