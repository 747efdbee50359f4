"""Which adapter a server answers with where nobody orders it: the link's, or the one on a shelf."""

import pytest
from word_service import adapter_folder

from flywheel.config import Config, FlywheelTable, ServingTable
from flywheel.errors import ConfigError, NotLoaded, ServingAway
from flywheel.inference.following import first, named_by
from flywheel.serving.directory import Directory
from flywheel.serving.link import ChampionLink
from flywheel.serving.shelf import shelf_at


def config(folder, **options):
    return Config(
        path=folder / "config.toml",
        flywheel=FlywheelTable(state_dir="state"),
        serving=ServingTable(**options),
    )


@pytest.fixture
def daemon(tmp_path):
    """What the daemon elsewhere puts onto the shelf in `tmp_path / "shelf"`."""
    for name in ("a-1", "a-2"):
        adapter_folder(tmp_path / "there", name)
    shelf = shelf_at(str(tmp_path / "shelf"))
    return Directory(tmp_path / "there" / "adapters", shelf, tmp_path / "there" / "daemon-id")


def test_the_adapter_on_a_shelf_is_fetched_and_followed(tmp_path, daemon):
    named, _ = named_by(config(tmp_path, kind="directory", directory="shelf"))
    adapters = tmp_path / "state" / "adapters"
    assert named() is None
    for name in ("a-1", "a-2"):
        daemon.promote(name)
        assert named() == name
        assert (adapters / name / "flywheel.json").exists()
        assert ChampionLink(adapters).serving() == name
    daemon.retire()
    assert named() is None
    assert ChampionLink(adapters).serving() is None


def test_a_file_that_is_not_the_published_one_is_not_taken(tmp_path, daemon):
    named, _ = named_by(config(tmp_path, kind="directory", directory="shelf"))
    daemon.promote("a-1")
    (tmp_path / "shelf" / "a-1" / "flywheel.json").write_text("{}")
    with pytest.raises(NotLoaded):
        named()
    assert not (tmp_path / "state" / "adapters" / "a-1").exists()


def test_where_the_shelf_is_away_it_starts_with_what_answered_last(tmp_path, daemon):
    named, _ = named_by(config(tmp_path, kind="directory", directory="shelf"))
    daemon.promote("a-1")
    named()
    (tmp_path / "shelf").rename(tmp_path / "elsewhere")
    (tmp_path / "shelf").write_text("no folder")
    with pytest.raises(ServingAway):
        named()
    assert first(named, tmp_path / "state" / "adapters") == "a-1"


def test_the_link_is_followed_where_it_is_the_kind_and_orders_are_awaited_where_they_come(tmp_path):
    adapter_folder(tmp_path / "state", "a-1")
    named, _ = named_by(config(tmp_path))
    assert named() is None
    ChampionLink(tmp_path / "state" / "adapters").promote("a-1")
    assert named() == "a-1"
    assert named_by(config(tmp_path, kind="local")) is None
    with pytest.raises(ConfigError) as refused:
        named_by(config(tmp_path, kind="directory"))
    assert refused.value.message == "[serving] directory is empty, and kind is directory"
