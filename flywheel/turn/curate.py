"""Step 3: screen the candidates by every rule of curation, and write the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import dataset_rows, run_job, write_table
from flywheel.turn.diagnose import away_from_judges, held_out, judged_by
from flywheel.turn.runtime import Runtime, StepResult

# Which candidates pass every rule of curation, in which order the rules are asked, and why not.

_SHOWN = 10  # raters named

Rule = Callable[[Sequence[Sample]], curation.Curated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """What is learnt from, each with its weight, and what is not, each with its reason."""

    kept: tuple[Sample, ...]
    refused: tuple[Refusal, ...]
    raters: Mapping[str, Any]  # the average, and who is wrong far more often
    spread: Mapping[str, float]  # by intent, how different what was written in this turn is


def sift(
    runtime: Runtime, turn: Turn, candidates: Sequence[Sample], kept_out: Sequence[str]
) -> Sifted:
    """Ask every rule: first those that read, then those that need a model's opinion."""
    table, shown = runtime.config.curation, _shown(turn)
    screened, unread = _through(
        candidates,
        lambda kept: curation.copied(kept, shown, table.copied),
        lambda kept: curation.of_known_script(kept, shown),
        curation.verified,
        lambda kept: curation.screen(kept, (), kept_out, runtime.intents, table),
    )
    seen = _seen(runtime, turn, screened)
    believed = curation.believe(candidates, seen.scores)
    kept, doubted = _through(screened, *_doubts(runtime, turn, seen, believed))
    spread = curation.spread(screened, seen.pairs, turn.id)
    return Sifted(
        kept=curation.weighed(kept, believed),
        refused=unread + doubted,
        raters=_told(believed),
        spread={intent: round(value, 3) for intent, value in spread.items()},
    )


def _shown(turn: Turn) -> dict[str, Sequence[str]]:
    """By brief of this turn, the production texts in it."""
    return {brief.id: brief.failed_texts for brief in turn.record.briefs}


def _through(
    samples: Sequence[Sample], *rules: Rule
) -> tuple[Sequence[Sample], tuple[Refusal, ...]]:
    """What passes all rules, one after the other, and what any of them refused."""
    refused: tuple[Refusal, ...] = ()
    for rule in rules:
        found = rule(samples)
        samples, refused = found.kept, refused + found.refused
    return samples, refused


@dataclass(frozen=True, slots=True)
class _Seen:
    """What models that had not seen a label say of it, and which samples say the same."""

    scores: Mapping[str, curation.NoiseScore]  # by sample id
    pairs: Sequence[curation.Alike]


def _seen(runtime: Runtime, turn: Turn, candidates: Sequence[Sample]) -> _Seen:
    """By out-of-fold logistic regression and the frozen base's embedding, in the worker."""
    if not any(sample.origin in ("feedback", "teacher") for sample in candidates):
        return _Seen({}, ())
    rows = datasets.rows_table(
        [(s.id, s.text) for s in candidates],
        intent=[s.intent for s in candidates],
        origin=[s.origin for s in candidates],
    )
    spec = {"folds": runtime.config.curation.noise_folds}
    job = run_job(runtime, turn, "crossfit", "crossfit", spec, rows)
    scores, pairs = (
        pq.read_table(runtime.job_dir(job.id) / f"{name}.parquet").to_pylist()
        for name in ("scores", "pairs")
    )
    return _Seen(
        {row.pop("id"): curation.NoiseScore(**row) for row in scores},
        [curation.Alike(**row) for row in pairs],
    )


def _doubts(
    runtime: Runtime, turn: Turn, seen: _Seen, believed: curation.Believed
) -> tuple[Rule, ...]:
    """What asks the models: does it say something new, is its label right, who said it?"""
    table = runtime.config.curation
    return (
        lambda kept: curation.without_paraphrases(kept, seen.pairs, table.paraphrase, turn.id),
        lambda kept: curation.in_their_neighbourhood(kept, seen.scores),
        lambda kept: curation.label_noise(
            kept,
            seen.scores,
            table.noise_ratio,
            table.noise_share,
            curation.bars(kept, believed),
        ),
        lambda kept: curation.capped(kept, believed, seen.scores, table.rater_cap),
    )


def _told(believed: curation.Believed) -> dict[str, Any]:
    """For `turn show`: the average, and the raters who are shown to be wrong more often.

    `wrong` is the share of wrong labels, `low` and `high` its 95 % interval.
    """
    doubted = often_wrong(believed.raters)
    return {
        "judged": len(believed.raters.known),
        "usual": round(believed.raters.usual, 4),
        "often_wrong": len(doubted),
        "doubted": [_doubted(each) for each in doubted[:_SHOWN]],
    }


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
    """Screen every candidate, drop likely wrong labels, and write the dataset."""
    with runtime.store.read() as con:
        champion = adapters.champion(con)
        before = _dataset_of(con, champion)
        candidates = _candidates(runtime, con)
        dev = lineage.judging(samples.dev(con), runtime.intents)
        kept_out, judged = held_out(con), judged_by(con)
        unlabelled = _unlabelled(runtime, con, kept_out) if champion else ()
    if not candidates:
        raise FlywheelError(
            "there is nothing to train on",
            hint="import labelled texts: `flywheel samples import FILE --split seed`",
        )
    sifted = sift(runtime, turn, candidates, kept_out)
    learned = _learned_dev(runtime, dev, judged) if champion else frozenset[str]()
    dataset, rows = datasets.assemble(
        datasets.TrainingSet(
            train=curation.aged(sifted.kept, candidates, runtime.config.training.half_life_days),
            dev=tuple(dev),
            learned=learned,
            unlabelled=unlabelled,
            names=_names(runtime, sifted.kept, kept_out),
        ),
        runtime.config.training.balance,
    )
    write_table(runtime.config.state_dir / dataset.path, rows)
    new = _new(sifted.kept, runtime.datasets_dir / f"{before}.parquet")
    enough = not before or new >= runtime.config.training.min_new_samples

    def writes(con: Connection) -> None:
        samples.add_refusals(con, turn.id, sifted.refused, runtime.clock())

    return StepResult(
        next_state="train" if enough else "done",
        detail=f"samples kept: {len(sifted.kept)}, {new} of them new; {_reasons(sifted.refused)}"
        + _of_raters(sifted.raters)
        + _of_spread(sifted.spread)
        + ("" if enough else "; too little is new to train on"),
        outputs=lambda record: replace(
            record,
            dataset=dataset.id,
            by_origin=dataset.by_origin,
            new=new,
            refused=Counter(item.reason for item in sifted.refused),
            raters=sifted.raters,
            spread=sifted.spread,
        ),
        writes=writes,
    )


def _dataset_of(con: Connection, champion: str | None) -> str:
    """What the champion was trained on; "" of none, and of a production model from outside."""
    if champion is None or adapters.get(con, champion).state == "external":
        return ""
    return adapters.get(con, champion).dataset


def _candidates(runtime: Runtime, con: Connection) -> list[Sample]:
    """All that could be learned from, under the names of today."""
    stored = [*samples.training(con), *map(from_feedback, votes(con))]
    return lineage.under_names(stored, runtime.intents)


def _new(kept: Sequence[Sample], before: Path) -> int:
    """How many samples that dataset lacks; one under another name than there is new."""
    known = {(row["id"], row["intent"]) for row in dataset_rows(before)}
    return sum((sample.id, sample.intent) not in known for sample in kept)


def _learned_dev(runtime: Runtime, dev: Sequence[Sample], judged: Sequence[str]) -> frozenset[str]:
    """Dev samples to learn once all is chosen: those that are near nothing that judges.

    The first champion learns none: it stands for what the seeds alone give.
    """
    if not runtime.config.training.refit:
        return frozenset()
    apart = curation.without_leaks(dev, judged, runtime.config.curation.leak)
    return frozenset(sample.id for sample in apart.kept)


def _names(
    runtime: Runtime, kept: Sequence[Sample], kept_out: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """What the intents of few samples are called, where that is near nothing that judges."""
    if not runtime.config.training.intent_names:
        return ()
    named = curation.name_texts([(sample.text, sample.intent) for sample in kept])
    apart = set(away_from_judges(runtime, [text for text, _ in named], kept_out))
    return tuple((text, intent) for text, intent in named if text in apart)


def _unlabelled(runtime: Runtime, con: Connection, kept_out: Sequence[str]) -> tuple[str, ...]:
    """Production texts for self-training, as many as are asked for and near nothing that judges."""
    wanted = runtime.config.training.unlabelled
    if not wanted:
        return ()
    texts = label_candidates.unlabelled(con, window_start(runtime, con), wanted)
    return tuple(away_from_judges(runtime, texts, kept_out))


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
            "said_at": row.ts.isoformat(),
        },
    )


def _of_raters(told: Mapping[str, Any]) -> str:
    """Without names: what a step says is kept, and an erased rater must not be found there."""
    count = told["often_wrong"]
    if not count:
        return ""
    return f"; {count} of {told['judged']} raters wrong far more often than most, and weighed less"


def _of_spread(spread: Mapping[str, float]) -> str:
    if not spread:
        return ""
    least = min(spread, key=lambda intent: (spread[intent], intent))
    return f"; least varied is what was written for {least} ({spread[least]:.2f})"


def _reasons(refused: Iterable[Refusal]) -> str:
    counts = Counter(item.reason for item in refused)
    if not counts:
        return "none refused"
    return "refused " + ", ".join(f"{n} {reason}" for reason, n in counts.most_common())


def window_start(runtime: Runtime, con: Connection) -> datetime:
    """Asked about is what was predicted in `window_days` up to the newest prediction."""
    now = runtime.clock()
    newest = min(now, label_candidates.newest(con) or now)
    return newest - timedelta(days=runtime.config.intents.window_days)
