"""How much of what asks for nothing is found, and what does it cost in scope?

    python benchmarks/abstention.py [--quick] [--seeds N] [--data DIR] [--turns 1 5]

Deals a set as the loop's benchmark does, trains after so many turns of feedback as a turn trains
(choose on dev, then learn dev too), and reads test once: recall of `none`, and the points of
accuracy in scope that the threshold costs against none at all. Beside the rule stand the same
threshold carried by the few dev rows of `none` alone (`by_none`), and the one that is right most
often on dev, a row of `none` counted twice (`most_right`), carried in that way: what a threshold
on a few labels would do. Two per cent of the feedback is wrong, as after curation. The last line
is one JSON object; the swing is the largest difference of recall between two turns of a deal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from partition import Partition, deal, read
from torch import Tensor
from traffic import Load, Traffic

from flywheel.config import ModelTable
from flywheel.records import NONE
from flywheel.worker import dataset_rows, models, recipes
from flywheel.worker.dataset_rows import Split
from flywheel.worker.models.encoder import heads, out_of_scope
from flywheel.worker.models.encoder.model import EncoderFit, EncoderModel
from flywheel.worker.models.encoder.out_of_scope import ScopeRule
from flywheel.worker.models.protocol import FitRequest, ModelSettings
from flywheel.worker.progress import ProgressLog

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
QUICK_INTENTS = 30
_WRONG = 0.02
_UTTERANCES, _RATED = 20, 4  # an intent and turn
_UNSEEN = 500
Labelled = list[tuple[str, str]]
RULES = ("shift", "by_none", "most_right")


def main() -> int:
    """Run it; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sets = [read(asked.data, split) for split in ("train", "val", "test")]
    found: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in RULES}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="abstention-") as place:
        base = ModelTable().base
        settings = ModelSettings(base=base, max_length=64, cache_dir=Path(place))
        model = models.open_model(settings)
        for seed in range(asked.seeds):
            dealt = deal(*sets, seed=seed, most_intents=asked.intents)
            rows = [_measured(model, dealt, seed, turns, Path(place)) for turns in asked.turns]
            for name in RULES:
                found[name].append([row[name] for row in rows])
            for turns, row in zip(asked.turns, rows, strict=True):
                told = ", ".join(f"{n} −{row[n][0]:.1f} / {row[n][1]:.1f}" for n in RULES)
                print(f"seed {seed}, {turns} turns (points lost / recall): {told}", flush=True)
    figures: dict[str, Any] = {}
    for name in RULES:
        prefix = "" if name == "shift" else f"{name}_"
        every = [row for deal_rows in found[name] for row in deal_rows]
        swings = [max(r for _, r in rows) - min(r for _, r in rows) for rows in found[name]]
        figures[f"{prefix}oos_recall_min"] = round(min(recall for _, recall in every), 1)
        figures[f"{prefix}in_scope_lost_max"] = round(max(lost for lost, _ in every), 2)
        figures[f"{prefix}oos_swing"] = round(max(swings), 1)
    figures |= {"deals": asked.seeds, "turns": asked.turns, "intents": asked.intents or "all"}
    figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    print(json.dumps({"benchmark": "abstention", "quick": asked.quick, **figures}))
    return 0


def _measured(
    model: Any, dealt: Partition, seed: int, turns: int, place: Path
) -> dict[str, tuple[float, float]]:
    """Points lost in scope and recall of `none`, of each rule, on test."""
    train, unseen = _learned(dealt, seed, turns)
    dev = [(row.text, row.intent) for row in dealt.dev]
    assert isinstance(model, EncoderModel)
    request = FitRequest(
        train=_split(train),
        dev=_split(dev),
        unseen=unseen,
        labels=sorted({intent for _, intent in train}),
        arguments={},
        recipe=model.limited(recipes.DEFAULT),
        seed=seed,
        checkpoint=place / f"{seed}-{turns}.safetensors",
    )
    test = [row.text for row in dealt.test]
    texts = [*request.train.texts, *request.dev.texts, *unseen, *test]
    model.prepare(texts, request.recipe, lambda _: None)
    part = ProgressLog(place / "progress").part(0.0, 1.0, "")
    first = model.fit(request, part)
    known = set(request.labels) - {NONE}
    rows = [n for n, (_, intent) in enumerate(dev) if intent in known]
    both = dataset_rows.joined(request.train, request.dev.take(rows), request.labels)
    again = replace(request, train=both, checkpoint=place / f"{seed}-{turns}-all.safetensors")
    return _by_rule(first, EncoderFit(first._frozen, again, part, first=first), dealt)


def _by_rule(
    first: EncoderFit, second: EncoderFit, dealt: Partition
) -> dict[str, tuple[float, float]]:
    """What each rule, chosen on the first fit and carried to the second, does on test."""
    choice, request = first._choice, first.request
    labels, truth = request.labels, [row.intent for row in dealt.test]

    def logits(fit: EncoderFit, texts: Sequence[str]) -> Tensor:
        head = heads.calibrated(fit._candidates[choice.head], choice.temperature, choice.shift)
        return head.logits(fit._adapted(fit._frozen.states(texts)).embedding)

    none = [t for t, i in zip(request.dev.texts, request.dev.intents, strict=True) if i == NONE]
    on_dev, on_test = logits(first, request.dev.texts), logits(second, [r.text for r in dealt.test])

    def pair(texts: Sequence[str], rule: ScopeRule) -> tuple[Tensor, Tensor]:
        return (
            out_of_scope.score(logits(first, texts), labels, rule.score),
            out_of_scope.score(logits(second, texts), labels, rule.score),
        )

    old = _most_right(on_dev, labels, request.dev.intents)
    rules = {
        "shift": out_of_scope.carried_by_shift(choice.scope, *pair(request.unseen, choice.scope)),
        "by_none": out_of_scope.carried(choice.scope, *pair(none, choice.scope)),
        "most_right": out_of_scope.carried(old, *pair(none, old)),
    }
    free = _accuracy(on_test, labels, truth, ScopeRule())[0]
    found = {}
    for name, rule in rules.items():
        inside, recall = _accuracy(on_test, labels, truth, rule)
        found[name] = (free - inside, recall)
    return found


def _most_right(logits: Tensor, labels: Sequence[str], truth: Sequence[str]) -> ScopeRule:
    """The rule that is right most often on dev, a row of `none` counted twice."""
    outside = torch.tensor([intent == NONE for intent in truth])
    called = out_of_scope.answer(logits, labels, ScopeRule()).intents
    right = torch.tensor([a == b for a, b in zip(called, truth, strict=True)])
    best = (-1, 0.0, "energy")
    for name in (
        ("both", "margin", "energy", "confidence")
        if NONE in labels
        else (
            "energy",
            "confidence",
        )
    ):
        scores = out_of_scope.score(logits, labels, name)  # type: ignore[arg-type]
        for cut in scores.sort().values.tolist():
            below = scores < cut
            points = int(2 * (below & outside).sum() + (~below & right).sum())
            best = max(best, (points, cut, name))
    return ScopeRule(best[2], best[1])  # type: ignore[arg-type]


def _accuracy(
    logits: Tensor, labels: Sequence[str], truth: Sequence[str], rule: ScopeRule
) -> tuple[float, float]:
    """Per cent right in scope, and per cent of `none` found."""
    said = out_of_scope.answer(logits, labels, rule).intents
    pairs = list(zip(said, truth, strict=True))
    inside = [a == b for a, b in pairs if b != NONE]
    outside = [a == b for a, b in pairs if b == NONE]
    return 100 * sum(inside) / len(inside), 100 * sum(outside) / max(1, len(outside))


def _learned(dealt: Partition, seed: int, turns: int) -> tuple[Labelled, list[str]]:
    """Labelled texts after so many turns, and the newest production texts without a label."""
    count, chance = len(dealt.intents), random.Random(seed)
    load = Load(utterances=_UTTERANCES * count, rated=_RATED * count)
    traffic = Traffic(dealt, load, seed)
    labelled = [(row.text, row.intent) for row in dealt.seeds]
    said: list[str] = []
    for _ in range(turns):
        utterances = traffic.utterances()
        said += [row.text for row in utterances]
        for position in traffic.rated(utterances):
            row = utterances[position]
            wrong = chance.random() < _WRONG
            labelled.append((row.text, chance.choice(dealt.intents) if wrong else row.intent))
    known = {text for text, _ in labelled} | {row.text for row in dealt.dev}
    unseen = [text for text in dict.fromkeys(reversed(said)) if text not in known]
    return labelled, unseen[:_UNSEEN]


def _split(rows: Labelled) -> Split:
    return Split(
        ids=[str(number) for number in range(len(rows))],
        texts=[text for text, _ in rows],
        intents=[intent for _, intent in rows],
        arguments=[None] * len(rows),
        weights=torch.ones(len(rows)),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one deal, few intents")
    parser.add_argument("--seeds", type=int, default=3, help="deals (3)")
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 3, 5], help="of feedback")
    parser.add_argument("--intents", type=int, help="keep only this many (all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train, val and test")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.intents = 1, asked.intents or QUICK_INTENTS
        asked.turns = [1, 3]
    return asked


if __name__ == "__main__":
    sys.exit(main())
