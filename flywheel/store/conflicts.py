"""Events that came under the id of another event: the first stays, the other is kept as rejected.

A repeat is the same event sent again, and is passed over in silence. `ts` is not compared: a
sender that gives no time gets that of the arrival, another one each time.
"""

from __future__ import annotations

import logging

from flywheel.store import archive
from flywheel.store.columns import Connection, changed, scalar

log = logging.getLogger(__name__)

FIELD = "id"
WHY = "names another event that is stored already; the first one stays"

_COMPARED: dict[archive.Kind, tuple[str, ...]] = {
    "predictions": (
        "text",
        "intent",
        "arguments",
        "confidence",
        "adapter",
        "latency_ms",
        "slices",
    ),
    "feedback": ("prediction_id", "verdict", "intent", "arguments", "rater", "rater_kind"),
}
_JSON = frozenset({"arguments", "slices"})  # texts that hold JSON

_KEEP = """
    INSERT INTO rejected BY NAME
    SELECT DISTINCT ON (raw) '{kind}' AS kind, 0 AS line, raw, $field AS field, $why AS why,
        ts AS happened_at
    FROM (
        SELECT a.ts, to_json({{{cells}}})::VARCHAR AS raw
        FROM arriving AS a JOIN {stored} AS s USING (id) WHERE {differs}
    )
    WHERE raw NOT IN (SELECT raw FROM rejected WHERE field = $field AND why = $why)
"""
_TS = "strftime(a.ts, '%Y-%m-%dT%H:%M:%S.%fZ')"
_COUNT = "SELECT count(*) FROM rejected WHERE field = $field AND why = $why"
_BOUND = {"field": FIELD, "why": WHY}


def keep(con: Connection, kind: archive.Kind, *, archived: bool) -> int:
    """Keep the events in `arriving` that are not what is stored under their id; returns how many.

    Asked after the new ones were stored, so two events of one batch are compared as well.

    Args:
        con: a write transaction in which `arriving` is registered.
        kind: what the events are.
        archived: some of the ids are in the archive.
    """
    names = _COMPARED[kind]
    cells = [f"{name}: a.{name}" + ("::JSON" if name in _JSON else "") for name in names]
    sql = _KEEP.format(
        kind=kind,
        cells=", ".join([f"id: a.id, ts: {_TS}", *cells]),
        stored=archive.everything(con, kind) if archived else kind,
        differs=" OR ".join(f"a.{name} IS DISTINCT FROM s.{name}" for name in names),
    )
    kept = changed(con, sql, _BOUND)
    if kept:
        log.warning(
            "%d %s came under the id of another event; the first one stays, see `rejected`",
            kept,
            kind,
            extra={"event": "events.conflict", "kind": kind, "count": kept},
        )
    return kept


def count(con: Connection) -> int:
    """Return how many events were kept because their id was another event's."""
    return int(scalar(con, _COUNT, _BOUND))
