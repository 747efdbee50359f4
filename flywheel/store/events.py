"""Predictions, feedback and scores: each id is stored once, in whatever order events arrive.

A repeated id is skipped, so repeats and replays are idempotent. An event that says something else
under a known id is kept as rejected. Feedback that comes before its prediction waits for it. The
daily sums and the cursors of sources are written in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import pyarrow
import pyarrow.compute as pc

from flywheel.event_columns import EventColumn, columns_of
from flywheel.records import Feedback, Prediction, Score
from flywheel.store import archive, prediction_names
from flywheel.store.columns import (
    Connection,
    arriving,
    changed,
    event_table,
    first_row,
    once,
    pack,
    scalar,
    stamp,
)
from flywheel.store.join_feedback import join_arriving, join_waiting
from flywheel.store.rejected import rejected_id

# Events that came under the id of another event: the first stays, the other is kept as rejected.
#
# A repeat is the same event sent again, and is passed over in silence. `ts` is not compared: a
# sender that gives no time gets that of the arrival, another one each time.

log = logging.getLogger(__name__)

FIELD = "id"
WHY = "names another event that is stored already; the first one stays"

_EVENTS: Mapping[archive.Kind, type[msgspec.Struct]] = {
    "predictions": Prediction,
    "feedback": Feedback,
}

_KEEP = """
    INSERT INTO rejected BY NAME
    SELECT DISTINCT ON (raw) {rejected_id} AS id, '{kind}' AS kind, 0 AS line, raw,
        $field AS field, $why AS why, ts AS happened_at, 'native' AS format, '' AS encoding
    FROM (
        SELECT a.ts, to_json({{{cells}}})::VARCHAR AS raw
        FROM arriving AS a JOIN {stored} AS s USING (id) WHERE {differs}
    )
    WHERE raw NOT IN (SELECT raw FROM rejected WHERE field = $field AND why = $why)
"""
_CONFLICTS = "SELECT count(*) FROM arriving AS a JOIN {stored} AS s USING (id) WHERE {differs}"
_TS = "strftime(a.ts, '%Y-%m-%dT%H:%M:%S.%fZ')"
_COUNT = "SELECT count(*) FROM rejected WHERE field = $field AND why = $why"
_BOUND = {"field": FIELD, "why": WHY}


def reject_conflicting(con: Connection, kind: archive.Kind, *, archived: bool) -> int:
    """Keep the events in `arriving` that are not what is stored under their id.

    Asked after the new ones were stored, so two events of one batch are compared as well.

    Args:
        con: a write transaction in which `arriving` is registered.
        kind: what the events are.
        archived: some of the ids are in the archive.

    Returns:
        How many of `arriving` are another event than the stored one.
    """
    columns = [column for column in columns_of(_EVENTS[kind]) if column.name not in ("id", "ts")]
    cells = [f"{one.name}: a.{one.name}" + ("::JSON" if one.is_json else "") for one in columns]
    stored = archive.everything(con, kind) if archived else kind
    differs = " OR ".join(f"a.{one.name} IS DISTINCT FROM {_stored(one)}" for one in columns)
    count = int(scalar(con, _CONFLICTS.format(stored=stored, differs=differs)))
    if not count:
        return 0
    sql = _KEEP.format(
        kind=kind,
        cells=", ".join([f"id: a.id, ts: {_TS}", *cells]),
        stored=stored,
        differs=differs,
        rejected_id=rejected_id(f"'{kind}'", "raw", "$field", "$why"),
    )
    kept = changed(con, sql, _BOUND)
    if kept:
        log.warning(
            "%d %s came under the id of another event; the first one stays, see `rejected`",
            kept,
            kind,
            extra={"event": "events.conflict", "kind": kind, "count": kept},
        )
    return count


def _stored(column: EventColumn) -> str:
    """SQL of a stored value; a file of the archive may be older than the column."""
    if column.default is None:
        return f"s.{column.name}"
    default = pack(column.default) if column.is_json else str(column.default)
    return f"coalesce(s.{column.name}, '{default}')"


def id_conflicts(con: Connection) -> int:
    """Return how many events were kept because their id was another event's."""
    return int(scalar(con, _COUNT, _BOUND))


_KNOWN = "SELECT id FROM predictions WHERE id IN (SELECT id FROM arriving)"

# As they came, which is about their order in time: sorting costs as much as inserting, and what
# arrives together is hardly more than one row group, the unit that a search by time passes over.
_ADD_PREDICTIONS = "INSERT INTO predictions BY NAME SELECT * FROM arriving"

_ADD_DAILY = """
    INSERT INTO daily
    SELECT date_trunc('day', ts), intent, adapter, slices, {sign}sum(coalesce(answers, 1))
    FROM {answers} GROUP BY ALL
"""
_ADD_SCORES = """
    INSERT INTO scores BY NAME
    SELECT * FROM arriving AS a WHERE NOT EXISTS (SELECT 1 FROM scores AS s WHERE s.id = a.id)
"""

_ADD_FEEDBACK = """
    INSERT INTO feedback BY NAME
    SELECT * FROM arriving AS a
    WHERE NOT EXISTS (SELECT 1 FROM feedback AS f WHERE f.id = a.id)
    ORDER BY ts
"""

_COUNTS = """
    SELECT (SELECT coalesce(sum(answers), 0)::BIGINT FROM predictions) - (
            SELECT coalesce(sum(answers), 0)::BIGINT FROM predictions
            WHERE id IN (SELECT prediction_id FROM superseded)
        ),
        (SELECT count(*) FROM feedback),
        (SELECT count(*) FROM judged WHERE part < 2) - (
            SELECT count(*) - count(DISTINCT prediction_id) FROM rejudged WHERE part < 2
        ),
        (SELECT count(*) FROM feedback) - (SELECT count(*) FROM judged WHERE part < 2)
            + (SELECT coalesce(sum(labelled), 0)::BIGINT FROM archives),
        (SELECT count(*) FROM rejected)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """How many events are stored."""

    predictions: int  # answers that those stored stand for
    feedback: int
    labelled: int  # predictions that have feedback
    waiting_feedback: int  # feedback whose prediction has not arrived
    rejected: int  # different bad lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of events: in sum as many as there were."""

    new: int = 0
    known: int = 0  # the same event was stored, or came twice
    conflicts: int = 0  # another event was stored under the id

    def __add__(self, other: Stored) -> Stored:
        return Stored(
            new=self.new + other.new,
            known=self.known + other.known,
            conflicts=self.conflicts + other.conflicts,
        )


def add_predictions(con: Connection, predictions: Sequence[Prediction]) -> Stored:
    """Store predictions; a repeated `id` keeps the first."""
    return insert_predictions(con, event_table(Prediction, predictions))


def add_feedback(con: Connection, feedback: Sequence[Feedback]) -> Stored:
    """Store feedback; a repeated `id` keeps the first."""
    return insert_feedback(con, event_table(Feedback, feedback))


def add_scores(con: Connection, scores: Sequence[Score]) -> Stored:
    """Store scores as seen; a repeated `id` keeps the first."""
    return insert_scores(con, event_table(Score, scores))


def insert_predictions(con: Connection, rows: pyarrow.Table) -> Stored:
    """Store predictions given as the table has them.

    Args:
        con: a write transaction.
        rows: times in UTC without a zone, JSON as `pack` writes it.
    """
    if not rows.num_rows:
        return Stored()
    sent, rows = rows, once(rows)
    with arriving(con, rows):
        stored = con.sql(_KNOWN).to_arrow_table()["id"]
        left = archive.known(con, "predictions")
    rows = _without(_without(rows, stored), left)
    named = prediction_names.have_names(rows)
    by_name = named or prediction_names.in_use(con)
    with arriving(con, rows):
        if not by_name:
            join_waiting(con, by_name=False)
        added = changed(con, _ADD_PREDICTIONS)
        if named:
            prediction_names.note(con)
            _count_by_exchange(con)
        else:
            con.execute(_ADD_DAILY.format(sign="", answers=_answers_of(rows)))
        if by_name:
            join_waiting(con, by_name=True)
    return _compared(con, "predictions", sent, added, left)


def _answers_of(rows: pyarrow.Table) -> str:
    """SQL of what `arriving` called; nearly always a call each."""
    several = pc.any(pc.not_equal(rows["calls"], "[]")).as_py()
    return prediction_names.answers("arriving") if several else "arriving"


def _count_by_exchange(con: Connection) -> None:
    """Count the predictions in `arriving` that stand, and take off those that do no more."""
    stand = prediction_names.standing("arriving")
    con.execute(_ADD_DAILY.format(sign="", answers=prediction_names.answers(stand)))
    if scalar(con, "SELECT count(*) FROM newly_superseded"):
        everything = archive.everything(con, "predictions")
        gone = (
            f"(SELECT * FROM {everything} WHERE id IN (SELECT prediction_id FROM newly_superseded))"  # noqa: S608
        )
        con.execute(_ADD_DAILY.format(sign="-", answers=prediction_names.answers(gone)))


def insert_feedback(con: Connection, rows: pyarrow.Table) -> Stored:
    """Store feedback given as the table has it."""
    if not rows.num_rows:
        return Stored()
    sent, rows = rows, once(rows)
    with arriving(con, rows):
        left = archive.known(con, "feedback")
    with arriving(con, _without(rows, left)):
        added = changed(con, _ADD_FEEDBACK)
        join_arriving(con)
    return _compared(con, "feedback", sent, added, left)


def insert_scores(con: Connection, rows: pyarrow.Table) -> Stored:
    """Store scores given as the table has them; another score of a known id is passed over."""
    if not rows.num_rows:
        return Stored()
    with arriving(con, once(rows)):
        added = changed(con, _ADD_SCORES)
    return Stored(new=added, known=rows.num_rows - added)


def _compared(
    con: Connection, kind: archive.Kind, sent: pyarrow.Table, added: int, left: pyarrow.ChunkedArray
) -> Stored:
    """Look at what repeats say; where every event was new there is nothing to look at."""
    conflicts = 0
    if added < sent.num_rows:
        with arriving(con, sent):
            conflicts = reject_conflicting(con, kind, archived=len(left) > 0)
    return Stored(new=added, known=sent.num_rows - added - conflicts, conflicts=conflicts)


def _without(rows: pyarrow.Table, known: pyarrow.ChunkedArray) -> pyarrow.Table:
    """The rows whose `id` is not known yet."""
    if not len(known):
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["id"], value_set=known.combine_chunks())))


def counts(con: Connection) -> EventCounts:
    """Return how many events are stored."""
    row = first_row(con, _COUNTS)
    assert row is not None
    predictions, feedback, labelled, waiting, rejected = row
    return EventCounts(
        predictions=predictions,
        feedback=feedback,
        labelled=labelled,
        waiting_feedback=waiting,
        rejected=rejected,
    )


# Sums by day, of predictions and of labels: what stays when the events themselves are gone.
#
# They are appended to in the transaction of the events, summed when they are read, and merged
# into one row for each key when the parts have become many.

_MANY_PARTS = 100_000
_TABLES = {
    "daily": ("day, intent, adapter, slices", "predictions"),
    "daily_labels": ("day, predicted, truth, correct, adapter, slices", "labels"),
}


def merge_daily_sums(con: Connection) -> bool:
    """Merge the sums into one row for each key; False where there is little to merge."""
    merged = [_merge(con, table) for table in _TABLES]
    return any(merged)


def _merge(con: Connection, table: str) -> bool:
    keys, id_conflicts = _TABLES[table]
    rows = scalar(con, f"SELECT count(*) FROM {table}")  # noqa: S608
    different = f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {table})"  # noqa: S608
    if rows < _MANY_PARTS or rows < 2 * scalar(con, different):
        return False
    con.execute(
        f"CREATE TEMP TABLE merged AS SELECT {keys}, sum({id_conflicts})::BIGINT AS {id_conflicts} "  # noqa: S608
        f"FROM {table} GROUP BY ALL HAVING sum({id_conflicts}) <> 0 ORDER BY day"
    )
    con.execute(f"DELETE FROM {table}")  # noqa: S608
    con.execute(f"INSERT INTO {table} SELECT * FROM merged")  # noqa: S608
    con.execute("DROP TABLE merged")
    return True


# How far each source of events has been read.
#
# The cursor is written in the transaction that writes the events it stands behind, so a restart
# repeats at most what was never committed.

_GET = "SELECT cursor FROM source_cursors WHERE name = ?"
_FORGET = "DELETE FROM source_cursors WHERE name = ?"
_PUT = "INSERT INTO source_cursors (name, cursor, moved_at) VALUES (?, ?, ?)"


def source_cursor(con: Connection, name: str) -> str | None:
    """The position behind the last committed event of `[sources.NAME]`; None before the first."""
    found = scalar(con, _GET, [name])
    return None if found is None else str(found)


def set_source_cursor(con: Connection, name: str, cursor: str, at: datetime) -> None:
    """Move the source to `cursor`; call it in the write transaction that adds the events."""
    con.execute(_FORGET, [name])
    con.execute(_PUT, [name, cursor, stamp(at)])
