"""What a configuration asks for in vain is said; the shipped one asks for nothing in vain."""

import pytest

from flywheel.config import load, without_effect


@pytest.mark.parametrize("text", ["", "[watch]\n", '[watch]\nmode = "off"\n'])
def test_who_asked_for_nothing_is_told_nothing(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    assert without_effect(load(path)) == ()


@pytest.mark.parametrize("text", ['kind = "link"', 'kind = "local"', "canary = 0.5"])
def test_a_watch_of_two_champions_is_in_effect(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(f'[watch]\nmode = "report"\n[serving]\n{text}\n', encoding="utf-8")
    assert without_effect(load(path)) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('kind = "directory"\ndirectory = "there"', 'kind is "directory"'),
        ("canary = 0.0", "canary is 0"),
    ],
)
def test_who_asks_for_a_watch_of_one_champion_is_told(tmp_path, text, why):
    path = tmp_path / "config.toml"
    path.write_text(f'[watch]\nmode = "rollback"\n[serving]\n{text}\n', encoding="utf-8")
    (words,) = without_effect(load(path))
    assert words.startswith('[watch] mode is "rollback", but there is nothing to compare with: ')
    assert why in words
