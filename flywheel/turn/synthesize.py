"""Step 2: the teacher writes samples for the failing intents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel import datasets
from flywheel.errors import TeacherUnavailable
from flywheel.protocols import Draft, TeacherAnswer
from flywheel.records import Brief, Sample
from flywheel.store import Connection, samples
from flywheel.store.teacher import AnswerTable, spent
from flywheel.store.turns import Turn
from flywheel.turn.runtime import Runtime, StepResult


def synthesize(runtime: Runtime, turn: Turn) -> StepResult:
    """Buy the samples of the briefs; an unavailable teacher skips the step.

    Answers bought by an interrupted attempt are reused and counted in this turn's cost.
    """
    briefs = turn.record.briefs
    if not briefs:
        return _skipped("no failing intent to write for")
    if runtime.teacher is None:
        return _skipped(f"no teacher configured; {len(briefs)} briefs stay unanswered")
    try:
        answers = runtime.teacher.write(briefs, AnswerTable(runtime.store, turn.id))
    except TeacherUnavailable as error:
        return _skipped(f"teacher unavailable: {error.message}", _paid(runtime, turn))
    written = _samples(briefs, answers, turn.id)
    problem_count = sum(
        len(answer.problems) for brief_answers in answers.values() for answer in brief_answers
    )

    def writes(con: Connection) -> None:
        samples.add(con, written, generation=None, bought_for=None, at=runtime.clock())

    return StepResult(
        next_state="curate",
        detail=f"{len(written)} samples written for {len(answers)} of {len(briefs)} intents"
        + (f"; {problem_count} parts of answers unreadable" if problem_count else ""),
        outputs=lambda record: dataclasses.replace(record, written=_counts(written)),
        writes=writes,
        cost_usd=_paid(runtime, turn),
    )


def _skipped(detail: str, cost_usd: float = 0.0) -> StepResult:
    return StepResult(next_state="curate", detail=detail, state="skipped", cost_usd=cost_usd)


def _paid(runtime: Runtime, turn: Turn) -> float:
    with runtime.store.read() as con:
        return spent(con, turn.id)


def _samples(
    briefs: Sequence[Brief], answers: Mapping[str, Sequence[TeacherAnswer]], turn_id: str
) -> list[Sample]:
    by_id: dict[str, Sample] = {}
    for brief in briefs:
        for answer in answers.get(brief.id, ()):
            for draft in answer.drafts:
                identity = datasets.sample_id(
                    draft.text, draft.intent, draft.arguments, "teacher", "train"
                )
                by_id[identity] = Sample(
                    id=identity,
                    text=draft.text,
                    intent=draft.intent,
                    arguments=draft.arguments,
                    origin="teacher",
                    split="train",
                    provenance={
                        "turn": turn_id,
                        "brief": brief.id,
                        "request": answer.request,
                        **_blind(draft),
                    },
                )
    return list(by_id.values())


def _blind(draft: Draft) -> dict[str, Any]:
    if draft.blind is None:
        return {}
    return {"blind": dataclasses.asdict(draft.blind)}


def _counts(written: Sequence[Sample]) -> Mapping[str, Any]:
    counts: dict[str, int] = {}
    for sample in written:
        counts[sample.intent] = counts.get(sample.intent, 0) + 1
    return counts
