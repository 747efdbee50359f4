"""Does an out-of-fold answer to a text that the champion learned tell how the champion does?

    python benchmarks/learned_texts.py [--quick] [--seeds N] [--intents N] [--data DIR]

A champion is trained on seeds and on labelled texts of every intent, as a turn trains. Of each
intent three error rates are taken, each of so many texts: of the labelled texts that it learned, by
the noise rule's model, which answers them out of fold (`out_of_fold`); of the same texts, by the
champion itself (`learned`); of other labelled texts, which it did not learn, by the champion
(`unlearned`: what health counts). Beside each stands the champion's error rate on all of test. A
text concerns the intent that is right and the one that was answered, as health counts it. `bias` is
the mean difference to test in points, `correlation` Pearson's over intents; `healthy_suspected` is
the share of intents with at most .10 on test whose rate is above .20, `failing_found` the share of
those with at least .20 whose rate is. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import correlation, mean

import torch
from loopbench_answers import Answers
from loopbench_baselines import recipe
from partition import Partition, Row, deal_all, read

from flywheel.config.tables import CurationTable, IntentsTable
from flywheel.records import NONE
from flywheel.worker import crossfit, recipes

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
LABELLED = 10  # learned, and as many that are not
HEALTHY, FAILING = 0.10, 0.20
KINDS = ("out_of_fold", "learned", "unlearned")
Rates = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Error rates of one intent; `truth` is the champion's on test."""

    truth: float
    rates: Rates  # by kind


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    sets = [read(asked.data, split) for split in ("train", "val", "test")]
    found: list[Compared] = []
    with tempfile.TemporaryDirectory(prefix="learned-texts-") as place:
        answers = Answers(Path(place) / "cache")
        for seed in range(asked.seeds):
            dealt = deal_all(*sets, seed=seed, most_intents=asked.intents)
            compared = _compared(answers, dealt, Path(place) / str(seed), seed)
            answers.forget()  # the next deal's adapter has the same name
            found += compared
            told = {kind: _figures(compared, kind) for kind in KINDS}
            print(f"deal {seed}, {len(compared)} intents: {told}", file=sys.stderr, flush=True)
    figures = {
        f"{kind}_{name}": value for kind in KINDS for name, value in _figures(found, kind).items()
    }
    figures["error_on_test"] = round(100 * mean(one.truth for one in found), 2)
    print(json.dumps({"benchmark": "learned_texts", "intents": len(found), **figures}))
    return 0


def _compared(answers: Answers, dealt: Partition, folder: Path, seed: int) -> list[Compared]:
    inside = [name for name in dealt.intents if len(dealt.traffic[name]) >= 2]
    half = {name: min(LABELLED, len(dealt.traffic[name]) // 2) for name in inside}
    learned = [row for name in inside for row in dealt.traffic[name][: half[name]]]
    others = [row for name in inside for row in dealt.traffic[name][half[name] : 2 * half[name]]]
    dev = [row for row in dealt.dev if row.intent != NONE]
    test = [row for row in dealt.test if row.intent in inside]
    texts = [row.text for row in (*learned, *others, *test)]
    said = recipe(answers, folder, [*dealt.seeds, *learned], dev, texts, recipes.DEFAULT.name)
    sides = {
        "out_of_fold": _rates(learned, _out_of_fold(answers, dealt.seeds, learned, seed)),
        "learned": _rates(learned, said),
        "unlearned": _rates(others, said),
    }
    truth = _rates(test, said)
    return [
        Compared(truth=truth[name], rates={kind: rates[name] for kind, rates in sides.items()})
        for name in inside
        if name in truth and all(name in rates for rates in sides.values())
    ]


def _out_of_fold(
    answers: Answers, seeds: Sequence[Row], learned: Sequence[Row], seed: int
) -> dict[str, str]:
    """What the noise rule's model says to texts that it was not shown."""
    rows = [*seeds, *learned]
    labels = sorted({row.intent for row in rows})
    x = answers.embeddings([row.text for row in rows])  # (n, width)
    y = torch.tensor([labels.index(row.intent) for row in rows])
    fold = crossfit.folds(
        [row.text for row in rows], [row.intent for row in rows], CurationTable().noise_folds, seed
    )
    trusted = torch.tensor([True] * len(seeds) + [False] * len(learned))
    top = crossfit.out_of_fold(x, y, fold, len(labels), trusted).argmax(1).tolist()
    return {row.text: labels[number] for row, number in zip(rows, top, strict=True)}


def _rates(rows: Sequence[Row], said: Mapping[str, str]) -> dict[str, float]:
    """Error rate of every intent that a text concerns."""
    labels, errors = Counter[str](), Counter[str]()
    for row in rows:
        for name in {row.intent, said[row.text]}:
            labels[name] += 1
            errors[name] += said[row.text] != row.intent
    return {name: errors[name] / n for name, n in labels.items()}


def _figures(found: Sequence[Compared], kind: str) -> dict[str, float]:
    bound = IntentsTable().max_error_rate
    rates, truth = [one.rates[kind] for one in found], [one.truth for one in found]
    healthy = [one.rates[kind] > bound for one in found if one.truth <= HEALTHY]
    failing = [one.rates[kind] > bound for one in found if one.truth >= FAILING]
    level = len(set(rates)) < 2 or len(set(truth)) < 2
    return {
        "bias": round(100 * (mean(rates) - mean(truth)), 2),
        "correlation": 0.0 if level else round(correlation(rates, truth), 2),
        "healthy_suspected": round(mean(healthy), 3) if healthy else 0.0,
        "failing_found": round(mean(failing), 3) if failing else 0.0,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 intents, one deal")
    parser.add_argument("--seeds", type=int, default=3, help="deals")
    parser.add_argument("--intents", type=int, default=75, help="kept of the set; 0: all")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.intents = asked.intents or None
    if asked.quick:
        asked.intents, asked.seeds = 20, 1
    torch.set_num_threads(1)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
