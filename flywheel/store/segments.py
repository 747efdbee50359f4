"""Segments of the spool, read by DuckDB itself: many times the speed of Python, and outside of it.

What is not quite usual is left to the caller: a damaged line, a line that a crash tore.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow
import pyarrow.compute as pc

from flywheel.store.archive import literal
from flywheel.store.columns import Connection, moment, pack

FOLDER = "spool"
_COLUMNS = {
    **dict.fromkeys(("kind", "id", "text", "intent", "adapter"), "VARCHAR"),
    **dict.fromkeys(("prediction_id", "verdict", "rater", "rater_kind"), "VARCHAR"),
    **dict.fromkeys(("sent_as", "raw", "field", "why"), "VARCHAR"),
    **dict.fromkeys(("arguments", "slices"), "JSON"),
    **dict.fromkeys(("confidence", "latency_ms"), "DOUBLE"),
    **dict.fromkeys(("ts", "at"), "TIMESTAMP"),
    "line": "BIGINT",
}
_READ = """
    SELECT kind, id, ts, text, intent, CAST(arguments AS VARCHAR) AS arguments, confidence,
        adapter, latency_ms, CAST(slices AS VARCHAR) AS slices,
        prediction_id, verdict, rater, rater_kind, sent_as, line, raw, field, why, "at"
    FROM read_json({files}, format = 'newline_delimited', columns = {columns})
"""
_PREDICTION = ("id", "ts", "text", "intent")
_FEEDBACK = ("id", "prediction_id", "ts", "verdict")
_REJECTED = ("sent_as", "line", "raw", "field", "why", "at")
_WRITTEN_OTHERWISE = r"\\u|[0-9][.eE]"  # JSON that another writer may spell in another way


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """What segments hold, as columns of the tables."""

    predictions: pyarrow.Table
    feedback: pyarrow.Table
    rejected: list[dict[str, Any]]
    rows: int


def read(con: Connection, files: Sequence[Path]) -> Segments | None:
    """Read whole segments; None where a line is not as the spool writes it."""
    columns = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in _COLUMNS.items()) + "}"
    sql = _READ.format(files=literal([path.resolve() for path in files]), columns=columns)
    try:
        rows = con.sql(sql).to_arrow_table()
    except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.PermissionException):
        return None
    parts = {kind: _of(rows, kind) for kind in ("predictions", "feedback", "rejected")}
    whole = sum(part.num_rows for part in parts.values()) == rows.num_rows
    predictions, feedback, rejected = parts.values()
    if not (whole and _full(predictions, _PREDICTION) and _full(feedback, _FEEDBACK)):
        return None
    if not _full(rejected, _REJECTED):
        return None
    return Segments(
        predictions=_predictions(predictions),
        feedback=_feedback(feedback),
        rejected=[_rejected(row) for row in rejected.select(_REJECTED).to_pylist()],
        rows=rows.num_rows,
    )


def _of(rows: pyarrow.Table, kind: str) -> pyarrow.Table:
    return rows.filter(pc.equal(rows["kind"], kind))


def _full(rows: pyarrow.Table, names: Sequence[str]) -> bool:
    return all(rows[name].null_count == 0 for name in names)


def _predictions(rows: pyarrow.Table) -> pyarrow.Table:
    return pyarrow.table(
        {
            **{name: rows[name] for name in ("id", "ts", "text", "intent")},
            "arguments": _packed(pc.fill_null(rows["arguments"], "{}")),
            "confidence": rows["confidence"],
            "adapter": pc.fill_null(rows["adapter"], ""),
            "latency_ms": rows["latency_ms"],
            "slices": _packed(pc.fill_null(rows["slices"], "{}")),
        }
    )


def _feedback(rows: pyarrow.Table) -> pyarrow.Table:
    return pyarrow.table(
        {
            **{name: rows[name] for name in ("id", "prediction_id", "ts", "verdict", "intent")},
            "arguments": _packed(rows["arguments"]),
            "rater": pc.fill_null(rows["rater"], ""),
            "rater_kind": pc.fill_null(rows["rater_kind"], "user"),
        }
    )


def _rejected(row: dict[str, Any]) -> dict[str, Any]:
    at: datetime = row["at"]
    return {**row, "at": moment(at)}


def _packed(texts: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """JSON as the tables hold it. The spool sorts keys; only how values are spelt may differ."""
    otherwise = pc.fill_null(pc.match_substring_regex(texts, _WRITTEN_OTHERWISE), False)
    known: dict[str, str] = {}
    for text in texts.filter(otherwise).to_pylist():
        if text not in known:
            known[text] = pack(json.loads(text))
    if not known:
        return texts
    spelt = [known[text] for text in texts.filter(otherwise).to_pylist()]
    whole = texts.combine_chunks()
    mask = otherwise.combine_chunks()
    return pyarrow.chunked_array(
        [pc.replace_with_mask(whole, mask, pyarrow.array(spelt, whole.type))]
    )
