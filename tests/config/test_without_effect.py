"""What a configuration asks for in vain is said; the shipped one asks for nothing in vain."""

import pytest

from flywheel.config import Config, WatchTable, load, without_effect


@pytest.mark.parametrize("text", ["", "[watch]\n", '[watch]\nmode = "off"\n'])
def test_who_asked_for_nothing_is_told_nothing(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    assert without_effect(load(path)) == ()


@pytest.mark.parametrize("table", ['mode = "report"', 'mode = "rollback"', "alpha = 0.05"])
def test_who_asks_for_a_watch_is_told_that_nothing_watches(tmp_path, table):
    path = tmp_path / "config.toml"
    path.write_text(f"[watch]\n{table}\n", encoding="utf-8")
    (words,) = without_effect(load(path))
    assert "nothing watches a new champion yet" in words
    assert "flywheel adapters rollback" in words


def test_the_mode_that_is_set_is_named():
    (words,) = without_effect(Config(watch=WatchTable(mode="rollback")))
    assert 'mode = "rollback"' in words
