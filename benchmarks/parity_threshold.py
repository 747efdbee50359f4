"""How surely does parity find a server that applies another threshold of `none`?

    python benchmarks/parity_threshold.py [--quick] [--seeds N] [--recipe NAME] [--data DIR]

An adapter is trained and evaluated as in a turn, by worker jobs. A server is then asked the 200 dev
texts that parity chooses, by thresholds that are off by some amount, in the unit of the score (a
logit, but for the score `confidence`). Three counts for each shift, summed over the seeds: dev
texts whose answers change, of all; those among the asked ones where texts near the threshold are
preferred; and where the least confident are (`before`), as for answers that were evaluated by an
earlier version. A shift is missed where it changes answers and none of 200, 50 or 10 asked texts
is one of them, the fewest shown being those of an hourly round and of a small one. False alarms are
texts that an unchanged server answers otherwise, by torch and, where it is installed, ONNX Runtime.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import pyarrow as pa
import pyarrow.parquet as pq
import serving_world as world
from partition import Row

from flywheel.errors import FlywheelError
from flywheel.promotion import parity
from flywheel.records import EvaluatedAnswer, ServedAnswer
from flywheel.router import Router
from flywheel.turn.evaluated_answers import answers_in

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
SHIFTS = tuple(sign * size for size in (0.02, 0.05, 0.1, 0.3, 1.0) for sign in (1, -1))
ASKED = (200, 50, 10)  # before a promotion; every hour; the fewest of benchmarks/serve.py


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    found = {f"{shift:+g}": [0, 0, 0] for shift in SHIFTS}
    missed, before = ({str(count): 0 for count in ASKED} for _ in range(2))
    alarms, texts = 0, 0
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory(prefix="parity-") as place:
            rows = world.dealt(asked.data, seed, quick=asked.quick)
            adapter, evaluated = _evaluated(Path(place), rows.seeds, rows.dev, seed, asked.recipe)
            chosen = {count: _chosen(rows.dev, evaluated, adapter, count) for count in ASKED}
            texts += len(rows.dev)
            alarms += _false_alarms(adapter, rows.dev, evaluated, chosen[ASKED[0]][0])
        for shift in SHIFTS:
            changed = {name for name, one in evaluated.items() if _turned(one, shift)}
            counts = [len(changed), *(len(changed & names) for names in chosen[ASKED[0]])]
            name = f"{shift:+g}"
            found[name] = [a + b for a, b in zip(found[name], counts, strict=True)]
            for count, (near, unsure) in chosen.items():
                missed[str(count)] += bool(changed) and not changed & near
                before[str(count)] += bool(changed) and not changed & unsure
        print(f"seed {seed}: {len(evaluated)} dev texts", flush=True)
    for shift, (every, near, unsure) in found.items():
        print(f"{shift}: {every} change, asked {near} of them; before {unsure}", flush=True)
    figures: dict[str, Any] = {"shifts": found, "missed": missed, "missed_before": before}
    figures |= {"tried": len(SHIFTS) * asked.seeds, "false_alarms": alarms, "dev_texts": texts}
    print(json.dumps({"benchmark": "parity_threshold", "quick": asked.quick, **figures}))
    return 0


def _evaluated(
    place: Path, seeds: Sequence[Row], dev: Sequence[Row], seed: int, recipe: str
) -> tuple[Path, Mapping[str, EvaluatedAnswer]]:
    """The adapter's folder, and its answers by the place of a row in dev."""
    pairs = [[(row.text, row.intent) for row in rows] for rows in (seeds, dev)]
    spec = jobs.dataset(place / "rows.parquet", pairs[0], pairs[1])
    jobs.run(place / "train", "train", spec | {"recipe": recipe, "seed": seed, "graph": True})
    asked = place / "predict"
    asked.mkdir()
    numbered = {"id": [str(n) for n in range(len(dev))], "text": [row.text for row in dev]}
    pq.write_table(pa.table(numbered), asked / "rows.parquet")
    adapter = place / "train" / "adapter"
    jobs.run(asked, "predict", {"adapters": {"a-1": str(adapter)}, "timed": 0})
    return adapter, {one.sample: one for one in answers_in(asked / "predictions.parquet", "a-1")}


def _chosen(
    dev: Sequence[Row], evaluated: Mapping[str, EvaluatedAnswer], adapter: Path, count: int
) -> tuple[set[str], set[str]]:
    """The samples asked, and those that would be without what is known of the threshold."""
    intents = {str(number): row.intent for number, row in enumerate(dev)}
    bare = {name: replace(one, margin=None) for name, one in evaluated.items()}
    seed = json.loads((adapter / "flywheel.json").read_text())["id"]
    one, other = (parity.chosen(intents, by, [], count, seed) for by in (evaluated, bare))
    return set(one), set(other)


def _turned(evaluated: EvaluatedAnswer, shift: float) -> bool:
    """Whether another threshold, off by so much, makes a call `none` or the reverse."""
    margin = evaluated.margin
    return margin is not None and (margin < 0) != (margin - shift < 0)


def _false_alarms(
    adapter: Path,
    dev: Sequence[Row],
    evaluated: Mapping[str, EvaluatedAnswer],
    names: set[str],
) -> int:
    ordered = sorted(names)
    found = 0
    for engine in ("torch", "onnx"):
        try:
            router = Router.load(adapter, engine=engine)
        except FlywheelError as error:
            print(f"not asked: {error.message}", flush=True)
            continue
        answers = router.answer_batch([dev[int(name)].text for name in ordered])
        served = [
            ServedAnswer(
                adapter="a-1",
                intent=each.intent,
                arguments=each.arguments,
                confidence=each.confidence,
            )
            for each in answers
        ]
        result = parity.compared("a-1", [evaluated[name] for name in ordered], served)
        found += len(result.differences)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five seed texts an intent, not ten")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train.jsonl, test.jsonl")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
