"""From a dataset to an adapter folder: frozen states, heads, LoRA, and the choices made on dev.

What is chosen on dev is chosen by a model that has not seen dev. Then, where the dataset lets dev
rows be learned, the same training runs once more with them: labels are dear, and the choices are
made by then. Every figure on dev, and every answer on it that is kept, is of the first model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flywheel.errors import FlywheelError
from flywheel.worker import adapter as adapters
from flywheel.worker import base as bases
from flywheel.worker import halving, predict, recipes, splits
from flywheel.worker.adapter import Trained
from flywheel.worker.choice import candidates_of, choose, settle
from flywheel.worker.curve import draw
from flywheel.worker.predict import Calls
from flywheel.worker.progress import Part, Progress
from flywheel.worker.recipes import Recipe
from flywheel.worker.splits import Split
from flywheel.worker.trunk import Trunk
from flywheel.worker.work import Unseen, Work


def run(folder: Path, spec: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Train on the dataset's `train` rows, choose on its `dev` rows, write folder/adapter.

    Dev rows of positive weight are learned after the choosing; then folder/dev.parquet holds what
    the model that had not seen them answered.

    Returns:
        values: adapter (content id), metrics, threshold.

    Raises:
        FlywheelError: fewer than two intents have training rows, or a name is unknown.
    """
    recipe = recipes.named(spec["recipe"])
    train, dev = splits.read(Path(spec["dataset"]))
    labels = sorted(set(train.intents))
    if len(labels) < 2:
        raise FlywheelError(
            f"{len(labels)} intents have training samples; at least two are needed",
            hint="import seeds: flywheel samples import FILE",
        )
    part = progress.part(0.0, 0.3 if recipe.epochs else 0.9, "reading texts")
    work, unseen = _read(spec, recipe, train, dev, labels, part)
    training = progress.part(0.3, 0.9, "")
    tried: list[halving.Round] = []
    if spec["recipe"] == recipes.AUTO and dev.texts:
        tried = work.pick(unseen, folder, training.part(0.0, 0.4, "trying"))
        training = training.part(0.4, 1.0, "")
    trained, metrics = _taught(work, unseen, folder, training)
    metrics |= {"train_rows": len(train.texts), "dev_rows": len(dev.texts), "chosen_on": "dev"}
    metrics |= {"kept": work.trunk.kept, "recipe": work.recipe.name, "tried": tried}
    facts = {name: spec.get(name) for name in ("parent", "code_version", "created_at", "seed")}
    facts |= {"recipe": work.recipe.name, "recipe_values": asdict(work.recipe), "metrics": metrics}
    facts["dataset"] = Path(spec["dataset"]).stem
    name = adapters.write(folder / "adapter", trained, work.trunk.encoder, facts)
    progress.say(1.0, f"trained {name}")
    return {"adapter": name, "metrics": metrics, "threshold": trained.scope.threshold}


def _read(
    spec: Mapping[str, Any],
    recipe: Recipe,
    train: Split,
    dev: Split,
    labels: list[str],
    part: Part,
) -> tuple[Work, Unseen]:
    base = bases.load(spec["base"])
    recipe = replace(recipe, layers=min(recipe.layers, base.depth))
    cache = Path(spec["cache_dir"]) if spec.get("cache_dir") else None
    trunk = Trunk(base, base.depth - recipe.layers, int(spec["max_length"]), cache)
    states = trunk.states(train.texts + dev.texts, part)
    n = len(train.texts)
    work = Work(spec, recipe, trunk, train, labels, states.take(range(n)))
    return work, Unseen(dev, states.take(range(n, len(states.hidden))))


def _taught(work: Work, unseen: Unseen, folder: Path, part: Part) -> tuple[Trained, dict[str, Any]]:
    """Train and choose; then train once more with the dev rows that may be learned."""
    both = work.joined(unseen)
    first = part if both is None else part.part(0.0, 0.45, "")
    start = work.start()
    tuned, curve = work.tune(start, unseen, folder / "checkpoint.safetensors", first)
    draw(folder / "curve.png", curve)
    candidates = candidates_of(work, start, tuned)
    dev = work.finished(tuned, unseen.states)
    choice = choose(work.labels, candidates, unseen.rows, dev.embedding)
    trained = settle(work, candidates, tuned, choice)
    metrics: dict[str, Any] = {
        "curve": curve,
        "head": choice.head,
        "temperature": round(choice.temperature, 4),
        "scope": choice.scope.score,
        "dev_learned": 0,
    }
    if unseen.rows.texts:
        calls = predict.calls(trained, work.trunk.tokenizer, unseen.rows.texts, dev)
        metrics |= _measured(calls, unseen.rows)
        if both is not None:
            predict.write(folder / "dev.parquet", [predict.table(unseen.rows.ids, "", calls)])
    if both is not None:
        start = both.start()
        place = folder / "checkpoint-all.safetensors"
        tuned, _ = both.tune(start, None, place, part.part(0.45, 1.0, "with dev rows,"))
        candidates = candidates_of(both, start, tuned, choice.head)
        trained = settle(both, candidates, tuned, choice, unseen)
        metrics["dev_learned"] = len(both.train.texts) - len(work.train.texts)
    return trained, metrics


def _measured(calls: Calls, dev: Split) -> dict[str, Any]:
    """How right the answers on dev are."""
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
    judged = [i for i, values in enumerate(dev.arguments) if values is not None]
    if judged:
        exact = [right[i] and calls.arguments[i] == dev.arguments[i] for i in judged]
        measured["dev_exact"] = round(sum(exact) / len(exact), 4)
    return measured
