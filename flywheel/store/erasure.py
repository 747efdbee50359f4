"""What one person left in the tables: found, removed, and looked for again.

A text belongs to the person when nobody else's prediction or sample has it too. Sums of
predictions are corrected, so that they go on agreeing with the predictions.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flywheel.content import BASE64
from flywheel.store import archive, prediction_names, rejected, retention
from flywheel.store.columns import Connection, changed, first_row, pack, records, unpack

_SPOKEN = """
    WITH named AS (
        SELECT id FROM {predictions}
        WHERE id = $prediction OR starts_with(id, $prediction || '#')
            OR session = $session OR json_extract_string(slices, '$.session') = $session
            OR rater = $rater
        UNION
        SELECT prediction_id FROM aliases WHERE alias = $prediction
    ),
    -- What else was logged of the same exchanges.
    said AS (
        SELECT id FROM named
        UNION
        SELECT prediction_id FROM exchanges WHERE exchange IN (
            SELECT exchange FROM exchanges WHERE prediction_id IN (SELECT id FROM named)
        )
    )
    SELECT id, text FROM {predictions} WHERE id IN (SELECT id FROM said)
"""
# Names of nobody else: an alias of a whole trace may be of others too.
_ALIASES = """
    SELECT alias FROM aliases GROUP BY alias
    HAVING bool_and(list_contains($ids, prediction_id)) ORDER BY alias
"""
_SAMPLES = """
    SELECT id, text FROM samples
    WHERE list_contains($ids, json_extract_string(provenance, '$.prediction'))
        OR json_extract_string(provenance, '$.rater') = $rater
"""
_OTHERS = """
    SELECT text FROM {predictions} WHERE list_contains($texts, text) AND NOT list_contains($ids, id)
    UNION
    SELECT text FROM samples WHERE list_contains($texts, text) AND NOT list_contains($samples, id)
"""
_SUMS = """
    INSERT INTO daily
    SELECT date_trunc('day', ts), intent, adapter, slices, -sum(coalesce(answers, 1)) FROM {answers}
    WHERE list_contains($ids, id) GROUP BY ALL
"""
_LABEL_SUMS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, arguments_wrong),
        adapter, slices, -count(*)
    FROM judged WHERE list_contains($ids, prediction_id) OR rater = $rater GROUP BY ALL
"""
_ANSWERED = """
    list_contains($samples, sample)
    OR sample IN (SELECT id FROM samples WHERE list_contains($texts, text))
"""
_DELETIONS = {
    "evaluated_answers": _ANSWERED,  # before the samples, by which they are found
    "parity_differences": _ANSWERED,
    "champion_answers": "list_contains($ids, prediction_id)",
    "feedback": "list_contains($named, prediction_id) OR rater = $rater",
    "judged": "list_contains($ids, prediction_id) OR rater = $rater",
    "rejudged": "list_contains($ids, prediction_id) OR rater = $rater",
    "predictions": "list_contains($ids, id)",
    "scores": "list_contains($named, prediction_id) OR rater = $rater",
    "aliases": "list_contains($ids, prediction_id)",
    "exchanges": "list_contains($ids, prediction_id)",
    "superseded": "list_contains($ids, prediction_id)",
    "samples": "list_contains($samples, id) OR list_contains($texts, text)",
    "refusals": "list_contains($samples, id) OR list_contains($texts, text)",
    "golden_rows": "list_contains($samples, sample)",
    "retired_rows": "list_contains($samples, sample) OR list_contains($samples, learned_as)",
    "sample_answers": "list_contains($samples, sample)",
    "outcomes": "list_contains($samples, sample)",
    "label_effects": "list_contains($samples, sample) OR item IN (SELECT item FROM labels WHERE "
    "list_contains($ids, prediction) OR list_contains($texts, text) OR person = $rater)",
    "labels": "list_contains($ids, prediction) OR list_contains($texts, text) OR person = $rater",
}
_ANYWHERE = {"rejected": ("raw",), "teacher_answers": ("request", "response")}
_COLUMNS = """
    SELECT table_name, column_name FROM duckdb_columns()
    WHERE NOT internal AND data_type = 'VARCHAR' AND table_name IN (
        SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND NOT internal
    )
"""
_COUNT = """
    count(*) FILTER (
        list_contains($marks, "{column}")
        OR list_bool_or(list_transform($quoted, lambda q: contains("{column}", q)))
    )
"""
_SLICED = ("daily", "daily_labels")  # sums of times in which a session was a slice
_UNSLICE = """
    UPDATE {table} SET slices = json_merge_patch(slices, '{{"session": null}}')
    WHERE json_extract_string(slices, '$.session') = ?
"""
_ERASED = "[erased]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose data: one of the three."""

    prediction: str | None = None
    session: str | None = None  # of predictions; once it was a slice of that name
    rater: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What belongs to a person."""

    ids: list[str]  # of predictions
    named: list[str]  # by which feedback finds them: ids and aliases
    samples: list[str]  # ids of samples made of them
    texts: list[str]  # that nobody else has too
    rater: str | None
    session: str | None

    @property
    def marks(self) -> list[str]:
        """Values that must not be found any more."""
        people = [name for name in (self.rater, self.session) if name]
        return [*self.named, *self.samples, *self.texts, *people]


def traces(con: Connection, person: Person) -> Traces:
    """Find what belongs to a person."""
    asked = {
        "prediction": person.prediction,
        "session": person.session,
        "rater": person.rater,
    }
    predictions = archive.everything(con, "predictions")
    spoken = con.execute(_SPOKEN.format(predictions=predictions), asked).fetchall()
    ids = [key for key, _ in spoken]
    if person.prediction and person.prediction not in ids:
        ids.append(person.prediction)  # its feedback may be here without it
    made = con.execute(_SAMPLES, {"ids": ids, "rater": person.rater}).fetchall()
    texts = sorted({text for _, text in (*spoken, *made)})
    samples = [key for key, _ in made]
    asked_texts = {"texts": texts, "ids": ids, "samples": samples}
    others_of = _OTHERS.format(predictions=predictions)
    others = {text for (text,) in con.execute(others_of, asked_texts).fetchall()}
    own = [text for text in texts if text not in others]
    own_names = con.execute(_ALIASES, {"ids": ids}).fetchall()
    return Traces(
        ids=ids,
        named=[*ids, *(alias for (alias,) in own_names)],
        samples=samples,
        texts=own,
        rater=person.rater,
        session=person.session,
    )


def remove(con: Connection, found: Traces) -> dict[str, int]:
    """Remove what was found from every table and from the archive; returns the rows by table.

    After the commit, `archive.settle` puts the rewritten files in the place of the old ones.
    """
    everything: dict[str, Any] = {
        "ids": found.ids,
        "named": found.named,
        "samples": found.samples,
        "texts": found.texts,
        "rater": found.rater,
    }
    predictions = archive.everything(con, "predictions")
    answers = prediction_names.answers(prediction_names.standing(predictions))
    con.execute(_SUMS.format(answers=answers), {"ids": found.ids})
    con.execute(_LABEL_SUMS, {"ids": found.ids, "rater": found.rater})
    removed = {}
    for name, condition in _DELETIONS.items():
        bound = {key: value for key, value in everything.items() if f"${key}" in condition}
        removed[name] = changed(con, f"DELETE FROM {name} WHERE {condition}", bound)  # noqa: S608
        if name in archive.KINDS:
            removed[f"archive/{name}"] = retention.rewrite(con, name, condition, bound)
    for name, columns in _ANYWHERE.items():
        removed[name] = sum(_remove_lines(con, name, column, found.marks) for column in columns)
    removed["rejected"] += _remove_undecoded(con, found.marks)
    if found.session:
        removed["slices"] = sum(_unslice(con, table, found.session) for table in _SLICED)
    removed["turns"] = _scrub_turns(con, found.marks)
    return {name: count for name, count in removed.items() if count}


def left(con: Connection, found: Traces) -> dict[str, int]:
    """Search every text of every table again; rows still found by "table.column"."""
    rows: dict[str, int] = {}
    asked = {"marks": found.marks, "quoted": list(_quoted(found.marks))}
    for name, table, columns in _texts(con):
        counts = ", ".join(_COUNT.format(column=column) for column in columns)
        counted = first_row(con, f"SELECT {counts} FROM {table}", asked) or ()  # noqa: S608  own names
        rows |= {
            f"{name}.{column}": int(count)
            for column, count in zip(columns, counted, strict=True)
            if count
        }
    return rows


def _texts(con: Connection) -> Iterator[tuple[str, str, list[str]]]:
    """Every text there is: what it belongs to, that in SQL, and its columns."""
    columns: dict[str, list[str]] = {}
    for table, column in con.execute(_COLUMNS).fetchall():
        columns.setdefault(table, []).append(column)
    for table, names in columns.items():
        yield table, f'"{table}"', names
        if table in archive.KINDS and (paths := archive.paths(con, table)):
            yield f"archive/{table}", archive.rows_of_files(table, paths), names


def _remove_lines(con: Connection, name: str, column: str, marks: Collection[str]) -> int:
    """Delete rows whose JSON has one of the marks as a value of its own, or names it in a text."""
    condition = f"list_bool_or(list_transform($quoted, lambda q: contains({column}, q)))"
    return changed(con, f"DELETE FROM {name} WHERE {condition}", {"quoted": [*_quoted(marks)]})  # noqa: S608


def _unslice(con: Connection, table: str, session: str) -> int:
    return changed(con, _UNSLICE.format(table=table), [session])


def _remove_undecoded(con: Connection, marks: Collection[str]) -> int:
    """Delete rejected lines that are no UTF-8 and have a mark among their bytes."""
    sought = [mark.encode() for mark in marks]
    lines = [line for line in rejected.listed(con) if line.encoding == BASE64]
    found = [line.id for line in lines if any(mark in line.content for mark in sought)]
    return rejected.forget(con, found)


def _quoted(marks: Iterable[str]) -> Iterable[str]:
    """A mark as JSON writes it, and as JSON within JSON does."""
    for mark in marks:
        for once in {json.dumps(mark), json.dumps(mark, ensure_ascii=False)}:
            yield once
            yield json.dumps(once, ensure_ascii=False)[1:-1]


def _scrub_turns(con: Connection, marks: Collection[str]) -> int:
    """Take the marks out of what turns remember, such as failed texts in briefs."""
    touched = 0
    for row in records(con, "SELECT id, cursor FROM turns"):
        kept = pack(_scrubbed(unpack(row["cursor"]), frozenset(marks)))
        if kept != row["cursor"]:
            con.execute("UPDATE turns SET cursor = ? WHERE id = ?", [kept, row["id"]])
            touched += 1
    return touched


def _scrubbed(value: Any, marks: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {key: _scrubbed(item, marks) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrubbed(item, marks) for item in value]
    return _ERASED if isinstance(value, str) and value in marks else value
