"""From a dataset to an adapter folder: frozen states, heads, LoRA, and the choices made on dev.

What is chosen on dev is chosen by a model that has not seen dev. Then, where the dataset lets dev
rows be learned, the same training runs once more with them: labels are dear, and the choices are
made by then. Where there are texts without a label, a second model learns from what the first
says of them, and the better one on dev is gone on with. Every figure on dev, and every answer on
it that is kept, is of a model that has not seen dev.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from flywheel.content import same_arguments
from flywheel.errors import FlywheelError
from flywheel.worker import adapter as adapters
from flywheel.worker import base as bases
from flywheel.worker import dataset_rows, precision, predict, recipe_search, recipes, selftraining
from flywheel.worker.adapter import Trained
from flywheel.worker.curve import draw
from flywheel.worker.dataset_rows import Split
from flywheel.worker.frozen_states import FrozenStates
from flywheel.worker.heads import candidates_of, choose, settle
from flywheel.worker.predict import Calls
from flywheel.worker.progress import Part, ProgressLog
from flywheel.worker.recipes import Recipe
from flywheel.worker.selftraining import Attempt, Unlabelled
from flywheel.worker.training_run import Unseen, Work


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
    train, dev = rows.train, rows.dev
    labels = sorted(set(train.intents))
    if len(labels) < 2:
        raise FlywheelError(
            f"{len(labels)} intents have training samples; at least two are needed",
            hint="import seeds: flywheel samples import FILE",
        )
    part = progress.part(0.0, 0.3 if recipe.epochs else 0.9, "reading texts")
    work, unseen, unlabelled = _read(spec, recipe, rows, labels, part)
    training = progress.part(0.3, 0.9, "")
    tried: list[recipe_search.Round] = []
    if spec["recipe"] == recipes.AUTO and dev.texts:
        tried = work.pick(unseen, folder, training.part(0.0, 0.4, "trying"))
        training = training.part(0.4, 1.0, "")
    trained, metrics = _taught(work, unseen, unlabelled, folder, training)
    metrics |= {"train_rows": len(train.texts), "dev_rows": len(dev.texts), "chosen_on": "dev"}
    metrics |= {"kept": work.trunk.kept, "recipe": work.recipe.name, "tried": tried}
    if work.recipe.epochs:
        metrics["number_type"] = str(precision.number_type()).removeprefix("torch.")
    facts = {name: spec.get(name) for name in ("parent", "code_version", "created_at", "seed")}
    facts |= {"recipe": work.recipe.name, "recipe_values": asdict(work.recipe), "metrics": metrics}
    facts["dataset"] = Path(spec["dataset"]).stem
    name = adapters.write(folder / "adapter", trained, work.trunk.encoder, facts)
    progress.say(1.0, f"trained {name}")
    return {"adapter": name, "metrics": metrics, "threshold": trained.scope.threshold}


def _read(
    spec: Mapping[str, Any],
    recipe: Recipe,
    rows: dataset_rows.DatasetRows,
    labels: list[str],
    part: Part,
) -> tuple[Work, Unseen, Unlabelled]:
    base = bases.load(spec["base"])
    recipe = replace(recipe, layers=min(recipe.layers, base.depth))
    cache = Path(spec["cache_dir"]) if spec.get("cache_dir") else None
    trunk = FrozenStates(base, base.depth - recipe.layers, int(spec["max_length"]), cache)
    train, dev = rows.train, rows.dev
    more = rows.unlabelled if recipe.epochs and dev.texts else []  # used where it can be judged
    states = trunk.states(train.texts + dev.texts + more, part)
    n, m = len(train.texts), len(train.texts) + len(dev.texts)
    work = Work(spec, recipe, trunk, train, labels, states.take(range(n)))
    unlabelled = Unlabelled(more, states.take(range(m, len(states.hidden))))
    return work, Unseen(dev, states.take(range(n, m))), unlabelled


def _taught(
    work: Work, unseen: Unseen, unlabelled: Unlabelled, folder: Path, part: Part
) -> tuple[Trained, dict[str, Any]]:
    """Train and choose; then train once more with the dev rows that may be learned."""
    whole = not work.learnable(unseen)
    best, told = _best(work, unseen, unlabelled, folder, part if whole else part.part(0, 0.45, ""))
    work, tuned = best.work, best.made.tuned
    draw(folder / "curve.png", best.made.curve)
    candidates = candidates_of(work, best.start, tuned)
    choice = choose(work.labels, candidates, unseen.rows, best.dev.embedding)
    trained = settle(work, candidates, tuned, choice)
    metrics: dict[str, Any] = {
        "curve": best.made.curve,
        "epoch": best.made.epoch,
        "head": choice.head,
        "temperature": round(choice.temperature, 4),
        "scope": choice.scope.score,
        "dev_learned": 0,
        **told,
    }
    if unseen.rows.texts:
        calls = predict.calls(trained, work.trunk.tokenizer, unseen.rows.texts, best.dev)
        metrics |= _measured(calls, unseen.rows)
        if not whole:
            predict.write(folder / "dev.parquet", [predict.table(unseen.rows.ids, "", calls)])
    both = work.joined(unseen)
    if both is not None:
        start = both.start()
        place = folder / "checkpoint-all.safetensors"
        here = part.part(0.45, 1.0, "with dev rows,")
        tuned = both.tune(start, None, place, here, best.made.epoch).tuned
        candidates = candidates_of(both, start, tuned, choice.head)
        trained = settle(both, candidates, tuned, choice, unseen)
        metrics["dev_learned"] = len(both.train.texts) - len(work.train.texts)
    return trained, metrics


def _best(
    work: Work, unseen: Unseen, unlabelled: Unlabelled, folder: Path, part: Part
) -> tuple[Attempt, dict[str, Any]]:
    """The model that learned from labels, or the one that learned from unlabelled texts too."""
    if not unlabelled.texts:
        return _attempt(work, unseen, folder / "checkpoint.safetensors", part), {}
    first = _attempt(work, unseen, folder / "checkpoint.safetensors", part.part(0.0, 0.3, ""))
    more = selftraining.taught_by(first, unlabelled)
    here = part.part(0.3, 1.0, "with unlabelled texts,")
    second = _attempt(more, unseen, folder / "checkpoint-unlabelled.safetensors", here)
    before, after = first.right(unseen), second.right(unseen)
    told = {
        "offered": len(unlabelled.texts),
        "learned": len(more.train.texts) - len(work.train.texts),
        "dev_before": round(before / len(unseen.rows.texts), 4),
        "dev_after": round(after / len(unseen.rows.texts), 4),
        "recipe": more.recipe.name,
        "kept": after > before,
    }
    return second if after > before else first, {"self_training": told}


def _attempt(work: Work, unseen: Unseen, checkpoint: Path, part: Part) -> Attempt:
    start = work.start()
    made = work.tune(start, unseen, checkpoint, part)
    dev = work.finished(made.tuned, unseen.states)
    return Attempt(work=work, start=start, made=made, dev=dev)


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
    exact = [
        ok and same_arguments(said, wanted)
        for ok, said, wanted in zip(right, calls.arguments, dev.arguments, strict=True)
        if wanted is not None
    ]
    if exact:
        measured["dev_exact"] = round(sum(exact) / len(exact), 4)
    return measured
