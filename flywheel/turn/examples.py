"""What a reviewer looks at: examples that moved, and where the training samples came from."""

from __future__ import annotations

from collections import Counter
from typing import Any

from flywheel.records import Decision, Report
from flywheel.store import Connection, adapters, decisions, health, reports, samples
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.runtime import Wheel

_SHOWN = 20  # examples of each kind


def report_of(con: Connection, decision: Decision) -> Report | None:
    """The outcomes that a decision was made on; None where nobody evaluated anything."""
    grounds = decisions.grounds(con, decision.id)
    revision = grounds[1] if grounds else None
    report = reports.load(con, decision.turn, revision) if decision.turn else None
    return report if report and report.challenger == decision.challenger else None


def moved(
    con: Connection, report: Report | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Golden examples that the challenger fixes, and those that it breaks.

    Broken ones come worst first: must-pass, then by how sure the challenger was.
    """
    if report is None:
        return [], []
    texts = {row.sample.id: row.sample.text for row in samples.golden(con)}
    fixed: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    for row in report.outcomes:
        if row.split != "golden" or row.champion_correct == row.challenger_correct:
            continue
        if row.champion_correct is None or row.challenger_correct is None:
            continue
        example = {
            "sample": row.sample,
            "text": texts.get(row.sample, ""),
            "intent": row.intent,
            "before": row.champion_intent,
            "after": row.challenger_intent,
            "must_pass": row.must_pass,
            "confidence": row.challenger_confidence,
        }
        (fixed if row.challenger_correct else broken).append(example)
    broken.sort(key=lambda item: (not item["must_pass"], -(item["confidence"] or 0.0)))
    return fixed[:_SHOWN], broken[:_SHOWN]


def training(
    wheel: Wheel, con: Connection, decision: Decision, turn: Turn | None
) -> dict[str, Any]:
    """Where the challenger's samples came from, what is new among them, and what was refused."""
    known = {item.id: item for item in adapters.list_adapters(con)}
    challenger = known.get(decision.challenger)
    champion = known.get(decision.champion or "")
    if challenger is None:
        return {"by_origin": {}, "added": [], "added_total": 0, "refused": {}}
    learned = learned_rows(wheel.datasets_dir / f"{challenger.dataset}.parquet")
    rows = [row for row in learned if row["origin"] != "name"]  # no names of intents
    before = set()
    if champion and champion.dataset:
        before = {
            row["id"] for row in learned_rows(wheel.datasets_dir / f"{champion.dataset}.parquet")
        }
    added = [row for row in rows if row["id"] not in before and row["intent"] is not None]
    return {
        "by_origin": dict(Counter(row["origin"] for row in rows)),
        "added": [
            {"text": row["text"], "intent": row["intent"], "origin": row["origin"]}
            for row in added[:_SHOWN]
        ],
        "added_total": len(added),
        "added_by_intent": dict(Counter(row["intent"] for row in added).most_common()),
        "refused": dict(turn.cursor.get("refused", {})) if turn else {},
        "by_rater": _raters(con, added),
        "raters": dict(turn.cursor.get("raters", {})) if turn else {},
        "cost_usd": turn.cost_usd if turn else 0.0,
    }


def _raters(con: Connection, added: list[dict[str, Any]]) -> dict[str, int]:
    """Who labelled what is new: the kinds of raters behind feedback, else the origin."""
    kinds = {row.text: row.rater_kind for row in health.labelled_texts(con)}
    return dict(
        Counter(
            f"{kinds.get(row['text'], 'unknown')} feedback"
            if row["origin"] == "feedback"
            else row["origin"]
            for row in added
        ).most_common()
    )
