"""Step 4: train a challenger on the dataset."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from flywheel import __version__
from flywheel.records import Adapter, Sample
from flywheel.store import Connection, adapters, decisions, samples
from flywheel.store.turns import Turn
from flywheel.turn import adapter_files
from flywheel.turn.artifacts import arguments_of, install_adapter, run_job
from flywheel.turn.runtime import Runtime, StepResult

FIRST_RECIPE = "frozen"
"""The first champion is logistic regression on the frozen embedding: nothing to overfit."""

_VECTOR_SEEDS = 200
"""Seeds of which training chooses those of the test vector."""


def train(runtime: Runtime, turn: Turn) -> StepResult:
    """Train from the base model, and put the adapter in its place under its content's name."""
    with runtime.store.read() as con:
        champion = adapters.champion(con)
        known = {item.id: item for item in adapters.list_adapters(con)}
        seeds = _vector_seeds(samples.training(con))
    asked = runtime.config.training.recipe if champion else FIRST_RECIPE
    result = run_job(runtime, turn, "train", "train", _spec(runtime, turn, asked, champion, seeds))
    challenger = str(result.values["adapter"])
    if challenger == champion:
        return StepResult(next_state="done", detail=f"training gave the champion {champion} again")
    hashes = _installed(runtime, turn, challenger, known.get(challenger))
    metrics = dict(result.values.get("metrics", {}))
    recipe = str(metrics.get("recipe", asked))
    unseen = _answers_on_dev(runtime, f"{turn.id}-train")

    def writes(con: Connection) -> None:
        samples.add_answers(con, challenger, unseen)
        if challenger in known:
            adapters.set_state(con, challenger, "challenger")
            _register_again(runtime, con, turn, known[challenger], hashes)
            return
        adapters.add(
            con,
            Adapter(
                id=challenger,
                base=runtime.config.model.base,
                recipe=recipe,
                dataset=turn.record.dataset,
                parent=champion,
                created_at=runtime.clock(),
                state="challenger",
                metrics=metrics,
                files=hashes,
            ),
        )

    return StepResult(
        next_state="evaluate",
        detail=f"{challenger} trained with {recipe} in {result.seconds:.0f} s{_summary(metrics)}",
        outputs=lambda record: replace(record, challenger=challenger, champion=champion),
        writes=writes,
    )


def _installed(runtime: Runtime, turn: Turn, name: str, known: Adapter | None) -> dict[str, str]:
    """Put the trained adapter in its place and return the hashes of its files.

    Raises:
        FlywheelError: an adapter with the same answers is there already, with changed files.
    """
    there = (runtime.adapters_dir / name).exists()
    built = runtime.job_dir(f"{turn.id}-train") / "adapter"
    hashes = adapter_files.trained(install_adapter(runtime, built, name))
    if there and known is not None and known.files:
        adapter_files.refuse_changed(runtime, known)
    return hashes


def _register_again(
    runtime: Runtime, con: Connection, turn: Turn, known: Adapter, hashes: Mapping[str, str]
) -> None:
    """Register the files of a known adapter whose folder was gone and was built anew."""
    if hashes != known.files:
        adapters.set_files(con, known.id, hashes)
        because = f"{known.id} was trained again in {turn.id}, and its folder was not there"
        decisions.record_act(con, "adapter.files.recorded", "training", because, runtime.clock())


def _answers_on_dev(runtime: Runtime, job_id: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Answers on dev rows of the model before it was trained on them."""
    path = runtime.job_dir(job_id) / "dev.parquet"
    if not path.exists():
        return []
    return [
        (row["id"], row["intent"], arguments_of(row["arguments"]))
        for row in pq.read_table(path).to_pylist()
    ]


def _summary(metrics: Mapping[str, Any]) -> str:
    """Summary of training for the step's detail: recipes tried, curve, self-training, accuracy.

    Epoch, head, temperature and thresholds were chosen on dev, so accuracy on dev is optimistic.
    """
    text = ""
    for tried in metrics.get("tried", ()):
        accuracies = ", ".join(
            f"{name} {value:.1%}" for name, value in tried["dev_accuracy"].items()
        )
        text += f"; tried on {tried['share']:.0%} of the rows: {accuracies}"
    curve = [line["dev_accuracy"] for line in metrics.get("curve", ()) if "dev_accuracy" in line]
    if curve:
        text += "; dev by epoch " + " → ".join(f"{value:.1%}" for value in curve)
        if metrics.get("epoch", len(curve)) < len(curve):
            text += f", that of epoch {metrics['epoch']} taken"
    if learned := metrics.get("self_training"):
        text += (
            f"; {learned['learned']} of {learned['offered']} unlabelled texts "
            "learned by what it says of them: "
            f"dev {learned['dev_before']:.1%} → {learned['dev_after']:.1%},"
            f" {'kept' if learned['kept'] else 'not kept'}"
        )
    accuracy = metrics.get("dev_accuracy")
    return text if accuracy is None else f"{text}; {accuracy:.1%} on dev, which chose it"


def _vector_seeds(training: Sequence[Sample]) -> list[str]:
    """Texts that an adapter's test vector may hold: seeds of the operator, spread over intents.

    Only a seed without provenance is taken: one that names a prediction, an item of the labelling
    queue or a rater may be a person's, who can ask for its erasure.
    """
    by_intent: dict[str, list[str]] = {}
    for sample in sorted(training, key=lambda sample: sample.id):
        if sample.origin == "seed" and not sample.provenance:
            by_intent.setdefault(sample.intent, []).append(sample.text)
    rounds = itertools.zip_longest(*(by_intent[intent] for intent in sorted(by_intent)))
    dealt = (text for texts in rounds for text in texts if text is not None)
    return list(itertools.islice(dealt, _VECTOR_SEEDS))


def _spec(
    runtime: Runtime, turn: Turn, recipe: str, parent: str | None, vector_seeds: Sequence[str]
) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "budget_minutes": runtime.config.training.budget_minutes,
        "dataset": str(runtime.datasets_dir / f"{turn.record.dataset}.parquet"),
        "dataset_id": turn.record.dataset,
        "intents": [
            {
                "name": intent.name,
                "description": intent.description,
                "arguments": sorted(intent.argument_names()),
            }
            for intent in runtime.intents
        ],
        "vector_seeds": list(vector_seeds),
        "graph": True,  # for the fastest engine; left out where it cannot be made
        "parent": parent,
        "code_version": __version__,
        "created_at": turn.opened_at.isoformat(),  # a repeated step must give the same bytes
    }
