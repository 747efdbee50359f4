"""CSV: the delimiter is found, long cells are read, and a stray quote costs its own row only."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import FlywheelError
from flywheel.file_records.csv_rows import table


def rows(data, **options):
    return [row.cells or row.why for row in table(io.BytesIO(data), **options).rows]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)


@given(st.lists(st.tuples(st.just("x"), cells, cells), max_size=6), st.sampled_from(",;\t|"))
def test_what_a_writer_writes_is_read_whatever_the_delimiter(written, delimiter):
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([("id", "text", "intent"), *written])
    read = table(io.BytesIO(file.getvalue().encode()))
    assert read.delimiter == delimiter
    assert [tuple(row.cells.values()) for row in read.rows] == written


@given(st.binary(max_size=300))
def test_any_bytes_end_without_a_traceback(data):
    rows(b"id,text\n" + data)
    try:
        rows(data)
    except FlywheelError as error:
        assert error.message  # noqa: PT017


def test_a_quote_that_nobody_closes_costs_no_other_row():
    data = b'id,text\na,"open\nb,hi\nc,"x ""y"""\nd,"two\nlines"\n'
    assert rows(data) == [
        {"id": "a", "text": "open"},
        {"id": "b", "text": "hi"},
        {"id": "c", "text": 'x "y"'},
        {"id": "d", "text": "two\nlines"},
    ]


def test_a_row_of_another_length_is_bad_and_empty_cells_at_its_end_are_not():
    assert rows(b"id,text\na,b,c\nd,e,,\n,,,\nf\n") == [
        "has 3 cells where the header has 2 (wrong cell count)",
        {"id": "d", "text": "e"},
        "has 1 cells where the header has 2 (wrong cell count)",
    ]


def test_a_long_cell_is_read_and_one_without_end_is_not():
    assert rows(b"id,text\na,%s\nb,c\n" % (b"x" * 200_000))[1] == {"id": "b", "text": "c"}
    assert rows(b"id,text\na,%s\nb,c\n" % (b"x" * 1_100_000)) == [
        "field larger than field limit (1048576)",
        {"id": "b", "text": "c"},
    ]


def test_a_row_in_another_encoding_keeps_its_bytes():
    data = "id,text\na,六点叫我\nb,hi\n".encode("gbk")
    bad, good = table(io.BytesIO(data)).rows
    assert (bad.raw, bad.why) == ("a,六点叫我".encode("gbk"), "is not UTF-8; name its encoding")
    assert good.cells == {"id": "b", "text": "hi"}
    assert rows(data, encoding="gbk")[0] == {"id": "a", "text": "六点叫我"}


@pytest.mark.parametrize(
    "data",
    [
        b"sep=;\r\nid;text\r\na;b\r\n",
        b"id,text\ra,b\r",
        b"\xef\xbb\xbfid;text;\na;b;\n",
        "id\ttext\na\tb\n".encode("utf-16"),
        b'\n\n"id"|"text"\n"a"|"b"\n',
    ],
)
def test_forms_that_spreadsheets_write_are_read(data):
    assert rows(data) == [{"id": "a", "text": "b"}]


@pytest.mark.parametrize(
    ("data", "options", "why"),
    [
        (b"", {}, "no header"),
        (b"a,b,a\n1,2,3", {}, "the column `a` occurs twice"),
        (b"a,b", {"delimiter": "::"}, "`::` is no delimiter"),
    ],
)
def test_what_is_no_table_is_refused_by_name(data, options, why):
    with pytest.raises(FlywheelError, match=why):
        table(io.BytesIO(data), **options)
