"""What people said when they were asked for labels, and what their labels do now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pyarrow

from flywheel.records import Arguments
from flywheel.store.columns import (
    FLAG,
    TEXT,
    TIME,
    Connection,
    Row,
    arriving,
    changed,
    moment,
    moment_or_none,
    pack_or_none,
    records,
    stamp,
    table,
    unpack_or_none,
)

_SAID = pyarrow.schema(
    {
        "item": TEXT,
        "kind": TEXT,
        "prediction": TEXT,
        "predicted": TEXT,
        "predicted_at": TIME,
        "text": TEXT,
        "what": TEXT,
        "intent": TEXT,
        "arguments": TEXT,
        "person": TEXT,
        "resolves": FLAG,
        "said_at": TIME,
    }
)
_EFFECT = pyarrow.schema({"item": TEXT, "intent": TEXT, "sample": TEXT, "happened_at": TIME})
_ADD = """
    INSERT INTO labels BY NAME
    SELECT * EXCLUDE (position),
        (SELECT coalesce(max(number), 0) FROM labels) + position + 1 AS number
    FROM arriving ORDER BY position
"""
_ADD_EFFECTS = """
    INSERT INTO label_effects BY NAME
    SELECT * EXCLUDE (position),
        (SELECT coalesce(max(number), 0) FROM label_effects) + position + 1 AS number
    FROM arriving ORDER BY position
"""
_EFFECTS = """
    SELECT item, intent, sample, happened_at FROM label_effects
    QUALIFY row_number() OVER (PARTITION BY item ORDER BY number DESC) = 1 ORDER BY item
"""


COUNTED_KIND = """
    CASE WHEN rater_kind <> 'expert' OR list_contains($experts, rater) OR EXISTS (
        SELECT 1 FROM labels AS l
        WHERE l.prediction = prediction_id AND l.person = rater AND l.intent = truth
            AND l.what = 'label'
    ) THEN rater_kind ELSE 'user' END
"""
"""SQL of the kind that a rater counts as: an expert is one whom the configuration names as
`$experts`, or a person whom the queue asked about that prediction; no event makes one. For rows
with `prediction_id`, `rater`, `rater_kind` and `truth`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One thing that a person said."""

    item: str
    kind: str
    prediction: str | None
    predicted: str | None
    predicted_at: datetime | None
    text: str
    what: Literal["label", "skip"] | str
    intent: str | None = None
    arguments: Arguments | None = None
    person: str
    resolves: bool = False
    at: datetime
    number: int = 0  # given when it is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an item's label does now."""

    item: str
    intent: str | None  # None: nothing
    sample: str | None  # the sample it made, if any
    at: datetime


def add(con: Connection, said: Sequence[Said]) -> None:
    """Store what was said, in this order."""
    if not said:
        return
    cells = (
        (
            each.item,
            each.kind,
            each.prediction,
            each.predicted,
            stamp(each.predicted_at) if each.predicted_at else None,
            each.text,
            each.what,
            each.intent,
            pack_or_none(each.arguments),
            each.person,
            each.resolves,
            stamp(each.at),
        )
        for each in said
    )
    with arriving(con, table(_SAID, cells)):
        changed(con, _ADD)


def standing(con: Connection) -> list[Said]:
    """Return what was said and not taken back, oldest first."""
    sql = "SELECT * FROM labels_standing ORDER BY number"
    return [_said(row) for row in records(con, sql)]


def drawn_by_lot(con: Connection) -> dict[tuple[str, str, str], str]:
    """Return the labels of the audit sample that stand: their lot ("audit") by prediction, person
    and intent.

    Only these may judge as fresh: what somebody chose to correct is there because the champion was
    wrong, and what the champion was unsure of as well; both favour every challenger.
    """
    sql = """
        SELECT DISTINCT prediction, person, intent FROM labels_standing
        WHERE kind = 'audit' AND what = 'label' AND prediction IS NOT NULL
    """
    found = records(con, sql)
    return {(row["prediction"], row["person"], row["intent"]): "audit" for row in found}


def take_back(con: Connection, person: str) -> Said | None:
    """Take a person's last word back and return it; None where there is none."""
    last = [word for word in standing(con) if word.person == person][-1:]
    for word in last:
        con.execute("UPDATE labels SET what = 'undone' WHERE number = ?", [word.number])
    return last[0] if last else None


def add_effects(con: Connection, effects: Sequence[Effect]) -> None:
    """Store what labels do from now on."""
    if not effects:
        return
    cells = ((each.item, each.intent, each.sample, stamp(each.at)) for each in effects)
    with arriving(con, table(_EFFECT, cells)):
        changed(con, _ADD_EFFECTS)


def effects(con: Connection) -> Mapping[str, Effect]:
    """Return what each item's label does now, by item."""
    return {
        row["item"]: Effect(
            item=row["item"],
            intent=row["intent"],
            sample=row["sample"],
            at=moment(row["happened_at"]),
        )
        for row in records(con, _EFFECTS)
    }


def withdraw(con: Connection, sample: str, item: str) -> bool:
    """Delete the training or dev sample that an item's label made; False where it is somebody
    else's."""
    sql = """
        DELETE FROM samples
        WHERE id = ? AND split IN ('train', 'dev') AND json_extract_string(provenance, '$.item') = ?
    """
    return changed(con, sql, [sample, item]) > 0


def _said(row: Row) -> Said:
    more: dict[str, Any] = {
        "predicted_at": moment_or_none(row["predicted_at"]),
        "arguments": unpack_or_none(row["arguments"]),
        "at": moment(row["said_at"]),
    }
    return Said(**{key: value for key, value in row.items() if key != "said_at"} | more)
