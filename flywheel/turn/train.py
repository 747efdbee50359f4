"""Step 4: train a challenger on the dataset."""

from __future__ import annotations

from typing import Any

from flywheel import __version__
from flywheel.records import Adapter
from flywheel.store import Connection, adapters
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import install_adapter, run_job
from flywheel.turn.step import StepResult
from flywheel.turn.wheel import Wheel

FIRST_RECIPE = "frozen"
"""The first champion is logistic regression on the frozen embedding: nothing to overfit."""


def train(wheel: Wheel, turn: Turn) -> StepResult:
    """Train from the base model, and put the adapter in its place under its content's name."""
    with wheel.store.read() as con:
        champion = adapters.champion(con)
        known = {item.id for item in adapters.list_adapters(con)}
    recipe = wheel.config.training.recipe if champion else FIRST_RECIPE
    result = run_job(wheel, f"{turn.id}-train", "train", _spec(wheel, turn, recipe, champion))
    challenger = str(result.values["adapter"])
    if challenger == champion:
        return StepResult(next_state="done", detail=f"training gave the champion {champion} again")
    install_adapter(wheel, wheel.job_dir(f"{turn.id}-train") / "adapter", challenger)
    metrics = dict(result.values.get("metrics", {}))

    def writes(con: Connection) -> None:
        if challenger in known:
            adapters.set_state(con, challenger, "challenger")
            return
        adapters.add(
            con,
            Adapter(
                id=challenger,
                base=wheel.config.model.base,
                recipe=recipe,
                dataset=turn.cursor["dataset"],
                parent=champion,
                created_at=wheel.clock(),
                state="challenger",
                metrics=metrics,
            ),
        )

    accuracy = metrics.get("dev_accuracy")
    said = "" if accuracy is None else f", {accuracy:.1%} on dev"
    return StepResult(
        next_state="evaluate",
        detail=f"{challenger} trained with {recipe} in {result.seconds:.0f} s{said}",
        outputs={"challenger": challenger, "champion": champion},
        writes=writes,
    )


def _spec(wheel: Wheel, turn: Turn, recipe: str, parent: str | None) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "dataset": str(wheel.datasets_dir / f"{turn.cursor['dataset']}.parquet"),
        "dataset_id": turn.cursor["dataset"],
        "intents": [
            {"name": intent.name, "arguments": sorted(intent.argument_names())}
            for intent in wheel.intents
        ],
        "parent": parent,
        "code_version": __version__,
        "created_at": turn.opened_at.isoformat(),  # a repeated step must give the same bytes
    }
