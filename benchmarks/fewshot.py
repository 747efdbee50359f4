"""How much does it learn from 5, from 10 and from all texts an intent, and at what cost?

    python benchmarks/fewshot.py [--quick] [--seeds N] [--sizes 5 10 full] [--data DIR]
                                 [--recipe NAME] [--setfit PYTHON [--setfit-steps N]]

Trains as the daemon does, in a worker process; val is dev, test is read once by the finished
adapter. The full size trains with the set's out-of-scope rows and shows what the deployed
threshold does, and the whole trade-off between accuracy in scope and recall out of it.

Few texts are learned by the recipe `thorough`, all of them by `balanced`, the default of the
configuration; `--recipe` takes another. As in the daemon, what an intent of at most ten rows is
called is learned as one more, where that is near no row of val or test; `frozen`, the baseline, is
logistic regression on the labelled rows alone.

With 5 and 10 texts an intent it trains a second time with `[training] unlabelled`: other texts of
the training set, those out of scope among them, without their labels, as production has them
(`acc_5_unlabelled`). What a peer gets is the labelled rows alone, so that `acc_5` is the figure
beside it.

Beside it stands SetFit's documented recipe, run to its end on the same rows: as recorded in
peers.jsonl, or, with `--setfit`, made now by an interpreter that has it, and recorded.
`--setfit-steps` makes a shorter run, which is shown and never compared. The last line is one JSON
object; per cents are of test rows, and cpu_vs_setfit compares the sizes that SetFit has run.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import jobs
import peer_runs
import torch
from partition import Row, read

from flywheel import curation
from flywheel.config import CurationTable
from flywheel.records import NONE
from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter, out_of_scope
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.models.encoder.model import TrainedEncoder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
QUICK_INTENTS = 30
LOSSES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)  # points of accuracy in scope given up for recall


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    sets = {name: read(asked.data, name) for name in ("train", "val", "test")}
    if asked.quick:
        few = set(sorted({row.intent for row in sets["train"]} - {NONE})[:QUICK_INTENTS]) | {NONE}
        sets = {name: [row for row in rows if row.intent in few] for name, rows in sets.items()}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fewshot-") as place:
        for size in asked.sizes:
            runs = [_run(Path(place), size, seed, sets, asked) for seed in range(asked.seeds)]
            for key in sorted({key for run in runs for key in run}):
                figures[key] = round(mean(run[key] for run in runs if key in run), 3)
    sizes = [size for size in asked.sizes if f"setfit_cpu_{size}" in figures]
    if sizes:
        mine = sum(figures[f"cpu_{size}"] for size in sizes)
        theirs = sum(figures[f"setfit_cpu_{size}"] for size in sizes)
        figures["cpu_vs_setfit"] = round(mine / theirs, 4)
    print(json.dumps({"benchmark": "fewshot", "quick": asked.quick, **figures}))
    return 0


def _run(
    place: Path, size: str, seed: int, sets: dict[str, list[Row]], asked: argparse.Namespace
) -> dict[str, float]:
    whole = size == "full"
    train = _dealt(sets["train"], None if whole else int(size), seed)
    dev = [(row.text, row.intent) for row in sets["val"] if whole or row.intent != NONE]
    cache = {"cache_dir": str(place / "cache"), "seed": seed}
    names = _names(train, [row.text for part in ("val", "test") for row in sets[part]])
    recipe = asked.recipe or ("balanced" if whole else "thorough")
    plain = jobs.dataset(place / f"{size}-{seed}.parquet", train, dev) | cache
    told = jobs.dataset(place / f"{size}-{seed}-named.parquet", train, dev, (), names) | cache
    ways = [("frozen", f"frozen_{size}", "frozen", plain)]
    ways.append(("acc", f"acc_{size}", recipe, told))
    if not whole and asked.unlabelled:
        path, others = place / f"{size}-{seed}-more.parquet", _others(sets["train"], train, seed)
        more = jobs.dataset(path, train, dev, others[: asked.unlabelled], names) | cache
        ways.append(("unlabelled", f"acc_{size}_unlabelled", recipe, more))
    found: dict[str, float] = {}
    for key, figure, how, spec in ways:
        folder = place / f"{key}-{size}-{seed}"
        done = jobs.run(folder, "train", spec | {"recipe": how}, asked.threads)
        logits, labels, rule = _logits(folder / "adapter", sets["test"], place / "cache")
        inside = out_of_scope.answer(logits, labels, out_of_scope.ScopeRule()).intents
        truth = [row.intent for row in sets["test"]]
        known = [t != NONE for t in truth]
        pairs = list(zip(inside, truth, known, strict=True))
        found[figure] = _percent([a == b for a, b, k in pairs if k])
        name = "cpu" if key == "acc" else f"{key}_cpu"
        found[f"{name}_{size}"] = done.cpu_s
        if whole and key == "acc" and not all(known):
            found |= _out_of_scope(logits, labels, rule, truth)
        print(f"{size} seed {seed} {key}: {found[figure]:.2f} in {done.cpu_s:.0f} CPU s"
              f", {done.values['metrics'].get('dev_accuracy')} on dev", flush=True)  # fmt: skip
    if not whole:
        found |= _setfit(size, seed, train, sets, place, asked)
    return found


def _dealt(rows: list[Row], each: int | None, seed: int) -> list[tuple[str, str]]:
    """`each` rows of every intent in scope; all rows when None."""
    if each is None:
        return [(row.text, row.intent) for row in rows]
    rows = [row for row in rows if row.intent != NONE]
    random.Random(seed).shuffle(rows)
    taken: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        of = taken.setdefault(row.intent, [])
        if len(of) < each:
            of.append((row.text, row.intent))
    return [pair for intent in sorted(taken) for pair in taken[intent]]


def _names(train: list[tuple[str, str]], kept_out: list[str]) -> list[tuple[str, str]]:
    """What intents of few rows are called, where no row of val or test is near it."""
    named = curation.name_texts(train)
    near = curation.near_duplicates([text for text, _ in named], kept_out, CurationTable().leak)
    leaked = {match.i for match in near}
    return [pair for number, pair in enumerate(named) if number not in leaked]


def _others(rows: list[Row], train: list[tuple[str, str]], seed: int) -> list[str]:
    """The texts that are not in `train`, shuffled."""
    others = sorted({row.text for row in rows} - {text for text, _ in train})
    random.Random(seed).shuffle(others)
    return others


def _logits(
    folder: Path, rows: list[Row], cache: Path
) -> tuple[torch.Tensor, Any, out_of_scope.ScopeRule]:
    trained = adapter.load(folder)
    frozen = FrozenStates(base.load(trained.base), trained.depth, trained.max_length, cache)
    states = TrainedEncoder(trained, frozen).adapted([row.text for row in rows])
    return trained.head.logits(states.embedding), trained.labels, trained.scope


def _out_of_scope(
    logits: torch.Tensor, labels: list[str], rule: out_of_scope.ScopeRule, truth: list[str]
) -> dict[str, float]:
    said = out_of_scope.answer(logits, labels, rule).intents
    found = {
        "in_scope_at_threshold": _percent(
            [a == b for a, b in zip(said, truth, strict=True) if b != NONE]
        ),
        "oos_recall": _percent([a == NONE for a, b in zip(said, truth, strict=True) if b == NONE]),
    }
    scores = out_of_scope.score(logits, labels, rule.score)
    outside = torch.tensor([t == NONE for t in truth])
    ranks = scores.argsort().argsort().double() + 1
    n = int(outside.sum())
    above = float(ranks[~outside].sum()) - (len(truth) - n) * (len(truth) - n + 1) / 2
    found["auroc"] = above / (n * (len(truth) - n))
    inside = out_of_scope.answer(logits, labels, out_of_scope.ScopeRule()).intents
    right = torch.tensor([a == b for a, b in zip(inside, truth, strict=True)])[~outside]
    print(f"trade-off by {rule.score}: accuracy in scope, recall out of it")
    for loss in LOSSES:
        cut = _cut(scores[~outside], right, loss / 100)
        kept = float((right & (scores[~outside] >= cut)).float().mean())
        print(f"  {100 * kept:.2f} {100 * float((scores[outside] < cut).float().mean()):.1f}")
    return found


def _cut(scores: torch.Tensor, right: torch.Tensor, loss: float) -> float:
    """The highest threshold that costs at most this share of the rows."""
    ranked = scores[right].sort().values
    return float(ranked[min(len(ranked) - 1, int(loss * len(scores)))])


def _setfit(
    size: str,
    seed: int,
    train: list[tuple[str, str]],
    sets: dict[str, list[Row]],
    place: Path,
    asked: argparse.Namespace,
) -> dict[str, float]:
    """The complete run on the same rows: recorded, or made now where a Python for it is given."""
    test = [(row.text, row.intent) for row in sets["test"] if row.intent != NONE]
    done = peer_runs.recorded("setfit", train, test, seed)
    if asked.setfit and (done is None or asked.setfit_steps > 0):
        model, path = base.load(jobs.BASE).folder, place / f"setfit-{size}-{seed}.json"
        steps = asked.setfit_steps or -1
        made = peer_runs.run("setfit", path, train, test, seed, model, asked.setfit, steps)
        print(f"{size} seed {seed} SetFit, {made.steps} steps: {made.accuracy:.2f} "
              f"in {made.cpu_s:.0f} CPU s", flush=True)  # fmt: skip
        done = made if steps < 0 else done
    if done is None:
        return {}
    print(f"{size} seed {seed} SetFit, complete: {done.accuracy:.2f} in {done.cpu_s:.0f} CPU s")
    return {f"setfit_{size}": done.accuracy, f"setfit_cpu_{size}": done.cpu_s}


def _percent(right: list[bool]) -> float:
    return 100 * sum(right) / len(right)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_INTENTS} intents, one seed")
    parser.add_argument("--seeds", type=int, help="3, or 1 when quick")
    parser.add_argument("--sizes", nargs="+", default=["5", "10", "full"])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--recipe", help="thorough for few texts, balanced for all")
    parser.add_argument("--unlabelled", type=int, default=8000, help="texts without labels (8000)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--setfit", help="a Python that has SetFit installed")
    parser.add_argument("--setfit-steps", type=int, default=0, help="cut SetFit short")
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
