"""Text on a terminal: its width, its breaks, and what may not reach it."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flywheel.cli import screen
from flywheel.cli.screen import Column, table
from flywheel.cli.text import (
    clean,
    counted,
    cut,
    moment,
    number,
    pad,
    plural,
    share,
    signed,
    span,
    width,
    wrap,
)

texts = st.text(max_size=60)
columns = st.integers(min_value=2, max_value=30)


@given(texts)
def test_what_is_cleaned_has_no_control_character(text):
    cleaned = clean(text)
    assert not [c for c in cleaned if ord(c) < 32 or 127 <= ord(c) < 160]
    cleaned.encode()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"]), max_size=40))
def test_words_are_left_as_they_are(text):
    assert clean(text) == text


@given(texts, columns)
def test_wrapping_keeps_every_character_and_never_exceeds_the_width(text, room):
    lines = wrap(clean(text), room)
    assert all(width(line) <= room for line in lines)
    assert "".join("".join(lines).split()) == "".join(clean(text).split())


@given(texts, columns)
def test_cutting_keeps_within_the_width(text, room):
    assert width(cut(clean(text), room)) <= room


@given(texts, columns)
def test_padding_fills_up_to_the_width(text, room):
    assert width(pad(cut(clean(text), room), room)) == room


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc", 3), ("音乐", 4), ("é", 1), ("e\u0301", 1), ("ａ", 2), ("", 0), ("…", 1)],
)
def test_width(text, expected):
    assert width(text) == expected


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_every_line_of_a_table_fits_and_starts_its_columns_at_one_place(rows):
    heads = (Column(title="a", least=10), Column(title="b", least=10))
    cells = [[clean(a), clean(b)] for a, b in rows]
    assert all(cell_len(line) <= 80 for line in table(heads, cells))


def test_wide_characters_stay_aligned():
    heads = (Column(title="intent"), Column(title="n", right=True))
    assert table(heads, [["播放音乐", "7"], ["set_alarm", "12"]]) == [
        "intent      n",
        "播放音乐    7",
        "set_alarm  12",
    ]


def test_a_note_goes_below_its_row():
    assert table((Column(title="gate"),), [["overall"]], notes=["31 won"], indent="  ") == [
        "  gate",
        "  overall",
        "      31 won",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.21, "0.2 s"),
        (48, "48 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (349_200, "4 d 1 h"),
    ],
)
def test_span(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-11-22T05:17:42Z", "2026-11-22 05:17 UTC"),
        ("2026-11-22T05:17:42+08:00", "2026-11-21 21:17 UTC"),
        (None, "-"),
        ("soon\x07", r"soon\x07"),
    ],
)
def test_moment_is_utc(value, text):
    assert moment(value) == text


def test_numbers():
    assert [number(v) for v in (None, 1204, 0.00123456, 20.0, 1.5e7, "x")] == [
        "-",
        "1,204",
        "0.00123",
        "20",
        "1.5e+07",
        "x",
    ]
    assert (share(0.1234), share(None), signed(-0.05), signed(None)) == (
        "12.3 %",
        "-",
        "-5.0 pt",
        "-",
    )
    assert (plural(1, "query", "queries"), plural(2000, "turn")) == ("1 query", "2,000 turns")
    assert counted({"a": 1, "b": 2}) == "b 2, a 1"


def test_markup_and_emoji_codes_of_a_text_are_shown_as_they_are():
    text = "[bold red]x[/] :smile: [link=http://a]b[/link]"
    assert table((Column(title="text"),), [[text]], notes=[text]) == ["text", text, f"    {text}"]


def test_a_verdict_is_coloured_on_a_terminal_and_its_padding_is_not(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setattr(screen.sys, "stdout", Terminal())
    lines = table((Column(title="gate"), Column(title="verdict")), [["overall", "PASS"]])
    assert lines == ["gate     verdict", "overall  \x1b[32mPASS\x1b[0m"]


class Terminal(StringIO):
    """What the screen asks of a stream."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "\x1b[32mPASS\x1b[0m"), ({"NO_COLOR": "1"}, "PASS"), ({"TERM": "dumb"}, "PASS")],
)
def test_colour_on_a_terminal_only_and_never_with_no_color(monkeypatch, environment, expected):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    assert screen.paint("PASS") == "PASS"
    monkeypatch.setattr(screen.sys, "stdout", Terminal())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert screen.paint("PASS") == expected


def test_json_on_a_terminal_is_the_same_json_without_what_steers_it(monkeypatch, capsys):
    written = []
    monkeypatch.setattr(screen.sys, "stdout", Terminal())
    monkeypatch.setattr(screen.typer, "echo", written.append)
    screen.raw_json('{"a": "\x9b\u202e乐"}\n'.encode())
    assert written == [r'{"a": "\u009b\u202e乐"}']


def test_progress_on_a_terminal_leaves_a_clean_line_and_a_cursor(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(screen.sys, "stderr", Terminal())
    progress = screen.ProgressLine()
    progress.show("[bold]half\x1b[2J")
    progress.clear()
    progress.clear()
    written = screen.sys.stderr.getvalue()
    assert r"[bold]half\x1b[2J" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert written.endswith("\x1b[2K")


def test_progress_is_silent_where_there_is_no_terminal(capsys):
    progress = screen.ProgressLine()
    progress.show("half")
    progress.clear()
    assert capsys.readouterr() == ("", "")
