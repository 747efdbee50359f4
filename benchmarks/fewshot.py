"""How much does it learn from 5, from 10 and from all texts an intent, and at what cost?

    python benchmarks/fewshot.py [--quick] [--seeds N] [--sizes 5 10 full] [--data DIR]
                                 [--base NAME] [--recipe NAME]
                                 [--setfit PYTHON [--setfit-steps N]]

Trains as the daemon does, in a worker process; val is dev (20 rows an intent of it where few
texts are learned), test is read once by the finished adapter. The full size trains
with the set's out-of-scope rows and shows what the deployed threshold does, and the
whole trade-off between accuracy in scope and recall out of it.

Sets may be skewed: `acc` and `frozen` are means over intents with 20 training and 4 test rows,
`micro` and `frozen_micro` are over all test rows in scope. An intent with fewer rows than the size
has all of them learned. Where a set has arguments, they are learned too. `exact` is the share of
test rows whose whole call is right at the deployed threshold, `slot_f1` is over their arguments;
`spelled` is the share of the rows with arguments whose right tags spell them, and whose tags a tag
head can tell apart by token and place.

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
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import jobs
import peer_runs
import torch
from partition import Row, read

from flywheel import curation
from flywheel.bases import catalogue, fetching
from flywheel.config import CurationTable
from flywheel.content import same_arguments
from flywheel.records import NONE
from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter, out_of_scope, slots
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.models.encoder.model import TrainedEncoder

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "clinc150"
QUICK_INTENTS = 30
DEV_ROWS = 20  # of val an intent, where few texts are learned
LEAST_TRAIN, LEAST_TEST = 20, 4  # rows of an intent that a mean over intents takes
LOSSES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0)  # points of accuracy in scope given up for recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A set, and where it is worked on."""

    place: Path
    sets: Mapping[str, list[Row]]
    arguments: Mapping[str, Mapping[str, str]]  # by text; {} where the set has none
    asked: argparse.Namespace

    @property
    def bases(self) -> Path:
        """The folder of fetched bases."""
        return self.place / "bases"

    @property
    def common(self) -> set[str]:
        """The intents that a mean over intents takes."""
        train, test = (Counter(row.intent for row in self.sets[n]) for n in ("train", "test"))
        many = {intent for intent, n in train.items() if n >= LEAST_TRAIN}
        return {intent for intent in many - {NONE} if test[intent] >= LEAST_TEST}


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    sets = {name: read(asked.data, name) for name in ("train", "val", "test")}
    if asked.quick:
        few = set(sorted({row.intent for row in sets["train"]} - {NONE})[:QUICK_INTENTS]) | {NONE}
        sets = {name: [row for row in rows if row.intent in few] for name, rows in sets.items()}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fewshot-") as place:
        arguments = _arguments_of(asked.data)
        task = Task(place=Path(place), sets=sets, arguments=arguments, asked=asked)
        choice = catalogue.chosen(asked.base)
        if choice is not None:
            fetching.fetch(choice, task.bases, lambda _: None)
        if arguments:
            figures["spelled"] = round(_spelled(task), 3)
        for size in asked.sizes:
            runs = [_run(task, size, seed) for seed in range(asked.seeds)]
            for key in sorted({key for run in runs for key in run}):
                figures[key] = round(mean(run[key] for run in runs if key in run), 3)
    sizes = [size for size in asked.sizes if f"setfit_cpu_{size}" in figures]
    if sizes:
        mine = sum(figures[f"cpu_{size}"] for size in sizes)
        theirs = sum(figures[f"setfit_cpu_{size}"] for size in sizes)
        figures["cpu_vs_setfit"] = round(mine / theirs, 4)
    print(json.dumps({"benchmark": "fewshot", "quick": asked.quick, **figures}))
    return 0


def _run(task: Task, size: str, seed: int) -> dict[str, float]:
    place, sets, asked = task.place, task.sets, task.asked
    whole = size == "full"
    train = _dealt(sets["train"], None if whole else int(size), seed)
    dev = _dealt(sets["val"], None if whole else DEV_ROWS, seed)
    cache = {"cache_dir": str(place / "cache"), "seed": seed}
    cache |= {"base": asked.base, "bases_dir": str(task.bases)}
    names = _names(train, [row.text for part in ("val", "test") for row in sets[part]])
    recipe = asked.recipe or ("balanced" if whole else "thorough")
    said, named = task.arguments, place / f"{size}-{seed}-named.parquet"
    plain = jobs.dataset(place / f"{size}-{seed}.parquet", train, dev, arguments=said) | cache
    told = jobs.dataset(named, train, dev, (), names, said) | cache
    ways = [("frozen", f"frozen_{size}", "frozen", plain)]
    ways.append(("acc", f"acc_{size}", recipe, told))
    if not whole and asked.unlabelled:
        path, others = place / f"{size}-{seed}-more.parquet", _others(sets["train"], train, seed)
        more = jobs.dataset(path, train, dev, others[: asked.unlabelled], names, said) | cache
        ways.append(("unlabelled", f"acc_{size}_unlabelled", recipe, more))
    found: dict[str, float] = {}
    for key, figure, how, spec in ways:
        folder = place / f"{key}-{size}-{seed}"
        done = jobs.run(folder, "train", spec | {"recipe": how}, asked.threads)
        model, logits = _logits(folder / "adapter", task)
        labels, rule = model.adapter.labels, model.adapter.scope
        inside = out_of_scope.answer(logits, labels, out_of_scope.ScopeRule()).intents
        truth = [row.intent for row in sets["test"]]
        known = [t != NONE for t in truth]
        right: dict[str, list[bool]] = defaultdict(list)
        for said_intent, intent in zip(inside, truth, strict=True):
            right[intent].append(said_intent == intent)
        found[figure] = mean(_percent(right[intent]) for intent in task.common)
        micro = "micro" if key == "acc" else f"{key}_micro"
        found[f"{micro}_{size}"] = _percent([hit for i in right if i != NONE for hit in right[i]])
        if task.arguments and key == "acc":
            calls = _calls(model, task)
            found |= {f"{name}_{size}": value for name, value in calls.items()}
        name = "cpu" if key == "acc" else f"{key}_cpu"
        found[f"{name}_{size}"] = done.cpu_s
        if whole and key == "acc" and not all(known):
            found |= _out_of_scope(logits, labels, rule, truth)
        print(f"{size} seed {seed} {key}: {found[figure]:.2f} in {done.cpu_s:.0f} CPU s"
              f", {done.values['metrics'].get('dev_accuracy')} on dev", flush=True)  # fmt: skip
    if not whole:
        found |= _setfit(size, seed, train, task)
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


def _logits(folder: Path, task: Task) -> tuple[TrainedEncoder, torch.Tensor]:
    """The adapter, and its logits of the test rows."""
    trained = adapter.load(folder)
    on = base.load(trained.base, task.bases)
    frozen = FrozenStates(on, trained.depth, trained.max_length, task.place / "cache")
    model = TrainedEncoder(trained, frozen)
    states = model.adapted([row.text for row in task.sets["test"]])
    return model, trained.head.logits(states.embedding)


def _arguments_of(folder: Path) -> dict[str, dict[str, str]]:
    """Arguments of the set's texts, in all its files."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if "arguments" in row:
                found[row["text"]] = row["arguments"]
    return found


def _calls(model: TrainedEncoder, task: Task) -> dict[str, float]:
    """How many whole calls of the test rows are right, and how many of their arguments."""
    rows = task.sets["test"]
    answered = model.answer([row.text for row in rows])
    exact, hits, said, wanted = [], 0, 0, 0
    for row, intent, arguments in zip(rows, answered.intents, answered.arguments, strict=True):
        gold = task.arguments[row.text]
        exact.append(intent == row.intent and same_arguments(arguments, gold))
        hits += sum(arguments.get(name) == value for name, value in gold.items())
        said, wanted = said + len(arguments), wanted + len(gold)
    return {"exact": _percent(exact), "slot_f1": 200 * hits / max(1, said + wanted)}


def _spelled(task: Task) -> float:
    """Per cent of the test rows with arguments that a tag head could spell."""
    tokenizer = base.open_tokenizer(base.load(task.asked.base, task.bases), 64)
    names = sorted({name for said in task.arguments.values() for name in said})
    texts = [row.text for row in task.sets["test"] if task.arguments[row.text]]
    spelled = []
    for text, encoding in zip(texts, base.encode(tokenizer, texts), strict=True):
        gold = task.arguments[text]
        right = slots.tags_of(encoding, text, gold, names)
        seen: dict[tuple[int, int], int] = {}
        columns = torch.stack([right.tokens, right.places, right.tags], 1)
        for token, place, tag in columns.tolist():
            seen[token, place] = tag  # of two that the head cannot tell apart, the later one
        units = slots.units(encoding, text)
        best = torch.zeros(len(units), 1 + 2 * len(names))
        for number, unit in enumerate(units):
            best[number, seen.get((unit.token, unit.place), slots.OUTSIDE)] = 9.0
        spelled.append(slots.read(units, text, best, names, names) == gold)
    return _percent(spelled)


def _out_of_scope(
    logits: torch.Tensor, labels: Sequence[str], rule: out_of_scope.ScopeRule, truth: list[str]
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


def _setfit(size: str, seed: int, train: list[tuple[str, str]], task: Task) -> dict[str, float]:
    """The complete run on the same rows: recorded, or made now where a Python for it is given."""
    place, asked = task.place, task.asked
    test = [(row.text, row.intent) for row in task.sets["test"] if row.intent != NONE]
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
    parser.add_argument("--base", default=jobs.BASE, help="as `flywheel base list` names it")
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
