"""Step 3: which samples are fit to learn from, and whether there is anything new among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from flywheel import curation, datasets
from flywheel.errors import FlywheelError
from flywheel.records import Refusal, Sample, Split
from flywheel.store import Connection, adapters, samples
from flywheel.store.health import LabelledText
from flywheel.store.turns import Turn
from flywheel.store.votes import votes
from flywheel.turn.artifacts import dataset_rows, run_job, write_table
from flywheel.turn.diagnose import held_out, judged_by
from flywheel.turn.step import StepResult
from flywheel.turn.wheel import Wheel

_OFTEN = 2.0  # times the average share of wrong labels: such a rater is named
_SHOWN = 10  # raters named


def curate(wheel: Wheel, turn: Turn) -> StepResult:
    """Screen every candidate, drop likely wrong labels, and write the dataset."""
    with wheel.store.read() as con:
        champion = adapters.champion(con)
        own = champion is not None and adapters.get(con, champion).state != "external"
        before = adapters.get(con, champion).dataset if champion and own else ""
        candidates = [*samples.training(con), *map(from_feedback, votes(con))]
        dev, kept_out, judged = samples.dev(con), held_out(con), judged_by(con)
    if not candidates:
        raise FlywheelError(
            "there is nothing to train on",
            hint="import labelled texts: `flywheel samples import FILE --split seed`",
        )
    own_words = curation.copied(candidates, _shown(turn), wheel.config.curation.copied)
    verified = curation.verified(own_words.kept)
    screened = curation.screen(verified.kept, (), kept_out, wheel.intents, wheel.config.curation)
    learnt, believed = _believed(wheel, turn, candidates, screened.kept)
    refused = (*own_words.refused, *verified.refused, *screened.refused, *learnt.refused)
    learned = _learned_dev(wheel, dev, judged) if champion else frozenset[str]()
    dataset, table = datasets.assemble(
        datasets.TrainingSet(train=learnt.kept, dev=tuple(dev), learned=learned),
        wheel.config.training.balance,
    )
    write_table(wheel.config.state_dir / dataset.path, table)
    raters = _told(believed)
    known = {row["id"] for row in dataset_rows(wheel.datasets_dir / f"{before}.parquet")}
    new = sum(1 for sample in learnt.kept if sample.id not in known)
    enough = not own or new >= wheel.config.training.min_new_samples

    def writes(con: Connection) -> None:
        samples.add_refusals(con, turn.id, refused, wheel.clock())

    return StepResult(
        next_state="train" if enough else "done",
        detail=f"{len(learnt.kept)} samples kept, {new} of them new; {_reasons(refused)}"
        + _of_raters(raters)
        + ("" if enough else "; too little is new to train on"),
        outputs={
            "dataset": dataset.id,
            "by_origin": dict(dataset.by_origin),
            "new": new,
            "refused": dict(Counter(item.reason for item in refused)),
            "raters": raters,
        },
        writes=writes,
    )


def _learned_dev(wheel: Wheel, dev: Sequence[Sample], judged: Sequence[str]) -> frozenset[str]:
    """Dev samples to learn once all is chosen: those that are near nothing that judges.

    The first champion learns none: it stands for what the seeds alone give.
    """
    if not wheel.config.training.refit:
        return frozenset()
    apart = curation.without_leaks(dev, judged, wheel.config.curation.leak)
    return frozenset(sample.id for sample in apart.kept)


def _shown(turn: Turn) -> dict[str, Sequence[str]]:
    """By brief of this turn, the production texts in it."""
    return {brief["id"]: brief["failed_texts"] for brief in turn.cursor.get("briefs", ())}


def from_feedback(row: LabelledText, split: Split = "train") -> Sample:
    """A labelled production text as something to learn from, or to judge by."""
    arguments = row.arguments or None
    identity = datasets.sample_id(row.text, row.intent, arguments, "feedback", split)
    return Sample(
        id=identity,
        text=row.text,
        intent=row.intent,
        arguments=arguments,
        origin="feedback",
        split=split,
        slices=row.slices,
        provenance={
            "prediction": row.prediction_id,
            "rater": row.rater,
            "rater_kind": row.rater_kind,
        },
    )


def _believed(
    wheel: Wheel, turn: Turn, candidates: Sequence[Sample], screened: Sequence[Sample]
) -> tuple[curation.Curated, curation.Believed]:
    """Drop likely wrong labels and what one rater gave too much of; weigh raters who err less."""
    scores = _scores(wheel, turn, screened)
    table = wheel.config.curation
    believed = curation.believe(candidates, scores)
    bars = curation.bars(screened, believed)
    cleaned = curation.label_noise(screened, scores, table.noise_ratio, table.noise_share, bars)
    within = curation.capped(cleaned.kept, believed, scores, table.rater_cap)
    kept = curation.weighed(within.kept, believed)
    return curation.Curated(kept=kept, refused=(*cleaned.refused, *within.refused)), believed


def _scores(
    wheel: Wheel, turn: Turn, candidates: Sequence[Sample]
) -> dict[str, curation.NoiseScore]:
    """What models say of labels that they have not seen: out-of-fold logistic regression."""
    if not any(sample.origin in ("feedback", "teacher") for sample in candidates):
        return {}
    job_id = f"{turn.id}-crossfit"
    rows = datasets.rows_table(
        [(s.id, s.text) for s in candidates],
        intent=[s.intent for s in candidates],
        origin=[s.origin for s in candidates],
    )
    run_job(wheel, job_id, "crossfit", {"folds": wheel.config.curation.noise_folds}, rows)
    return {
        row["id"]: curation.NoiseScore(
            p_label=row["p_label"], top=row["top"], p_top=row["p_top"], odds=row["odds"]
        )
        for row in pq.read_table(wheel.job_dir(job_id) / "scores.parquet").to_pylist()
    }


def _told(believed: curation.Believed) -> dict[str, Any]:
    """For `turn show`: the average, and the raters that are wrong far more often."""
    usual = believed.raters.usual
    doubted = [tally for tally in believed.raters.known if tally.wrong > _OFTEN * usual]
    doubted.sort(key=lambda tally: (-tally.wrong, tally.rater))
    return {
        "judged": len(believed.raters.known),
        "usual": round(usual, 4),
        "often_wrong": len(doubted),
        "doubted": [
            {"rater": each.rater, "votes": each.votes, "wrong": round(each.wrong, 4)}
            for each in doubted[:_SHOWN]
        ],
    }


def _of_raters(told: Mapping[str, Any]) -> str:
    """Without names: what a step says is kept, and an erased rater must not be found there."""
    count = told["often_wrong"]
    if not count:
        return ""
    return f"; {count} of {told['judged']} raters wrong far more often than most, and weighed less"


def _reasons(refused: Iterable[Refusal]) -> str:
    counts = Counter(item.reason for item in refused)
    if not counts:
        return "none refused"
    return "refused " + ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
