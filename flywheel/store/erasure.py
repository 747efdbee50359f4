"""What one person left in the tables: found, removed, and looked for again.

`personal_columns` lists where it may stand; what is removed and what is searched both follow that
list. A text belongs to the person when nobody else's prediction or sample has it too. Sums of
predictions are corrected, so that they go on agreeing with the predictions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from flywheel import content, curation
from flywheel.store import archive, json_paths, prediction_names, rejected, retention
from flywheel.store.columns import (
    Connection,
    changed,
    first_row,
    pack,
    records,
    unpack,
    unpack_or_none,
)
from flywheel.store.personal_columns import (
    FOUND_BY,
    PLACES,
    PROMPT,
    RECORD,
    WORDS,
    Kind,
    PersonalTable,
)

ERASED = "[erased]"

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
# Labels are read as training reads them: text, right intent, arguments, by whom.
_LABELS = """
    SELECT text, truth_of(verdict, predicted, intent) AS truth,
        CASE WHEN verdict = 'correct' THEN predicted_arguments ELSE arguments END AS arguments,
        coalesce(list_contains($ids, prediction_id) OR rater = $rater, false) AS own
    FROM judged WHERE part = 0 AND truth IS NOT NULL
    QUALIFY bool_or(own) OVER (PARTITION BY text)
"""
_OTHERS = """
    SELECT text FROM {predictions} WHERE list_contains($texts, text) AND NOT list_contains($ids, id)
    UNION
    SELECT text FROM samples WHERE list_contains($texts, text) AND NOT list_contains($samples, id)
"""
_WRITTEN = "SELECT id, text, provenance FROM samples WHERE origin = 'teacher'"
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
    FROM judged WHERE {condition} GROUP BY ALL
"""
_UNSLICE = """
    UPDATE {table} SET slices = json_merge_patch(slices, '{{"session": null}}')
    WHERE json_extract_string(slices, '$.session') = ?
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whose data: one of the three."""

    prediction: str | None = None
    session: str | None = None  # of predictions; once it was a slice of that name
    rater: str | None = None


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What belongs to a person."""

    ids: Sequence[str]  # of predictions
    named: Sequence[str]  # by which feedback finds them: ids and aliases
    samples: Sequence[str]  # ids of samples made of them, and of those a teacher wrote from them
    shared: Sequence[str]  # ids of samples that others' labels make too: learned, and not removed
    items: Sequence[str]  # of the labelling queue
    requests: Sequence[str]  # to the teacher, by which samples were written
    texts: Sequence[str]  # that nobody else has too
    redacted: Sequence[str]  # the same as a teacher was shown them
    rater: str | None
    session: str | None

    @cached_property
    def marks(self) -> frozenset[str]:
        """Values that are the person's wherever a text of somebody may stand."""
        people = [name for name in (self.rater, self.session) if name]
        return frozenset((*self.named, *self.samples, *self.texts, *people))

    @cached_property
    def quotes(self) -> tuple[str, ...]:
        """The texts as reasons and details quote them, and those as JSON writes them."""
        plain = map(curation.quoted, self.texts)
        return tuple(dict.fromkeys(form for quote in plain for form in (quote, *_in_json(quote))))

    @cached_property
    def bound(self) -> dict[str, Any]:
        """Values of the parameters of `personal_columns.FOUND_BY`."""
        return {
            "named": list(self.named),
            "samples": list(self.samples),
            "items": list(self.items),
            "requests": list(self.requests),
            "texts": list(self.texts),
            "quotes": list(self.quotes),
            "rater": self.rater,
            "session": self.session,
        }

    def of(self, kind: str) -> frozenset[str]:
        """Values that are the person's where a document has this kind of value."""
        if kind in ("rater", "session"):
            value = self.rater if kind == "rater" else self.session
            return frozenset([value] if value else ())
        return frozenset(self.named if kind == "prediction" else self.bound[f"{kind}s"])

    def has(self, kind: str, value: Any) -> bool:
        """Whether a value in a document is, or quotes, the person's."""
        if not isinstance(value, str):
            return False
        if kind == "quoting":
            return any(quote in value for quote in self.quotes)
        if kind == "phrase":
            parts = [content.text_key(part.strip("… ")) for part in value.split(" / ")]
            return any(part and part in said for part in parts for said in self._keys)
        return value in self.of(kind)

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        return tuple(map(content.text_key, self.texts))


def _as_they_are(texts: Sequence[str]) -> Sequence[str]:
    return texts


def traces(
    con: Connection,
    person: Person,
    redacted: Callable[[Sequence[str]], Sequence[str]] = _as_they_are,
) -> Traces:
    """Find what belongs to a person; `redacted` gives texts as a teacher is shown them."""
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
    named = [*ids, *(alias for (alias,) in con.execute(_ALIASES, {"ids": ids}).fetchall())]
    labelled, shared = _labelled(con, ids, person.rater)
    found = Traces(
        ids=ids,
        named=named,
        samples=sorted(labelled),
        shared=sorted(shared),
        items=(),
        requests=(),
        texts=(),
        redacted=(),
        rater=person.rater,
        session=person.session,
    )
    made = _found(con, found, "samples", "id, text")
    found = _with(con, found, {*(text for _, text in spoken), *(text for _, text in made)}, made)
    written, requests = _written(con, found)
    found = _with(con, replace(found, requests=sorted(requests)), {*found.texts, *written.values()},
                  written.items())  # fmt: skip
    items = {item for (item,) in _found(con, found, "labels", "item")}
    shown = dict.fromkeys([*found.texts, *redacted(found.texts)])
    return replace(found, items=sorted(items), redacted=tuple(shown))


def _with(
    con: Connection, found: Traces, texts: Iterable[str], made: Iterable[tuple[str, str]]
) -> Traces:
    """The traces with more samples, and with those of the texts that nobody else has."""
    samples = sorted({*found.samples, *(key for key, _ in made)})
    said = {"texts": sorted({*texts}), "ids": list(found.ids), "samples": samples}
    sql = _OTHERS.format(predictions=archive.everything(con, "predictions"))
    others = {text for (text,) in con.execute(sql, said).fetchall()}
    own = [text for text in said["texts"] if text not in others]
    return replace(found, samples=samples, texts=own)


def _found(con: Connection, found: Traces, table: str, columns: str) -> list[tuple[Any, ...]]:
    """Columns of the rows of a table that are the person's by what is known so far."""
    place = next(place for place in PLACES if place.table == table)
    condition = place.condition()
    sql = f"SELECT {columns} FROM {table} WHERE {condition}"  # noqa: S608  own names
    return con.execute(sql, _bound(found, condition)).fetchall()


def _labelled(con: Connection, ids: list[str], rater: str | None) -> tuple[set[str], set[str]]:
    """Ids of the training samples that the person's labels make: alone, and beside others'."""
    own: dict[bool, set[str]] = {True: set(), False: set()}
    for row in records(con, _LABELS, {"ids": ids, "rater": rater}):
        arguments = unpack_or_none(row["arguments"]) or None
        own[row["own"]].add(
            content.sample_id(row["text"], row["truth"], arguments, "feedback", "train")
        )
    return own[True] - own[False], own[True] & own[False]


def _written(con: Connection, found: Traces) -> tuple[dict[str, str], set[str]]:
    """Texts, by id, that a teacher wrote after it was shown one of the person's; the requests."""
    texts = frozenset(found.texts)
    shown = set()
    for row in records(con, "SELECT id, cursor FROM turns"):
        for brief in unpack(row["cursor"]).get("briefs", ()):
            quoted = {*brief["failed_texts"], *brief["examples"], *brief["contrast"]}
            if texts & quoted:
                shown.add((row["id"], brief["id"]))
    written, requests = {}, set()
    for row in records(con, _WRITTEN) if shown else ():
        made = unpack(row["provenance"])
        if (made.get("turn"), made.get("brief")) in shown:
            written[row["id"]] = row["text"]
            requests.add(str(made.get("request")))
    return written, requests


def remove(con: Connection, found: Traces) -> dict[str, int]:
    """Remove what was found from every table and from the archive; returns the rows by table.

    After the commit, `archive.settle` puts the rewritten files in the place of the old ones.
    """
    predictions = archive.everything(con, "predictions")
    answers = prediction_names.answers(prediction_names.standing(predictions))
    con.execute(_SUMS.format(answers=answers), {"ids": list(found.ids)})
    removed: dict[str, int] = {}
    for place in PLACES:
        if place.table == "judged":
            condition = place.condition()
            con.execute(_LABEL_SUMS.format(condition=condition), _bound(found, condition))
        removed |= _REMOVES[place.action](con, place, found)
    return {name: count for name, count in removed.items() if count}


def _delete(con: Connection, place: PersonalTable, found: Traces) -> dict[str, int]:
    name, condition = place.table, place.condition()
    removed = {name: 0}
    if condition:
        bound = _bound(found, condition)
        removed[name] = changed(con, f"DELETE FROM {name} WHERE {condition}", bound)  # noqa: S608
        if name in archive.KINDS:
            removed[f"archive/{name}"] = retention.rewrite(con, name, condition, bound)
    for column, kind in place.columns.items():
        if kind == "line":
            removed[name] += rejected.forget(con, list(_lines(con, found)))
        elif kind == "prompt":
            keys = list(_prompts(con, found))
            sql = f"DELETE FROM {name} WHERE list_contains(?, key)"  # noqa: S608
            removed[name] += changed(con, sql, [keys])
        elif kind == "quoting":
            removed[f"{name}.{column}"] = _unquote(con, name, column, found)
    return removed


def _unquote(con: Connection, table: str, column: str, found: Traces) -> int:
    """Take the texts out of what quotes them in other people's rows."""
    condition = FOUND_BY["quoting"].format(column=column)
    sql = f"SELECT DISTINCT {column} FROM {table} WHERE {condition}"  # noqa: S608
    said = con.execute(sql, {"quotes": list(found.quotes)}).fetchall()
    touched = 0
    for (words,) in said:
        sql = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"  # noqa: S608
        touched += changed(con, sql, [_unquoted(words, found), words])
    return touched


def _unquoted(words: str, found: Traces) -> str:
    for quote in found.quotes:
        words = words.replace(quote, curation.quoted(ERASED))
    return words


def _unslice(con: Connection, place: PersonalTable, found: Traces) -> dict[str, int]:
    if not found.session:
        return {}
    return {place.table: changed(con, _UNSLICE.format(table=place.table), [found.session])}


def _scrub(con: Connection, place: PersonalTable, found: Traces) -> dict[str, int]:
    """Take the person's values out of what turns remember, such as failed texts in briefs."""
    touched = 0
    for row in records(con, f"SELECT id, cursor FROM {place.table}"):  # noqa: S608
        record = unpack(row["cursor"])
        for path, kind in RECORD.items():
            record = json_paths.changed(record, path, partial(_scrubbed, kind=kind, found=found))
        kept = pack(record)
        if kept != row["cursor"]:
            con.execute(f"UPDATE {place.table} SET cursor = ? WHERE id = ?", [kept, row["id"]])  # noqa: S608
            touched += 1
    return {place.table: touched}


def _scrubbed(value: Any, *, kind: str, found: Traces) -> Any:
    if not found.has(kind, value):
        return value
    return _unquoted(value, found) if kind == "quoting" else ERASED


def _keep(con: Connection, place: PersonalTable, found: Traces) -> dict[str, int]:
    return {}


_REMOVES: dict[str, Callable[[Connection, PersonalTable, Traces], dict[str, int]]] = {
    "delete": _delete,
    "unslice": _unslice,
    "scrub": _scrub,
    "keep": _keep,
}


def left(con: Connection, found: Traces) -> dict[str, int]:
    """Search every column of the list again; rows still found by "table.column"."""
    rows: dict[str, int] = {}
    for place in PLACES:
        for name, table in _sources(con, place):
            for column, kind in place.columns.items():
                if count := _count(con, table, column, kind, found):
                    rows[f"{name}.{column}"] = count
    return rows


def _sources(con: Connection, place: PersonalTable) -> Iterator[tuple[str, str]]:
    """What a table is called, and its rows in SQL; and those of its files in the archive."""
    yield place.table, place.table
    if place.table in archive.KINDS and (paths := archive.paths(con, place.table)):
        yield f"archive/{place.table}", archive.rows_of_files(place.table, paths)


def _count(con: Connection, table: str, column: str, kind: Kind, found: Traces) -> int:
    if kind in FOUND_BY:
        condition = FOUND_BY[kind].format(column=f'"{column}"')
        sql = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608  own names
        return int((first_row(con, sql, _bound(found, condition)) or (0,))[0])
    if kind == "line":
        return sum(1 for _ in _lines(con, found))
    if kind == "prompt":
        return sum(1 for _ in _prompts(con, found))
    if kind == "record":
        return sum(
            any(found.has(kind, value) for path, kind in RECORD.items()
                for value in json_paths.leaves(unpack(row[column]), path))
            for row in records(con, f"SELECT {column} FROM {table}")  # noqa: S608
        )  # fmt: skip
    return 0


def _lines(con: Connection, found: Traces) -> Iterator[str]:
    """Ids of the rejected lines that are the person's."""
    for line in rejected.listed(con):
        if mentions(line.content, found):
            yield line.id


def _prompts(con: Connection, found: Traces) -> Iterator[str]:
    """Keys of requests to the teacher that quote the person."""
    texts = frozenset(found.redacted)
    for row in records(con, "SELECT key, request FROM teacher_answers") if texts else ():
        request = unpack(row["request"])
        shown = (value for path in PROMPT for value in json_paths.leaves(request, path))
        if any(isinstance(value, str) and value in texts for value in shown):
            yield row["key"]


def mentions(line: bytes, found: Traces) -> bool:
    """Whether a line, in whatever form, has a value that is the person's.

    Where it is no JSON, whatever has one of the values in quotation marks, or is no UTF-8 and has
    it among its bytes, is taken for the person's.
    """
    try:
        said = json_paths.texts(json.loads(line))
        return any(value in found.marks for key, value in said if key not in WORDS)
    except (ValueError, RecursionError):
        pass
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return any(mark.encode() in line for mark in found.marks)
    return any(form in text for mark in found.marks for form in _in_json(mark, quotes=True))


def _in_json(text: str, *, quotes: bool = False) -> Iterator[str]:
    """A text as JSON writes it, and as JSON within JSON does."""
    for once in dict.fromkeys((json.dumps(text), json.dumps(text, ensure_ascii=False))):
        yield once if quotes else once[1:-1]
        twice = json.dumps(once, ensure_ascii=False)[1:-1]
        yield twice if quotes else twice[2:-2]


def _bound(found: Traces, condition: str) -> dict[str, Any]:
    """The parameters that a condition names."""
    return {name: value for name, value in found.bound.items() if f"${name}" in condition}
