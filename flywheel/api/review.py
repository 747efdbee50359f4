"""What a reviewer looks at in a decision, beyond the gates' verdicts.

Where champion and challenger differ on the golden rows, which examples moved, where the training
samples came from, and what a person may do now. It reads and changes nothing.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from msgspec import UNSET

from flywheel import promotion
from flywheel.api.evidence_views import OfferView
from flywheel.api.responses import (
    AddedSampleView,
    CalibrationBinView,
    CalibrationView,
    ChangedAnswersView,
    ComparedIntentView,
    ConfusionView,
    ExampleView,
    GoldenShareView,
    IntentVoicesView,
    RightShareView,
    SliceView,
    TrainingView,
    WordingView,
)
from flywheel.config import ChangedAnswersRule
from flywheel.errors import FlywheelError, Refused
from flywheel.metrics import paired_difference
from flywheel.records import Decision, IntentVerdict, Outcome, Report
from flywheel.store import Connection, adapters, decisions, health, samples
from flywheel.store.turns import Turn
from flywheel.turn import adapter_files
from flywheel.turn.apply import candidate_of
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.runtime import Runtime

_BINS = 10
_CONFUSIONS_SHOWN = 20


def intent_lines(
    lines: Iterable[IntentVerdict], rows: Sequence[Outcome]
) -> list[ComparedIntentView]:
    """Each intent's verdict with its change in recall, the 95 % interval of it, and `rows`: how
    many golden rows the challenger answered, which without a champion are compared with nothing.
    """
    answered = Counter(row.intent for row in rows if row.challenger_correct is not None)
    return [
        ComparedIntentView(
            **asdict(line),
            **_change(line.losses, line.gains, line.n),
            rows=answered[line.intent],
        )
        for line in lines
    ]


def golden(rows: Sequence[Outcome]) -> GoldenShareView:
    """How many golden rows each model answered, and the share that it had right.

    `right` is None where nothing was answered.
    """
    return GoldenShareView(
        champion=_right([row.champion_correct for row in rows]),
        challenger=_right([row.challenger_correct for row in rows]),
    )


def slices(rows: Sequence[Outcome]) -> list[SliceView]:
    """Accuracy before and after in each slice of the golden rows, the worst change first."""
    inside: dict[str, list[Outcome]] = defaultdict(list)
    for row in _paired(rows):
        for key, value in row.slices.items():
            inside[f"{key}={value}"].append(row)
    found = []
    for name, members in inside.items():
        losses = sum(bool(row.champion_correct) > bool(row.challenger_correct) for row in members)
        gains = sum(bool(row.champion_correct) < bool(row.challenger_correct) for row in members)
        found.append(
            SliceView(
                slice=name,
                n=len(members),
                before=statistics.fmean(bool(row.champion_correct) for row in members),
                after=statistics.fmean(bool(row.challenger_correct) for row in members),
                **_change(losses, gains, len(members)),
            )
        )
    return sorted(found, key=lambda each: (each.change or 0.0, each.slice))


def calibration(rows: Sequence[Outcome]) -> CalibrationView:
    """Confidence against accuracy in tenths of confidence, for both models."""
    return CalibrationView(
        champion=_bins([(row.champion_confidence, row.champion_correct) for row in rows]),
        challenger=_bins([(row.challenger_confidence, row.challenger_correct) for row in rows]),
    )


def confusions(rows: Sequence[Outcome]) -> list[ConfusionView]:
    """Wrong answers whose number changed, by truth and answer; the largest change first."""
    before: Counter[tuple[str, str]] = Counter()
    after: Counter[tuple[str, str]] = Counter()
    for row in _paired(rows):
        before[row.intent, str(row.champion_intent)] += row.champion_intent != row.intent
        after[row.intent, str(row.challenger_intent)] += row.challenger_intent != row.intent
    changed = [pair for pair in before | after if before[pair] != after[pair]]
    changed.sort(key=lambda pair: (-abs(after[pair] - before[pair]), pair))
    return [
        ConfusionView(
            intent=truth,
            answer=said,
            before=before[truth, said],
            after=after[truth, said],
        )
        for truth, said in changed[:_CONFUSIONS_SHOWN]
    ]


def _right(answers: Sequence[bool | None]) -> RightShareView:
    given = [correct for correct in answers if correct is not None]
    return RightShareView(n=len(given), right=statistics.fmean(given) if given else None)


def _paired(rows: Iterable[Outcome]) -> Iterable[Outcome]:
    return (
        row
        for row in rows
        if row.champion_correct is not None and row.challenger_correct is not None
    )


def _change(losses: int, gains: int, n: int) -> dict[str, Any]:
    if not n:
        return {"change": None, "low": None, "high": None}
    low, high = paired_difference(losses, gains, n)
    return {"change": (gains - losses) / n, "low": low, "high": high}


def _bins(answers: Iterable[tuple[float | None, bool | None]]) -> list[CalibrationBinView]:
    inside: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for confidence, correct in answers:
        if confidence is not None and correct is not None:
            inside[min(_BINS - 1, int(confidence * _BINS))].append((confidence, correct))
    return [
        CalibrationBinView(
            confidence=statistics.fmean(each[0] for each in members),
            accuracy=statistics.fmean(each[1] for each in members),
            n=len(members),
        )
        for _, members in sorted(inside.items())
    ]


# What a reviewer looks at: examples that moved, and where the training samples came from.

_SHOWN = 20  # examples of each kind


def report_of(con: Connection, decision: Decision) -> Report | None:
    """The outcomes that a decision was made on; None where nobody evaluated anything."""
    grounds = decisions.grounds(con, decision.id)
    revision = grounds[1] if grounds else None
    report = adapters.load_report(con, decision.turn, revision) if decision.turn else None
    return report if report and report.challenger == decision.challenger else None


def moved(con: Connection, report: Report | None) -> tuple[list[ExampleView], list[ExampleView]]:
    """Golden examples that the challenger fixes, and those that it breaks.

    Broken ones come worst first: must-pass, then by how sure the challenger was.
    """
    if report is None:
        return [], []
    texts = {row.sample.id: row.sample.text for row in samples.golden(con, retired=True)}
    fixed: list[ExampleView] = []
    broken: list[ExampleView] = []
    for row in report.outcomes:
        if row.split != "golden" or row.champion_correct == row.challenger_correct:
            continue
        if row.champion_correct is None or row.challenger_correct is None:
            continue
        example = ExampleView(
            sample=row.sample,
            text=texts.get(row.sample, ""),
            intent=row.intent,
            before=row.champion_intent,
            after=row.challenger_intent,
            must_pass=row.must_pass,
            confidence=row.challenger_confidence,
        )
        (fixed if row.challenger_correct else broken).append(example)
    broken.sort(key=lambda item: (not item.must_pass, -(item.confidence or 0.0)))
    return fixed[:_SHOWN], broken[:_SHOWN]


def training(
    runtime: Runtime, con: Connection, decision: Decision, turn: Turn | None
) -> TrainingView:
    """Where the challenger's samples came from, what is new among them, and what was refused."""
    known = {item.id: item for item in adapters.list_adapters(con)}
    challenger = known.get(decision.challenger)
    champion = known.get(decision.champion or "")
    if challenger is None:
        return TrainingView(by_origin={}, added=[], added_total=0, refused={})
    learned = learned_rows(runtime.datasets_dir / f"{challenger.dataset}.parquet")
    rows = [row for row in learned if row["origin"] != "name"]  # no names of intents
    before = set()
    if champion and champion.dataset:
        before = {
            row["id"] for row in learned_rows(runtime.datasets_dir / f"{champion.dataset}.parquet")
        }
    added = [row for row in rows if row["id"] not in before and row["intent"] is not None]
    return TrainingView(
        by_origin=dict(Counter(row["origin"] for row in rows)),
        added=[
            AddedSampleView(text=row["text"], intent=row["intent"], origin=row["origin"])
            for row in added[:_SHOWN]
        ],
        added_total=len(added),
        added_by_intent=dict(Counter(row["intent"] for row in added).most_common()),
        refused=dict(turn.record.refused) if turn else {},
        by_rater=_raters(runtime, con, added),
        raters=dict(turn.record.raters) if turn else {},
        cost_usd=turn.cost_usd if turn else 0.0,
    )


_WORDINGS = 10  # shown


def changed(turn: Turn | None, rule: ChangedAnswersRule) -> ChangedAnswersView:
    """Which answers changed beside the golden set, and how few raters taught what changed them."""
    record = (turn.record.changed if turn else None) or {}
    rows = [row for row in record.get("wordings", ()) if row["hosts"] or not row["asked"]]
    rows.sort(key=lambda row: (-len(row["hosts"]) / max(1, row["asked"]), row["id"]))
    return ChangedAnswersView(
        recent=record.get("recent", 0),
        moved=dict(record.get("moved", {})),
        wordings=[
            WordingView(
                wording=row["wording"],
                intent=row["intent"],
                voices=row["voices"],
                texts=row["texts"],
                asked=row["asked"],
                turned=len(row["hosts"]),
                learned=list(row["learned"]),
                examples=list(row["hosts"][: rule.examples]),
            )
            for row in rows[:_WORDINGS]
        ],
        taught={
            intent: IntentVoicesView(**found) for intent, found in record.get("taught", {}).items()
        },
    )


def _raters(runtime: Runtime, con: Connection, added: list[dict[str, Any]]) -> dict[str, int]:
    """Who labelled what is new: the kinds of raters behind feedback, else the origin."""
    kinds = {
        row.text: row.rater_kind
        for row in health.labelled_texts(con, runtime.config.raters.experts)
    }
    return dict(
        Counter(
            f"{kinds.get(row['text'], 'unknown')} feedback"
            if row["origin"] == "feedback"
            else row["origin"]
            for row in added
        ).most_common()
    )


# What a person may do about a decision now, by the rules that would refuse everything else.
#
# Nothing is offered that the same moment's `approve`, `reject` or `rollback` would refuse.


def offers(runtime: Runtime, con: Connection, decision: Decision) -> list[OfferView]:
    """What can be done, the most useful first. An approval names the gates to be overridden, and
    those that it takes on trust."""
    champion = adapters.champion(con)
    found: list[OfferView] = []
    if decision.status == "pending" and decision.rests_on.get("waits_for") == "labels":
        found.append(OfferView(do="label"))
    overridden = promotion.gates_to_override(decision)
    if _approvable(runtime, con, decision, overridden):
        word = decision.rests_on.get("look") or UNSET
        trusted = list(promotion.unproven(decision, overridden)) or UNSET
        found.append(
            OfferView(do="approve", override=list(overridden), looked=word, unproven=trusted)
        )
    if _rejectable(decision, champion):
        found.append(OfferView(do="reject"))
    if decision.status == "applied" and decision.challenger == champion:
        if adapters.previous_champion(con) is not None:
            found.append(OfferView(do="rollback"))
    elif not found:
        found.append(OfferView(do="turn"))
    return found


def _approvable(
    runtime: Runtime, con: Connection, decision: Decision, overridden: tuple[str, ...]
) -> bool:
    table = runtime.config.promotion
    try:
        promotion.may_approve(decision, candidate_of(con, decision), overridden, table)
        adapter_files.refuse_changed(runtime, adapters.get(con, decision.challenger))
    except FlywheelError:  # refused, or its adapter is not registered
        return False
    return True


def _rejectable(decision: Decision, champion: str | None) -> bool:
    try:
        promotion.ratify(decision, "reject", champion)
    except Refused:
        return False
    return True
