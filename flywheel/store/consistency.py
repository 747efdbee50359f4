"""Do the tables say the same? Each difference is named, in words; nothing is mended.

Everything is read whole, the archive too, so this takes a while over a large database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow.parquet

from flywheel.store import archive, prediction_names
from flywheel.store.columns import EACH, Connection, bound

_NAMED = 3  # differences of a kind that are named one by one

_PREDICTION_SUMS = """
    SELECT day, intent, sum(kept)::BIGINT, sum(there)::BIGINT FROM (
        SELECT day, intent, adapter, slices, predictions AS kept, 0 AS there FROM daily
        UNION ALL
        SELECT date_trunc('day', ts), intent, adapter, slices, 0, coalesce(answers, 1)
        FROM {answers}
    )
    WHERE NOT list_contains($gone, day)
    GROUP BY day, intent, adapter, slices HAVING sum(kept) <> sum(there) ORDER BY ALL
"""
_LABEL_SUMS = """
    SELECT day, predicted, sum(kept)::BIGINT, sum(there)::BIGINT FROM (
        SELECT day, predicted, truth, correct, adapter, slices, labels AS kept, 0 AS there
        FROM daily_labels
        UNION ALL
        SELECT date_trunc('day', feedback_ts), predicted, truth_of(verdict, predicted, intent),
            answered_right(verdict, predicted, intent, arguments_wrong),
            adapter, slices, 0, 1
        FROM judged
    )
    GROUP BY day, predicted, truth, correct, adapter, slices
    HAVING sum(kept) <> sum(there) ORDER BY ALL
"""
_UNJUDGED = """
    SELECT f.id FROM feedback AS f SEMI JOIN standing_predictions() AS p ON p.id = f.prediction_id
    ANTI JOIN judged AS j ON j.feedback_id = f.id ORDER BY ALL
"""
_GROUNDLESS = """
    SELECT j.feedback_id FROM judged AS j ANTI JOIN {feedback} AS f ON f.id = j.feedback_id
    ORDER BY ALL
"""
_REJUDGED = """
    SELECT feedback_id FROM judged WHERE prediction_id IN (
        SELECT prediction_id FROM judged GROUP BY ALL HAVING count(DISTINCT feedback_id) > 1
    ) AND feedback_id NOT IN (SELECT feedback_id FROM rejudged)
    UNION
    SELECT feedback_id FROM rejudged WHERE feedback_id NOT IN (SELECT feedback_id FROM judged)
    ORDER BY ALL
"""
_TWICE = "SELECT id FROM {table} GROUP BY id HAVING count(*) > 1 ORDER BY id"

# Rows that are numbered from 1 and never deleted.
_NUMBERED = ("decisions", "generations", "golden_queries", "turns")
_GAP = "SELECT count(*), coalesce(max(number), 0) FROM query_table(?)"
_DECIDED = """
    SELECT t.id || ' speaks of ' || t.decision || ', which is of '
        || CASE WHEN d.id IS NULL THEN 'nobody' ELSE coalesce(d.turn, 'no turn') END
    FROM turns AS t LEFT JOIN decisions AS d ON d.id = t.decision
    WHERE t.decision IS NOT NULL AND d.turn IS DISTINCT FROM t.id
    UNION ALL
    SELECT d.id || ' speaks of ' || d.turn || ', which is not there'
    FROM decisions AS d ANTI JOIN turns AS t ON t.id = d.turn WHERE d.turn IS NOT NULL
    UNION ALL
    SELECT 'query ' || q.number || ' of the golden set is of no generation or of no turn'
    FROM golden_queries AS q
    WHERE q.generation NOT IN (SELECT number FROM generations)
        OR q.turn NOT IN (SELECT id FROM turns)
    ORDER BY ALL
"""
# What a decision says was asked counts its own query, which is not asked where dev decided.
_ASKED = """
    SELECT d.id, d.asked, d.generation, count(q.number) AS there FROM (
        SELECT id, json_extract_string(rests_on, '$.golden_generation') AS generation,
            TRY_CAST(regexp_extract(
                json_extract_string(rests_on, '$.golden_queries'), '^([0-9]+) of', 1
            ) AS BIGINT) AS asked
        FROM decisions
    ) AS d LEFT JOIN golden_queries AS q ON q.generation::VARCHAR = d.generation
    WHERE d.asked IS NOT NULL
    GROUP BY ALL HAVING d.asked > count(q.number) + 1 ORDER BY ALL
"""


_RETIRED = """
    SELECT r.sample || ' of golden generation ' || r.generation || ' retired as ' || r.learned_as
        || ', and ' || CASE WHEN s.id IS NULL THEN 'that is not there'
            ELSE 'is of no golden generation' END
    FROM retired_rows AS r LEFT JOIN samples AS s ON s.id = r.learned_as AND s.split = 'train'
    WHERE s.id IS NULL OR r.sample NOT IN (SELECT sample FROM golden_rows)
    ORDER BY ALL
"""


def _history(con: Connection) -> Iterator[str]:
    """What turns, decisions and the ledger of the golden set say of each other."""
    for name in _NUMBERED:
        count, last = con.execute(_GAP, [name]).fetchall()[0]
        if count != last:
            yield f"{name} has {count} rows, and the last is number {last}"
    for (words,) in (*con.execute(_DECIDED).fetchall(), *con.execute(_RETIRED).fetchall()):
        yield words
    for name, asked, generation, there in con.execute(_ASKED).fetchall():
        yield (
            f"{name} was judged after {asked} queries of golden generation {generation}, and the "
            f"ledger has {there}"
        )


def differences(con: Connection) -> list[str]:
    """What does not agree: sums, labels, ids that are there twice, and the archive's files."""
    folder = archive.folder_of(con)
    lost = [one for one in archive.listed(con) if archive.place(folder, one.name) is None]
    days = {"gone": [one.day for one in lost]}
    predictions = prediction_names.standing(archive.everything(con, "predictions"))
    sums = _PREDICTION_SUMS.format(answers=prediction_names.answers(predictions))
    found = [f"archive/{one.name} is missing, with {one.rows} rows" for one in lost]
    found += _history(con)
    found += _files(con)
    found += _sums("daily", "predictions", con.execute(sums, days).fetchall())
    found += _sums("daily_labels", "labels", con.execute(_LABEL_SUMS).fetchall())
    groundless = _GROUNDLESS.format(feedback=archive.everything(con, "feedback"))
    for what, sql in (
        ("feedback is not in judged, though its prediction is here", _UNJUDGED),
        ("row of judged has no feedback", "" if lost else groundless),
        ("row of judged is not as rejudged has it", _REJUDGED),
        *((f"id is twice in {kind}", _TWICE.format(table=kind)) for kind in archive.KINDS),
    ):
        ids = [key for (key,) in con.execute(sql).fetchall()] if sql else []
        if ids:
            named = ", ".join(ids[:_NAMED]) + (" …" if len(ids) > _NAMED else "")
            found.append(f"{len(ids)} times: {what} ({named})")
    return found


def _sums(table: str, what: str, rows: list[tuple[object, ...]]) -> Iterator[str]:
    for day, intent, kept, there in rows[:_NAMED]:
        yield f"{table} has {kept} {what} of {intent} on {day:%Y-%m-%d}, and there are {there}"
    if len(rows) > _NAMED:
        yield f"{table} differs in {len(rows) - _NAMED} more sums"


def _files(con: Connection) -> Iterator[str]:
    folder = archive.folder_of(con)
    for one in archive.listed(con):
        path = archive.place(folder, one.name)
        rows = pyarrow.parquet.read_metadata(path).num_rows if path else one.rows
        if rows != one.rows:
            yield f"archive/{one.name} has {rows} rows, and should have {one.rows}"
    for name in archive.unnamed(con):
        yield f"archive/{name} is not of this database: move it away if nobody needs it"


def missing(con: Connection, kind: archive.Kind, ids: Sequence[str]) -> list[str]:
    """Which of these ids are in neither the table nor the archive."""
    stored = archive.everything(con, kind)
    sql = f"SELECT id FROM ({EACH}) AS a(id) ANTI JOIN {stored} AS s USING (id) ORDER BY id"  # noqa: S608
    return [key for (key,) in con.execute(sql, [bound(ids)]).fetchall()] if ids else []
