"""From a dataset to an adapter folder: the recipe, the training, the choices made on dev.

What is chosen on dev is chosen by a model that has not seen dev. Then, where the dataset lets dev
rows be learned, the same training runs once more with them: labels are expensive, and the choices
are made by then. Where there are texts without a label, a second model learns from what the first
says of them, and the better one on dev is taken. Every figure on dev, and every answer on it that
is kept, is of a model that has not seen dev.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flywheel.content import same_arguments
from flywheel.errors import FlywheelError
from flywheel.records import NONE
from flywheel.worker import dataset_rows, known_answers, models, predict, recipes
from flywheel.worker.dataset_rows import DatasetRows, Split
from flywheel.worker.learning_curve import draw
from flywheel.worker.models.protocol import (
    Calls,
    FitRequest,
    FittedModel,
    Model,
    ModelSettings,
    TrainedModel,
)
from flywheel.worker.progress import Part, ProgressLog
from flywheel.worker.recipes import RECIPES, Recipe, SearchRound

# Self-training: texts that nobody labelled, learned by what a first model says of them.
#
# Of every intent the surest share of the texts it is the answer to, so that easy intents do not
# crowd out the others; each for a fraction of a labelled row's weight. Whether it helped is seen
# on dev, where both models are compared.
#
# Source: pseudo-labels, Lee 2013; a share of each class, Zou et al. 2018, arXiv 1810.07911.

SHARE = 0.8
"""Of the texts that a model answers with an intent, this share is learned: the surest."""

WEIGHT = 0.3
"""Of a pseudo-labelled row; a labelled one weighs about one."""

RECIPE = replace(RECIPES["quick"], epochs=4, token_dropout=0.1)
"""Of the second training: there are many rows by then, some of them wrong."""


def surest(scores: Tensor, share: float) -> list[tuple[int, int]]:
    """(row, class) of the surest rows of each class, by class, then the surest first.

    Args:
        scores: float32 (n, classes), unnormalised log-probabilities.
        share: of the rows that a class is the answer to, above 0 and up to 1; at least one row.
    """
    confidence, best = scores.softmax(1).max(1)  # (n,) each
    chosen: list[tuple[int, int]] = []
    for number in range(scores.shape[1]):
        rows = (best == number).nonzero()[:, 0]
        ranked = rows[confidence[rows].argsort(descending=True, stable=True)].tolist()
        chosen += [(row, number) for row in ranked[: math.ceil(share * len(ranked))]]
    return chosen


def pseudo_labelled(first: FittedModel, texts: Sequence[str]) -> Split:
    """Training rows of the surest texts, labelled by the first model.

    Texts that it calls `none` stay out, since out-of-scope texts do not resemble one another; so
    do those that are training rows already.
    """
    labels, known = first.request.labels, set(first.request.train.texts)
    pairs = [
        (row, labels[number])
        for row, number in surest(first.scores(texts), SHARE)
        if labels[number] != NONE and texts[row] not in known
    ]
    return Split(
        ids=[f"pseudo-{row}" for row, _ in pairs],
        texts=[texts[row] for row, _ in pairs],
        intents=[intent for _, intent in pairs],
        arguments=[None] * len(pairs),
        weights=torch.full((len(pairs),), WEIGHT),
    )


def dev_hits(fitted: FittedModel) -> int:
    """Number of dev rows whose intent scores highest."""
    labels, dev = fitted.request.labels, fitted.request.dev
    best = fitted.scores(dev.texts).argmax(1).tolist()
    return sum(labels[n] == intent for n, intent in zip(best, dev.intents, strict=True))


def run(folder: Path, spec: Mapping[str, Any], progress: ProgressLog) -> dict[str, Any]:
    """Train on the dataset's `train` rows, choose on its `dev` rows, write folder/adapter.

    Dev rows of positive weight are learned after the choosing; then folder/dev.parquet holds what
    the model that had not seen them answered.

    Returns:
        values: adapter (content id), metrics, threshold.

    Raises:
        FlywheelError: fewer than two intents have training rows, or a name is unknown.
    """
    recipe = recipes.named(spec["recipe"])
    rows = dataset_rows.read(Path(spec["dataset"]))
    if len(set(rows.train.intents)) < 2:
        raise FlywheelError(
            f"{len(set(rows.train.intents))} intents have training samples; "
            "at least two are needed",
            hint="import seeds: flywheel samples import FILE",
        )
    model = models.open_model(ModelSettings.of(spec))
    request = _request(folder, spec, rows, model.limited(recipe))
    dev = request.dev
    unlabelled = rows.unlabelled if recipe.epochs and dev.texts else []  # used where dev can judge
    reading = progress.part(0.0, 0.3 if recipe.epochs else 0.9, "reading texts")
    texts = [*request.train.texts, *dev.texts, *unlabelled, *request.unseen]
    model.prepare(texts, request.recipe, reading)
    training = progress.part(0.3, 0.9, "")
    tried: list[SearchRound] = []
    if spec["recipe"] == recipes.AUTO and dev.texts:
        budget_s = 60 * float(spec.get("budget_minutes", 10))
        part = training.part(0.0, 0.4, "trying")
        recipe, tried = _search(model, request, budget_s, part)
        request = replace(request, recipe=model.limited(recipe))
        training = training.part(0.4, 1.0, "")
    trained, metrics = _train(model, request, unlabelled, training)
    metrics |= {"train_rows": len(request.train.texts), "dev_rows": len(dev.texts)}
    metrics |= {"chosen_on": "dev", "recipe": request.recipe.name, "tried": tried}
    facts = {name: spec.get(name) for name in ("parent", "code_version", "created_at", "seed")}
    facts |= {"recipe": request.recipe.name, "recipe_values": asdict(request.recipe)}
    facts |= {"metrics": metrics, "dataset": Path(spec["dataset"]).stem}
    name = trained.save(folder / "adapter", facts, graph=bool(spec.get("graph")))
    known_answers.write(folder / "adapter", trained, spec, int(spec["max_length"]))
    progress.report(1.0, f"trained {name}")
    return {"adapter": name, "metrics": metrics, "threshold": trained.threshold}


def _request(
    folder: Path, spec: Mapping[str, Any], rows: DatasetRows, recipe: Recipe
) -> FitRequest:
    return FitRequest(
        train=rows.train,
        dev=rows.dev,
        unseen=rows.threshold if rows.dev.texts else (),
        labels=sorted(set(rows.train.intents)),
        arguments={i["name"]: list(i.get("arguments", ())) for i in spec["intents"]},
        recipe=recipe,
        seed=int(spec["seed"]),
        checkpoint=folder / "checkpoint.safetensors",
    )


def _search(
    model: Model, request: FitRequest, budget_s: float, part: Part
) -> tuple[Recipe, list[SearchRound]]:
    """The recipe that successive halving chooses, and its rounds."""

    def score(recipe: Recipe, share: float) -> float:
        some = replace(
            request,
            train=dataset_rows.share_of(request.train, request.labels, share, request.seed),
            recipe=model.limited(recipe),
            checkpoint=request.checkpoint.with_stem(f"checkpoint-{recipe.name}-{share}"),
        )
        fitted = model.fit(some, part.part(0.0, 1.0, f"{recipe.name} on {share:.0%}"))
        return float(fitted.curve[fitted.epoch - 1]["dev_accuracy"])

    return recipes.search(recipes.TRAINING, len(request.train.texts), budget_s, score)


def _train(
    model: Model, request: FitRequest, unlabelled: Sequence[str], part: Part
) -> tuple[TrainedModel, dict[str, Any]]:
    """Train and choose; then train once more with the dev rows that may be learned."""
    rows = learnable(request)
    first = part.part(0, 0.45, "") if rows else part
    best, self_training = _better(model, request, unlabelled, first)
    draw(request.checkpoint.with_name("curve.png"), best.curve)
    chosen, dev = best.choose(), request.dev
    metrics: dict[str, Any] = {"curve": best.curve, "epoch": best.epoch, **chosen.facts}
    metrics |= {"dev_learned": 0, **self_training}
    if dev.texts:
        metrics |= _measured(chosen.dev, dev)
    if not rows:
        return chosen.model, metrics
    path = request.checkpoint.with_name("dev.parquet")
    predict.write(path, [predict.table(dev.ids, "", chosen.dev)])
    both = dataset_rows.joined(best.request.train, dev.take(rows), request.labels)
    checkpoint = request.checkpoint.with_stem("checkpoint-all")
    trained = best.refit(both, checkpoint, part.part(0.45, 1.0, "with dev rows,"))
    return trained, metrics | {"dev_learned": len(rows)}


def learnable(request: FitRequest) -> list[int]:
    """The dev rows that may be learned, by number.

    Those of `none` are not among them: they set the threshold of the model that learns the rest.
    """
    known, dev = set(request.labels) - {NONE}, request.dev
    weights = dev.weights.tolist()
    return [row for row, weight in enumerate(weights) if weight > 0 and dev.intents[row] in known]


def _better(
    model: Model, request: FitRequest, unlabelled: Sequence[str], part: Part
) -> tuple[FittedModel, dict[str, Any]]:
    """The model that learned from labels, or the one that learned from unlabelled texts too."""
    if not unlabelled:
        return model.fit(request, part), {}
    first = model.fit(request, part.part(0.0, 0.3, ""))
    more = pseudo_labelled(first, unlabelled)
    again = replace(
        request,
        train=dataset_rows.joined(request.train, more, request.labels),
        recipe=model.limited(RECIPE),
        checkpoint=request.checkpoint.with_stem("checkpoint-unlabelled"),
    )
    second = model.fit(again, part.part(0.3, 1.0, "with unlabelled texts,"))
    before, after = dev_hits(first), dev_hits(second)
    result = {
        "offered": len(unlabelled),
        "learned": len(more.texts),
        "dev_before": round(before / len(request.dev.texts), 4),
        "dev_after": round(after / len(request.dev.texts), 4),
        "recipe": again.recipe.name,
        "kept": after > before,
    }
    return second if after > before else first, {"self_training": result}


def _measured(calls: Calls, dev: Split) -> dict[str, Any]:
    """Accuracy of the answers on dev, as JSON."""
    right = [a == b for a, b in zip(calls.intents, dev.intents, strict=True)]
    total, wrong = Counter(dev.intents), Counter[str]()
    for ok, intent in zip(right, dev.intents, strict=True):
        wrong[intent] += not ok
    recalls = [1 - wrong[intent] / total[intent] for intent in total]
    measured: dict[str, Any] = {
        "dev_accuracy": round(sum(right) / len(right), 4),
        "dev_macro": round(sum(recalls) / len(recalls), 4),
        "dev_intents": {intent: [wrong[intent], total[intent]] for intent in sorted(total)},
    }
    exact = [
        ok and same_arguments(answered, wanted)
        for ok, answered, wanted in zip(right, calls.arguments, dev.arguments, strict=True)
        if wanted is not None
    ]
    if exact:
        measured["dev_exact"] = round(sum(exact) / len(exact), 4)
    return measured
