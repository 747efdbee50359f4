"""Which source a configured name stands for."""

import sys

import pytest

from flywheel.errors import ConfigError
from flywheel.sources import available, find
from flywheel.sources.runner import BUILT_IN

MINE = "class Mine: ...\ndef source(): return Mine()\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution with two entry points: a module, and the function itself."""
    site = tmp_path / "site"
    info = site / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[flywheel.sources]\nrabbit = stranger\nqueue = stranger:source\nbroken = no_such_module\n"
    )
    (site / "stranger.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("stranger", None)


def test_a_built_in_source_needs_no_folder(tmp_path):
    assert type(find("jsonl", tmp_path / "absent")()).__name__ == "JsonLines"


@pytest.mark.parametrize("name", ["mine", "plugins/mine.py"])
def test_a_file_in_the_folder_is_found_by_its_name(tmp_path, name):
    (tmp_path / "mine.py").write_text(MINE)
    assert type(find(name, tmp_path)()).__name__ == "Mine"


@pytest.mark.parametrize("name", ["rabbit", "queue"])
def test_an_entry_point_is_found_by_its_name(package, tmp_path, name):
    assert type(find(name, tmp_path)()).__name__ == "Mine"


def test_what_could_be_configured_is_listed_without_being_imported(package, tmp_path):
    (tmp_path / "rabbit.py").write_text("raise SystemExit\n")
    assert [(each.name, each.kind) for each in available(tmp_path)] == [
        *((name, "built-in") for name in BUILT_IN),
        ("rabbit", "plugins/"),
        ("broken", "entry point"),
        ("queue", "entry point"),
    ]
    assert "stranger" not in sys.modules


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent", "no source is called `absent`"),
        ("../etc/passwd", "is no name of a plug-in"),
        ("a/b", "is no name of a plug-in"),
        ("no_source", "offers no `source\\(\\)`"),
        ("fails", "fails on import: ZeroDivisionError"),
        ("broken", "fails on import: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(package, tmp_path, name, why):
    (tmp_path / "no_source.py").write_text("")
    (tmp_path / "fails.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=why):
        find(name, tmp_path)
