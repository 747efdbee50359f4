"""One list says where a person's data may stand: it is deleted by that, and searched by it."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flywheel import curation
from flywheel.store import erasure, open_store
from flywheel.store.columns import first_row
from flywheel.store.erasure import Person
from flywheel.store.personal_columns import PLACES

_COLUMNS = """
    SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal
    AND table_name IN (SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND NOT internal)
    ORDER BY table_name, column_index
"""
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BRIEF = {"id": "b-1", "examples": [], "contrast": [], "slices": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("erase") / "flywheel.duckdb")
    yield store
    store.close()


class Undone(Exception):
    """Ends a transaction in which nothing is to stay."""


def test_every_text_column_of_the_schema_is_listed_and_no_other(store):
    with store.read() as con:
        schema: dict[str, list[str]] = {}
        for table, column, kind in con.execute(_COLUMNS).fetchall():
            schema.setdefault(table, [])
            if kind == "VARCHAR":
                schema[table].append(column)
    listed = {place.table: sorted(place.columns) for place in PLACES}
    assert listed == {table: sorted(columns) for table, columns in schema.items()}
    kept = {place.table for place in PLACES if place.action == "keep"}
    assert kept >= {"champions", "decisions", "decision_events"}  # nobody's erasure changes these


def person_of(kind, text):
    """A value that is the person's in a column of this kind; None for a kind that has none."""
    record = {"briefs": [{**BRIEF, "failed_texts": [text, "guten Morgen"]}]}
    prompt = {"messages": [{"content": "Read: " + json.dumps({"failed_texts": [text]})}]}
    return {
        "prediction": "p-1",
        "names": json.dumps(["p-1"]),
        "sample": "smp-1",
        "item": "item-1",
        "text": text,
        "quoting": f".91 near {curation.quoted(text)}",
        "rater": "u-1",
        "session": "s-1",
        "slices": json.dumps({"session": "s-1", "device": "car"}),
        "provenance": json.dumps({"prediction": "p-1"}),
        "record": json.dumps(record),
        "prompt": json.dumps(prompt),
        "line": json.dumps({"said": text}),
    }.get(kind)


def insert(con, table, columns, values, other="mine"):
    """Write a row; what is not named is `other`, or nothing."""
    row = {}
    for column, kind in columns.items():
        if column in values:
            row[column] = values[column]
        elif kind == "VARCHAR":
            documents = {"slices": "{}", "cursor": "{}", "request": "{}", "provenance": "{}"}
            documents |= {"aliases": "[]", "calls": "[]"}
            row[column] = "{}" if "arguments" in column else documents.get(column, other)
        elif kind.endswith("[]"):
            row[column] = []
        else:
            row[column] = NOW if kind == "TIMESTAMP" else 0
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    con.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", [*row.values()])


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@settings(max_examples=8)
@given(texts.map(str.strip).filter(bool))
@example("PASS")
@example("none")
@example('say "user" \\ twice')
@example("我要听音乐")
def test_what_a_person_left_is_gone_from_every_text_column_and_no_word_went_with_it(store, text):
    with store.read() as con:
        schema: dict[str, dict[str, str]] = {}
        for table, column, kind in con.execute(_COLUMNS).fetchall():
            schema.setdefault(table, {})[column] = kind
    with pytest.raises(Undone), store.write() as con:
        said = {"id": "p-1", "text": text, "session": "s-1", "rater": "u-1"}
        insert(con, "predictions", schema["predictions"], said)
        made = {"id": "smp-1", "text": text, "provenance": '{"prediction": "p-1"}'}
        insert(con, "samples", schema["samples"], made)
        queued = {"item": "item-1", "prediction": "p-1", "text": text}
        insert(con, "labels", schema["labels"], queued)
        kept = {}
        for place in PLACES:
            if place.action == "keep":
                continue  # the chain of decisions, and tables with nothing of anybody's
            words = [column for column, kind in place.columns.items() if kind == "word"]
            for column, kind in place.columns.items():
                value = person_of(kind, text)
                if value is not None:
                    insert(con, place.table, schema[place.table], {column: value})
            if words:  # somebody else's row, whose words happen to be what the person said
                other = dict.fromkeys(words, text)
                insert(con, place.table, schema[place.table], other, "theirs")
                kept[place.table] = words
        found = erasure.traces(con, Person(rater="u-1"))
        assert text in found.texts
        erasure.remove(con, found)
        assert erasure.left(con, found) == {}
        for table, words in kept.items():
            condition = " AND ".join(f"{word} = ?" for word in words)
            sql = f"SELECT count(*) FROM {table} WHERE {condition}"
            assert first_row(con, sql, [text] * len(words)) == (1,), table
        raise Undone
