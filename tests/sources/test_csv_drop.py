"""plugins/csv_drop.py, the example that people copy."""

import pytest

from flywheel.errors import FlywheelError, SourceUnavailable
from flywheel.sources import find
from flywheel.sources.conformance import check

HEADER = "id,ts,text,intent,confidence,slices.channel,slices.locale\n"


def row(number, text="放一首歌"):
    return f"p-{number},2026-11-22T05:17:00Z,{text},play_music,0.71,voice,zh-CN\n"


@pytest.fixture
def folder(tmp_path):
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "2026-11-21.csv").write_text(HEADER + "".join(row(n) for n in range(7)), "utf-8")
    (drop / "2026-11-22.csv").write_text(HEADER + "".join(row(n) for n in range(7, 12)), "utf-8")
    return drop


@pytest.fixture
def opened(plugins, folder):
    def open_at(cursor):
        source = find("csv_drop", plugins)()
        source.open({"folder": str(folder)}, cursor)
        return source

    return open_at


def test_it_keeps_the_contract(plugins, folder):
    def spoil():
        later = folder / "2026-11-23.csv"
        later.write_text(HEADER + "only,three,cells,too,many,for,this,row\n" + row(99), "utf-8")
        return event(99)

    checks = check(find("csv_drop", plugins), {"folder": str(folder)}, spoil=spoil)
    assert [each for each in checks if not each[1]] == []
    assert len(checks) == 11


def event(number, text="放一首歌"):
    return {
        "id": f"p-{number}",
        "ts": "2026-11-22T05:17:00Z",
        "text": text,
        "intent": "play_music",
        "confidence": 0.71,
        "slices": {"channel": "voice", "locale": "zh-CN"},
    }


def test_a_row_becomes_an_event_of_the_native_form(opened):
    assert opened(None).poll(1, 0).events == [event(0)]


def test_files_are_read_in_the_order_of_their_names_and_once(opened):
    source = opened(None)
    batches = []
    while batch := source.poll(5, 0):
        batches.append(batch)
    assert [e["id"] for b in batches for e in b.events] == [f"p-{n}" for n in range(12)]
    assert opened(batches[-1].cursor).poll(5, 0) is None


def test_an_empty_cell_is_a_field_that_is_not_there(opened, folder):
    (folder / "2026-11-22.csv").write_text("id,text,intent,confidence\np-1,hm,,\n", "utf-8")
    (folder / "2026-11-21.csv").unlink()
    assert opened(None).poll(5, 0).events == [{"id": "p-1", "text": "hm"}]


def test_text_in_a_column_of_numbers_is_left_for_the_daemon_to_reject(opened, folder):
    (folder / "2026-11-21.csv").write_text("id,confidence\np-1,high\n", "utf-8")
    assert opened(None).poll(1, 0).events == [{"id": "p-1", "confidence": "high"}]


def test_a_missing_folder_is_tried_again_later(opened, folder):
    source = opened(None)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(SourceUnavailable, match="is not a folder"):
        source.poll(5, 0)


def test_a_misspelt_option_is_named(plugins, folder):
    with pytest.raises(FlywheelError, match="fodler"):
        find("csv_drop", plugins)().open({"fodler": str(folder)}, None)


def test_another_encoding_a_semicolon_and_a_decimal_comma_are_read(plugins, folder):
    for file in folder.iterdir():
        file.unlink()
    text = "id;text;confidence\np-1;réveille-moi;0,9\n"
    (folder / "a.csv").write_bytes(text.encode("cp1252"))
    (folder / "b.csv").mkdir()
    source = find("csv_drop", plugins)()
    source.open({"folder": str(folder), "encoding": "cp1252"}, None)
    assert source.poll(5, 0).events == [{"id": "p-1", "text": "réveille-moi", "confidence": 0.9}]
    (told,) = source.poll(5, 0).events
    assert (told["unreadable"], "is a directory" in told["why"].lower()) == (
        str(folder / "b.csv"),
        True,
    )
    assert source.poll(5, 0) is None


def test_a_row_of_another_length_is_handed_on_as_unreadable(opened, folder):
    (folder / "2026-11-21.csv").write_text('id,text\np-1\np-2,"' + "x" * 200_000 + '"\n', "utf-8")
    bad, long = opened(None).poll(5, 0).events
    assert bad["unreadable"] == "p-1"
    assert bad["why"].endswith("has 1 cells where the header has 2 (wrong cell count)")
    assert len(long["text"]) == 200_000
