"""Step 2: have the teacher write samples for the failing intents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel import datasets
from flywheel.errors import TeacherUnavailable
from flywheel.protocols import Answer, Draft
from flywheel.records import Brief, Sample
from flywheel.store import Connection, samples
from flywheel.store.teacher import AnswerTable, spent
from flywheel.store.turns import Turn
from flywheel.turn.runtime import Runtime, StepResult


def synthesize(runtime: Runtime, turn: Turn) -> StepResult:
    """Buy what the briefs ask for; a teacher that is down costs the turn nothing but samples.

    What an interrupted attempt had bought is paid by this turn too, and bought no second time.
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
    unread = sum(len(answer.problems) for given in answers.values() for answer in given)

    def writes(con: Connection) -> None:
        samples.add(con, written, generation=None, bought_for=None, at=runtime.clock())

    return StepResult(
        next_state="curate",
        detail=f"{len(written)} samples written for {len(answers)} of {len(briefs)} intents"
        + (f"; {unread} parts of answers unreadable" if unread else ""),
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
    briefs: Sequence[Brief], answers: Mapping[str, Sequence[Answer]], turn_id: str
) -> list[Sample]:
    written: dict[str, Sample] = {}
    for brief in briefs:
        for answer in answers.get(brief.id, ()):
            for draft in answer.drafts:
                identity = datasets.sample_id(
                    draft.text, draft.intent, draft.arguments, "teacher", "train"
                )
                written[identity] = Sample(
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
    return list(written.values())


def _blind(draft: Draft) -> dict[str, Any]:
    if draft.blind is None:
        return {}
    return {"blind": dataclasses.asdict(draft.blind)}


def _counts(written: Sequence[Sample]) -> Mapping[str, Any]:
    counts: dict[str, int] = {}
    for sample in written:
        counts[sample.intent] = counts.get(sample.intent, 0) + 1
    return counts
