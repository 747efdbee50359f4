"""Step 3: which samples are fit to learn from, and whether there is anything new among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

from flywheel import curation, datasets
from flywheel.errors import FlywheelError
from flywheel.records import Refusal, Sample, Split
from flywheel.store import Connection, adapters, health, samples
from flywheel.store.health import LabelledText
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import dataset_rows, run_job, write_table
from flywheel.turn.diagnose import held_out, judged_by
from flywheel.turn.step import StepResult
from flywheel.turn.wheel import Wheel


def curate(wheel: Wheel, turn: Turn) -> StepResult:
    """Screen every candidate, drop likely wrong labels, and write the dataset."""
    with wheel.store.read() as con:
        champion = adapters.champion(con)
        own = champion is not None and adapters.get(con, champion).state != "external"
        before = adapters.get(con, champion).dataset if champion and own else ""
        candidates = [*samples.training(con), *map(from_feedback, health.labelled_texts(con))]
        dev, kept_out, judged = samples.dev(con), held_out(con), judged_by(con)
    if not candidates:
        raise FlywheelError(
            "there is nothing to train on",
            hint="import labelled texts: `flywheel samples import FILE --split seed`",
        )
    own_words = curation.copied(candidates, _shown(turn), wheel.config.curation.copied)
    verified = curation.verified(own_words.kept)
    screened = curation.screen(verified.kept, (), kept_out, wheel.intents, wheel.config.curation)
    cleaned = _drop_likely_wrong(wheel, turn, screened.kept)
    refused = (
        *own_words.refused,
        *verified.refused,
        *screened.refused,
        *cleaned.refused,
    )
    learned = _learned_dev(wheel, dev, judged) if champion else frozenset[str]()
    dataset, table = datasets.assemble(
        datasets.TrainingSet(train=cleaned.kept, dev=tuple(dev), learned=learned),
        wheel.config.training.balance,
    )
    write_table(wheel.config.state_dir / dataset.path, table)
    known = {row["id"] for row in dataset_rows(wheel.datasets_dir / f"{before}.parquet")}
    new = sum(1 for sample in cleaned.kept if sample.id not in known)
    enough = not own or new >= wheel.config.training.min_new_samples

    def writes(con: Connection) -> None:
        samples.add_refusals(con, turn.id, refused, wheel.clock())

    return StepResult(
        next_state="train" if enough else "done",
        detail=f"{len(cleaned.kept)} samples kept, {new} of them new; {_reasons(refused)}"
        + ("" if enough else "; too little is new to train on"),
        outputs={
            "dataset": dataset.id,
            "by_origin": dict(dataset.by_origin),
            "new": new,
            "refused": dict(Counter(item.reason for item in refused)),
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


def _drop_likely_wrong(wheel: Wheel, turn: Turn, candidates: Sequence[Sample]) -> curation.Curated:
    """Judge labels by models that have not seen them: out-of-fold logistic regression."""
    doubtful = [sample for sample in candidates if sample.origin in ("feedback", "teacher")]
    if not doubtful:
        return curation.Curated(kept=tuple(candidates), refused=())
    job_id = f"{turn.id}-crossfit"
    rows = datasets.rows_table(
        [(s.id, s.text) for s in candidates],
        intent=[s.intent for s in candidates],
        origin=[s.origin for s in candidates],
    )
    run_job(wheel, job_id, "crossfit", {"folds": wheel.config.curation.noise_folds}, rows)
    scores = {
        row["id"]: curation.NoiseScore(
            p_label=row["p_label"], top=row["top"], p_top=row["p_top"], odds=row["odds"]
        )
        for row in pq.read_table(wheel.job_dir(job_id) / "scores.parquet").to_pylist()
    }
    table = wheel.config.curation
    return curation.label_noise(candidates, scores, table.noise_ratio, table.noise_share)


def _reasons(refused: Iterable[Refusal]) -> str:
    counts = Counter(item.reason for item in refused)
    if not counts:
        return "none refused"
    return "refused " + ", ".join(f"{n} {reason}" for reason, n in counts.most_common())
