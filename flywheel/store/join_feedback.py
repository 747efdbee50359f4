"""Feedback meets its prediction: written down once, and counted, in the transaction of both.

Whether the rater found other arguments right is decided here, by `content.same_arguments`, and
kept with the row as `arguments_wrong`; every statement reads it from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow

from flywheel.content import arguments_key, same_arguments
from flywheel.records import NONE
from flywheel.store import prediction_names
from flywheel.store.columns import Connection, changed, pack, records, unpack

_CELLS = """
    f.id AS feedback_id, p.id AS prediction_id, p.ts, p.text, p.intent AS predicted,
        p.arguments AS predicted_arguments, p.confidence, p.adapter, p.slices,
        f.ts AS feedback_ts, f.verdict, f.intent, f.arguments, f.rater, f.rater_kind,
        NULL::BOOLEAN AS arguments_wrong, 0::BIGINT AS part,
        coalesce(p.calls, '[]') AS answered, coalesce(f.calls, '[]') AS wanted
"""
_FOUND = f"""
    CREATE TEMP TABLE judging AS
    SELECT {_CELLS}
    FROM {{predictions}} AS p JOIN {{feedback}} AS f ON f.prediction_id = p.id
    WHERE NOT EXISTS (SELECT 1 FROM judged AS j WHERE j.feedback_id = f.id)
"""  # noqa: S608  columns by name

# Feedback that waits has no prediction in the table, so the first one arriving now is its own.
_WAITING = _FOUND.format(predictions="arriving", feedback="feedback")

# Reads the stored feedback, not the arriving one: of two with one id only the first counts.
_ARRIVING = _FOUND.format(
    predictions="predictions",
    feedback="(SELECT * FROM feedback WHERE id IN (SELECT id FROM arriving))",
)

# Where predictions have further names: what each name in `touched_names` stands for may change.
_BY_NAME = f"""
    CREATE TEMP TABLE judging AS
    SELECT {_CELLS}
    FROM feedback AS f
    JOIN targets AS t ON t.name = f.prediction_id
    JOIN predictions AS p ON p.id = t.prediction_id
    WHERE NOT EXISTS (SELECT 1 FROM judged AS j WHERE j.feedback_id = f.id)
"""  # noqa: S608  columns by name
_MISJOINED = """
    CREATE TEMP TABLE withdrawn AS
    SELECT DISTINCT j.feedback_id, j.prediction_id
    FROM judged AS j
    JOIN feedback AS f ON f.id = j.feedback_id
    JOIN touched_names AS n ON n.name = f.prediction_id
    LEFT JOIN targets AS t ON t.name = n.name
    WHERE t.prediction_id IS DISTINCT FROM j.prediction_id
"""
_TAKE_SUMS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, arguments_wrong), adapter, slices, -count(*)
    FROM judged WHERE feedback_id IN (SELECT feedback_id FROM withdrawn) GROUP BY ALL
"""
_JUDGED_ONCE = """
    DELETE FROM rejudged WHERE prediction_id IN (SELECT prediction_id FROM withdrawn)
        AND prediction_id NOT IN (
            SELECT prediction_id FROM judged
            WHERE prediction_id IN (SELECT prediction_id FROM withdrawn)
            GROUP BY ALL HAVING count(DISTINCT feedback_id) > 1
        )
"""
_SEVERAL = "SELECT * FROM judging WHERE answered <> '[]' OR wanted <> '[]'"

# Equal text is the same arguments. Of other text only what says the intent was right is looked at.
_WRITTEN_OTHERWISE = """
    UPDATE {table} SET arguments_wrong = coalesce(
        verdict <> 'correct' AND intent = predicted
        AND (verdict = 'incorrect' OR arguments <> predicted_arguments),
        false
    )
"""
_TO_COMPARE = """
    SELECT DISTINCT predicted_arguments, arguments FROM {table}
    WHERE arguments_wrong AND verdict = 'corrected'
"""
_SAME = """
    UPDATE {table} SET arguments_wrong = false
    WHERE verdict = 'corrected'
        AND [predicted_arguments, arguments] IN (SELECT unnest(from_json(?, '[["VARCHAR"]]')))
"""

_ADD_SUMS = """
    INSERT INTO daily_labels
    SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
        answered_right(verdict, predicted, intent, arguments_wrong), adapter, slices, count(*)
    FROM {table} GROUP BY ALL
"""

_NOTE_REJUDGED = """
    INSERT INTO rejudged
    WITH touched AS (
        SELECT * FROM judged WHERE prediction_id IN (SELECT prediction_id FROM judging)
    )
    SELECT * FROM touched
    WHERE prediction_id IN (
            SELECT prediction_id FROM touched GROUP BY ALL HAVING count(DISTINCT feedback_id) > 1
        )
        AND feedback_id NOT IN (SELECT feedback_id FROM rejudged)
"""


def join_waiting(con: Connection, *, by_name: bool) -> None:
    """Join the predictions in `arriving`, which are new, to the feedback that waits for them.

    Args:
        con: a write transaction.
        by_name: some predictions, of these or of earlier ones, have names beside their ids.
    """
    if not by_name:
        _judge(con, _WAITING)
        return
    prediction_names.touch_arriving_predictions(con)
    _join_again(con)


def join_arriving(con: Connection) -> None:
    """Join the feedback in `arriving`, which is stored already, to its predictions."""
    if not prediction_names.in_use(con):
        _judge(con, _ARRIVING)
        return
    prediction_names.touch(con, "SELECT prediction_id AS name FROM arriving")
    _join_again(con)


def _join_again(con: Connection) -> None:
    """Find the predictions of all feedback on `touched_names`, which may be others than before."""
    prediction_names.resolve(con)
    con.execute(_MISJOINED)
    withdraw(con)
    _judge(con, _BY_NAME)
    prediction_names.forget(con)


def withdraw(con: Connection) -> None:
    """Take the feedback in the temporary table `withdrawn` out of the labels, and drop the table.

    Its columns are `feedback_id` and `prediction_id`.
    """
    if changed(con, _TAKE_SUMS):
        for table in ("judged", "rejudged"):
            con.execute(
                f"DELETE FROM {table} WHERE feedback_id IN (SELECT feedback_id FROM withdrawn)"  # noqa: S608
            )
        con.execute(_JUDGED_ONCE)
    con.execute("DROP TABLE withdrawn")


def compare_arguments_again(con: Connection) -> None:
    """Fill `arguments_wrong` of every row and count the labels anew; part of migration 11."""
    _judge_arguments(con, "judged")
    _judge_arguments(con, "rejudged")
    con.execute(_ADD_SUMS.format(table="judged"))


def _judge(con: Connection, found: str) -> None:
    if changed(con, found):
        several = records(con, _SEVERAL)
        if several:
            _split(con, several)
        _judge_arguments(con, "judging")
        con.execute("INSERT INTO judged SELECT * EXCLUDE (answered, wanted) FROM judging")
        con.execute(_ADD_SUMS.format(table="judging"))
        con.execute(_NOTE_REJUDGED)
    con.execute("DROP TABLE judging")


def _judge_arguments(con: Connection, table: str) -> None:
    """Set `arguments_wrong`: the right intent, and its arguments incorrect or corrected."""
    con.execute(_WRITTEN_OTHERWISE.format(table=table))
    pairs = con.execute(_TO_COMPARE.format(table=table)).fetchall()
    same = [pair for pair in pairs if same_arguments(*map(unpack, pair))]
    if same:
        con.execute(_SAME.format(table=table), [json.dumps(same)])


def _split(con: Connection, several: Sequence[Mapping[str, Any]]) -> None:
    """Put a row for each call in the place of rows that judge several calls."""
    rows = [part for row in several for part in _parts(row)]
    con.execute(
        "DELETE FROM judging WHERE feedback_id IN (SELECT unnest($ids))",
        {"ids": [row["feedback_id"] for row in several]},
    )
    con.register("parts", pyarrow.Table.from_pylist(rows))
    con.execute("INSERT INTO judging BY NAME SELECT *, '' AS answered, '' AS wanted FROM parts")
    con.unregister("parts")


def _parts(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a verdict on an answer with several calls, or that wants several.

    `correct` and `incorrect` judge every call alike. A correction pairs equal calls first, then
    those of one intent, then the others in their order; what is left over on either side is paired
    with `none`.
    """
    answered = unpack(row["answered"]) or [
        {"intent": row["predicted"], "arguments": unpack(row["predicted_arguments"])}
    ]
    cells = {name: row[name] for name in row if name not in ("answered", "wanted")}
    for number, (call, right) in enumerate(_paired(answered, row), 1):
        arguments = None if right is None else right.get("arguments")
        yield {
            **cells,
            "predicted": call["intent"],
            "predicted_arguments": pack(call.get("arguments") or {}),
            "intent": None if right is None else right["intent"],
            "arguments": None if arguments is None else pack(arguments),
            "part": number,
        }


def _paired(
    answered: Sequence[Mapping[str, Any]], row: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    if row["verdict"] == "correct" or row["intent"] is None:
        return [(call, None) for call in answered]
    none = {"intent": NONE, "arguments": {}}
    given = unpack(row["wanted"]) or [
        {
            "intent": row["intent"],
            "arguments": None if row["arguments"] is None else unpack(row["arguments"]),
        }
    ]
    left = [call for call in answered if call["intent"] != NONE]
    wanted = [call for call in given if call["intent"] != NONE]
    pairs: list[tuple[Mapping[str, Any], Mapping[str, Any] | None]] = []
    for same in (_equal, _one_intent):
        for call in list(left):
            right = next((one for one in wanted if same(call, one)), None)
            if right is not None:
                pairs.append((call, right))
                left.remove(call)
                wanted.remove(right)
    while left or wanted:
        pairs.append((left.pop(0) if left else none, wanted.pop(0) if wanted else none))
    return pairs or [(none, none)]


def _equal(call: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return _one_intent(call, right) and (
        right.get("arguments") is None
        or arguments_key(call.get("arguments") or {}) == arguments_key(right["arguments"])
    )


def _one_intent(call: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return bool(call["intent"] == right["intent"])
