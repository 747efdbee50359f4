"""Which candidates pass every rule of curation, in which order the rules are asked, and why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from flywheel import curation, datasets
from flywheel.metrics import RaterTally, often_wrong, wilson
from flywheel.records import Refusal, Sample
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import run_job
from flywheel.turn.wheel import Wheel

_SHOWN = 10  # raters named

Rule = Callable[[Sequence[Sample]], curation.Curated]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """What is learnt from, each with its weight, and what is not, each with its reason."""

    kept: tuple[Sample, ...]
    refused: tuple[Refusal, ...]
    raters: Mapping[str, Any]  # the average, and who is wrong far more often
    spread: Mapping[str, float]  # by intent, how different what was written in this turn is


def sift(wheel: Wheel, turn: Turn, candidates: Sequence[Sample], kept_out: Sequence[str]) -> Sifted:
    """Ask every rule: first those that read, then those that need a model's opinion."""
    table, shown = wheel.config.curation, _shown(turn)
    screened, unread = _through(
        candidates,
        lambda kept: curation.copied(kept, shown, table.copied),
        lambda kept: curation.of_known_script(kept, shown),
        curation.verified,
        lambda kept: curation.screen(kept, (), kept_out, wheel.intents, table),
    )
    seen = _seen(wheel, turn, screened)
    believed = curation.believe(candidates, seen.scores)
    kept, doubted = _through(screened, *_doubts(wheel, turn, seen, believed))
    spread = curation.spread(screened, seen.pairs, turn.id)
    return Sifted(
        kept=curation.weighed(kept, believed),
        refused=unread + doubted,
        raters=_told(believed),
        spread={intent: round(value, 3) for intent, value in spread.items()},
    )


def _shown(turn: Turn) -> dict[str, Sequence[str]]:
    """By brief of this turn, the production texts in it."""
    return {brief["id"]: brief["failed_texts"] for brief in turn.cursor.get("briefs", ())}


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


def _seen(wheel: Wheel, turn: Turn, candidates: Sequence[Sample]) -> _Seen:
    """By out-of-fold logistic regression and the frozen base's embedding, in the worker."""
    if not any(sample.origin in ("feedback", "teacher") for sample in candidates):
        return _Seen({}, ())
    rows = datasets.rows_table(
        [(s.id, s.text) for s in candidates],
        intent=[s.intent for s in candidates],
        origin=[s.origin for s in candidates],
    )
    spec = {"folds": wheel.config.curation.noise_folds}
    job = run_job(wheel, turn, "crossfit", "crossfit", spec, rows)
    scores, pairs = (
        pq.read_table(wheel.job_dir(job.id) / f"{name}.parquet").to_pylist()
        for name in ("scores", "pairs")
    )
    return _Seen(
        {row.pop("id"): curation.NoiseScore(**row) for row in scores},
        [curation.Alike(**row) for row in pairs],
    )


def _doubts(wheel: Wheel, turn: Turn, seen: _Seen, believed: curation.Believed) -> tuple[Rule, ...]:
    """What asks the models: does it say something new, is its label right, who said it?"""
    table = wheel.config.curation
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
