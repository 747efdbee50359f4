"""Step 3: screen the candidates by the rules of curation, and write the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flywheel import curation, datasets, lineage
from flywheel.errors import FlywheelError
from flywheel.metrics import RaterTally, often_wrong, wilson
from flywheel.records import Refusal, Sample, Split
from flywheel.store import Connection, adapters, label_candidates, samples
from flywheel.store.health import LabelledText
from flywheel.store.label_candidates import votes
from flywheel.store.turns import ERASURE, Turn
from flywheel.turn.artifacts import dataset_rows, run_job, write_table
from flywheel.turn.diagnose import away_from_judges, held_out, judged_by
from flywheel.turn.overlaps import held_out_samples
from flywheel.turn.runtime import Runtime, StepResult

_IMPORT = "import labelled texts: `flywheel samples import FILE --split seed`"
_SHOWN = 10  # raters named in the turn's record


def sift(
    runtime: Runtime,
    turn: Turn,
    candidates: Sequence[Sample],
    kept_out: Sequence[str],
    dev: Sequence[Sample],
) -> curation.Sifted:
    """Apply every rule of curation; the model that scores samples runs in the worker."""
    rules = sift_rules(runtime, turn, kept_out, dev)
    return curation.sift(
        candidates, rules, lambda samples, aside: _scored(runtime, turn, samples, aside, dev)
    )


def sift_rules(
    runtime: Runtime, turn: Turn, kept_out: Sequence[str], dev: Sequence[Sample] = ()
) -> curation.SiftRules:
    """Return the rules of curation as this turn is told them."""
    return curation.SiftRules(
        intents=runtime.intents,
        kept_out=kept_out,
        brief_texts={brief.id: brief.failed_texts for brief in turn.record.briefs},
        turn=turn.id,
        curation=runtime.config.curation,
        raters=runtime.config.raters,
        dev=dev,
    )


def _scored(
    runtime: Runtime,
    turn: Turn,
    candidates: Sequence[Sample],
    aside: Sequence[Sample],
    dev: Sequence[Sample],
) -> curation.Scored:
    """By out-of-fold logistic regression and the frozen base's embedding, in the worker."""
    if not any(sample.origin in ("feedback", "teacher") for sample in candidates):
        return curation.Scored()
    unsettled = {sample.id: sample for sample in aside}
    scored = [*candidates, *unsettled.values(), *dev]
    origins = [s.origin for s in candidates] + ["unsettled"] * len(unsettled) + ["dev"] * len(dev)
    rows = datasets.rows_table(
        [(s.id, s.text) for s in scored], intent=[s.intent for s in scored], origin=origins
    )
    spec = {"folds": runtime.config.curation.noise_folds}
    job = run_job(runtime, turn, "crossfit", "crossfit", spec, rows)
    scores, pairs = (
        pq.read_table(runtime.job_dir(job.id) / f"{name}.parquet").to_pylist()
        for name in ("scores", "pairs")
    )
    return curation.Scored(
        scores={row.pop("id"): curation.NoiseScore(**row) for row in scores},
        pairs=[curation.Alike(**row) for row in pairs],
    )


def _checked_on_dev(
    runtime: Runtime, turn: Turn, sifted: curation.Sifted, dev: Sequence[Sample]
) -> tuple[curation.Sifted, dict[str, Any]]:
    """Leave the rule on label noise out where dev says that it harms; return what it came to.

    Logistic regression learns the samples with the rule and without it. The rule is left out where
    dev rows that only the other has right outnumber by more than one standard error: dev is small,
    and by itself the rule is right at least as often as `noise_precision` says.
    """
    summary: dict[str, Any] = sifted.noise.summary() | {"ask": _to_ask(runtime, sifted)}
    acted = bool(sifted.noise.refused or sifted.noise.doubted)
    if not (runtime.config.curation.noise_on_dev and dev and acted):
        return sifted, summary
    ruled, given = ({s.id: s.weight for s in kept} for kept in (sifted.kept, sifted.as_given))
    learned = {sample.id: sample for sample in (*sifted.kept, *sifted.as_given)}
    both = [*learned.values(), *dev]
    rows = datasets.rows_table(
        [(s.id, s.text) for s in both],
        intent=[s.intent for s in both],
        origin=["train"] * len(learned) + ["dev"] * len(dev),
        weights={
            "ruled": [ruled.get(s.id, 0.0) for s in both],
            "given": [given.get(s.id, 0.0) for s in both],
        },
    )
    found = run_job(runtime, turn, "noise-check", "noise_check", {}, rows).values
    gained, lost = int(found["gained"]), int(found["lost"])
    left_out = lost - gained > (lost + gained) ** 0.5
    summary |= {"on_dev": dict(found), "left_out": left_out}
    return (sifted.without_noise_rule() if left_out else sifted), summary


def _to_ask(runtime: Runtime, sifted: curation.Sifted) -> list[dict[str, str]]:
    """Doubted labels of feedback that a person is asked about, those worth most first."""
    learned = {s.id: s for s in sifted.as_given}
    learned |= {item.sample.id: item.sample for item in sifted.noise.refused}
    asked = [s for s in learned.values() if s.origin == "feedback" and "prediction" in s.provenance]
    most = runtime.config.labelling.doubted
    worth = curation.most_valuable(sifted.noise, asked, tuple(learned.values()), most)
    return [
        {
            "prediction": str(sample.provenance["prediction"]),
            "label": sample.intent,
            "fits": doubt.score.top,
        }
        for sample, doubt in worth
    ]


def _noise_detail(noise: Mapping[str, Any]) -> str:
    if noise.get("left_out"):
        on_dev = noise["on_dev"]
        return (
            f"; the rule on label noise is left out: on dev it loses {on_dev['lost']} and gains "
            f"{on_dev['gained']} of {on_dev['dev']}"
        )
    refused, lowered = noise["refused"], noise["down_weighted"]
    if not refused and not lowered:
        return ""
    sure = f", {noise['precision']:.0%} of them wrong by estimate" if refused else ""
    return f"; labels refused as noise: {refused}{sure}; {lowered} doubted ones count less"


def _explained(sifted: curation.Sifted) -> list[Refusal]:
    """Refused samples and those that count less, each with why; the latter as `doubted`."""
    by_id = {sample.id: sample for sample in sifted.kept}
    doubted = [
        Refusal(sample=by_id[name], reason="doubted", detail=f"counts less: {doubt.told()}")
        for name, doubt in sorted(sifted.noise.doubted.items())
        if name in by_id
    ]
    return [*sifted.refused, *doubted]


def _held_out_seeds(runtime: Runtime, refused: Sequence[Refusal]) -> tuple[tuple[str, str], ...]:
    """Ids of the seeds and people's samples that are not learned, each with the one it is near."""
    seeds = [
        item.sample
        for item in refused
        if item.reason == "leak" and item.sample.origin in curation.TRUSTED
    ]
    with runtime.store.read() as con:
        judging = held_out_samples(con)
    near = curation.near_held_out(seeds, judging, runtime.config.curation.leak)
    return tuple((pair.sample.id, pair.held_out.id) for pair in near)


def _held_out_detail(held_out_seeds: Sequence[tuple[str, str]], turn: str) -> str:
    if not held_out_seeds:
        return ""
    count = f"{len(held_out_seeds)} seed" + ("s" if len(held_out_seeds) > 1 else "")
    return (
        f"; {count} not learned, being near what judges: "
        f"`flywheel turn refused {turn} --reason leak` names them"
    )


def _rater_summary(sifted: curation.Sifted) -> dict[str, Any]:
    """Rater statistics for `turn show`: the average, and the raters significantly above it.

    Raters who are one voice have the name of the first of them. `wrong` is the share of wrong
    labels, 0..1; `low` and `high` are its 95 % interval.
    """
    believed = sifted.believed
    doubted = often_wrong(believed.raters)
    return {
        "judged": len(believed.raters.known),
        "voices": sifted.voices.count,
        "together": sifted.voices.together,
        "contrary": len(believed.contrary),
        "usual": round(believed.raters.usual, 4),
        "often_wrong": len(doubted),
        "doubted": [_doubted(tally) for tally in doubted[:_SHOWN]],
    }


def _spread(turn: Turn, sifted: curation.Sifted) -> dict[str, float]:
    """Diversity of this turn's teacher samples by intent, 0..1, paraphrases included."""
    spread = curation.spread(sifted.screened, sifted.scored.pairs, turn.id)
    return {intent: round(value, 3) for intent, value in spread.items()}


def _doubted(tally: RaterTally) -> dict[str, Any]:
    low, high = wilson(tally.errors, tally.votes)
    return {
        "rater": tally.rater,
        "votes": tally.votes,
        "wrong": round(tally.errors / tally.votes, 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def curate(runtime: Runtime, turn: Turn) -> StepResult:
    """Screen every candidate, refuse likely wrong labels, and write the dataset."""
    with runtime.store.read() as con:
        champion = adapters.champion(con)
        before = _dataset_of(con, champion)
        candidates = training_candidates(runtime, con)
        dev = lineage.judging(samples.dev(con), runtime.intents)
        kept_out, judging_texts = held_out(con), judged_by(con)
        unlabelled, threshold = _without_labels(runtime, con, kept_out)
    if not candidates:
        raise FlywheelError("there is nothing to train on", hint=_IMPORT)
    given = sift(runtime, turn, candidates, kept_out, dev)
    sifted, noise = _checked_on_dev(runtime, turn, given, dev)
    held_out_seeds = _held_out_seeds(runtime, sifted.refused)
    summary, spread = _rater_summary(sifted), _spread(turn, sifted)
    learned = datasets.TrainingSet(
        train=curation.aged(sifted.kept, candidates, runtime.config.training.half_life_days),
        dev=tuple(dev),
        learned=_learned_dev(runtime, dev, judging_texts),
        unlabelled=unlabelled if champion else (),
        threshold=threshold,
        names=_names(runtime, sifted.kept, kept_out),
    )
    dataset, rows = datasets.assemble(learned, runtime.config.training.balance)
    write_table(runtime.config.state_dir / dataset.path, rows)
    added = _count_new(sifted.kept, runtime.datasets_dir / f"{before}.parquet")
    enough = not before or _is_enough(runtime, turn, added)

    def writes(con: Connection) -> None:
        samples.add_refusals(con, turn.id, _explained(sifted), runtime.clock())

    return StepResult(
        next_state="train" if enough else "done",
        detail=f"samples kept: {len(sifted.kept)}, {added} of them new; {_reasons(sifted.refused)}"
        f"{_noise_detail(noise)}{_held_out_detail(held_out_seeds, turn.id)}"
        f"{_rater_detail(summary)}{_spread_detail(spread)}"
        + ("" if enough else "; too little is new to train on"),
        outputs=lambda record: replace(
            record,
            dataset=dataset.id,
            by_origin=dataset.by_origin,
            new=added,
            refused=Counter(item.reason for item in sifted.refused),
            noise=noise,
            held_out=held_out_seeds,
            raters=summary,
            spread=spread,
        ),
        writes=writes,
    )


def _is_enough(runtime: Runtime, turn: Turn, added: int) -> bool:
    """Whether so many new samples are worth a training; after an erasure none need be."""
    return turn.trigger == ERASURE or added >= runtime.config.training.min_new_samples


def _dataset_of(con: Connection, champion: str | None) -> str:
    """Dataset id of the champion; "" without a champion or with an external one."""
    if champion is None or adapters.get(con, champion).state == "external":
        return ""
    return adapters.get(con, champion).dataset


def training_candidates(runtime: Runtime, con: Connection) -> list[Sample]:
    """All training candidates, stored samples and feedback, with current intent names."""
    stored = [
        *samples.training(con),
        *map(from_feedback, votes(con, runtime.config.raters.experts)),
    ]
    return lineage.under_names(stored, runtime.intents)


def _count_new(accepted: Sequence[Sample], before: Path) -> int:
    """Number of samples that the earlier dataset lacks; a renamed intent makes a sample new."""
    earlier = {(row["id"], row["intent"]) for row in dataset_rows(before)}
    return sum((sample.id, sample.intent) not in earlier for sample in accepted)


def _learned_dev(
    runtime: Runtime, dev: Sequence[Sample], judging_texts: Sequence[str]
) -> frozenset[str]:
    """Dev samples to train on after the choice: those not near a golden or fresh text."""
    if not runtime.config.training.refit:
        return frozenset()
    apart = curation.without_leaks(dev, judging_texts, runtime.config.curation.leak)
    return frozenset(sample.id for sample in apart.kept)


def _names(
    runtime: Runtime, accepted: Sequence[Sample], kept_out: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Names as texts of intents with few samples, without names near a held-out text."""
    if not runtime.config.training.intent_names:
        return ()
    candidates = curation.name_texts([(sample.text, sample.intent) for sample in accepted])
    apart = set(away_from_judges(runtime, [text for text, _ in candidates], kept_out))
    return tuple((text, intent) for text, intent in candidates if text in apart)


def _without_labels(
    runtime: Runtime, con: Connection, kept_out: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Production texts for self-training, and others that carry the out-of-scope threshold.

    As many of each as configured, the newest first, none near a held-out text.
    """
    table = runtime.config.training
    most = table.unlabelled + table.threshold_texts
    texts = label_candidates.unlabelled(con, window_start(runtime, con), most) if most else []
    apart = tuple(away_from_judges(runtime, texts, kept_out))
    return apart[: table.unlabelled], apart[table.unlabelled :]


def from_feedback(row: LabelledText, split: Split = "train") -> Sample:
    """Return a labelled production text as a sample of the given split."""
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
            "said_at": row.ts.isoformat(),
        },
    )


def _rater_detail(summary: Mapping[str, Any]) -> str:
    """Part of the step's detail, without rater names: it is stored, and raters may be erased."""
    count = summary["often_wrong"]
    if not count:
        return ""
    return (
        f"; {count} of {summary['judged']} raters wrong far more often than most, and weighed less"
    )


def _spread_detail(spread: Mapping[str, float]) -> str:
    if not spread:
        return ""
    lowest = min(spread, key=lambda intent: (spread[intent], intent))
    return f"; least varied is what was written for {lowest} ({spread[lowest]:.2f})"


def _reasons(refused: Iterable[Refusal]) -> str:
    counts = Counter(item.reason for item in refused)
    if not counts:
        return "none refused"
    return "refused " + ", ".join(f"{n} {reason}" for reason, n in counts.most_common())


def window_start(runtime: Runtime, con: Connection) -> datetime:
    """Return the start of the window: `window_days` before the newest prediction."""
    now = runtime.clock()
    newest = min(now, label_candidates.newest(con) or now)
    return newest - timedelta(days=runtime.config.intents.window_days)
