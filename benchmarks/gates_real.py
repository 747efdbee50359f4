"""Do the gates judge real LoRA pairs as unseen test rows do?

    python benchmarks/gates_real.py [--quick] [--partitions N] [--data DIR]

Of each partition of the set one champion is trained, and six challengers: the same data with
another seed, a fifth more data, one intent's labels flipped at 50 and at 80 %, one intent left
out, golden texts leaked into training. The shipped gates judge each pair on golden rows, labels
bought while the pool lasts; the truth is what both do on test rows that took no part. Ends with
one line of JSON.

A verdict is wrong when it is FAIL for a challenger that test shows unharmed, or PASS for one that
test shows harmed (worse overall at p < .01, or an intent lost: `scores.intents_lost`) or whose
golden set leaked. A promotion of such a one is unsafe.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from outside import Outside
from partition import Partition, Quota, Row, deal, read
from scores import intents_lost, score

from flywheel import curation, datasets
from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable, TrainingTable
from flywheel.gates import Evidence, HygieneFacts, Judgement, Ledger, judge
from flywheel.metrics import inferiority_p
from flywheel.promotion import Situation, decide
from flywheel.records import NONE, Intent, Outcome, Sample, Split

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
KINDS = ("other seed", "a fifth more", "flipped 50 %", "flipped 80 %", "left out", "leaked")
QUOTA = Quota(seeds=25, dev=10, golden=10, labels=25, teacher=5, traffic=0)
RULES = GatesTable(overall=OverallRule(profile="fast"), intents=IntentsRule(margin=0.20))
HARMED_P = 0.01
LEAKED_SHARE = 0.10
JACCARD = RULES.hygiene.jaccard


def main() -> int:
    """Train, judge, compare with test, end with the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one partition of eight intents")
    parser.add_argument("--partitions", type=int, default=5, help="six pairs each (5)")
    parser.add_argument("--intents", type=int, help="keep only this many (all)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train, val and test")
    asked = parser.parse_args()
    if not (asked.data / "train.jsonl").exists():
        print(f"{asked.data}: no train.jsonl; name a folder with --data", file=sys.stderr)
        return 2
    if asked.quick:
        asked.partitions, asked.intents = 1, asked.intents or 8
    rows = [read(asked.data, split) for split in ("train", "val", "test")]
    began, found = time.monotonic(), Counter()
    with tempfile.TemporaryDirectory(prefix="flywheel-gates-") as name:
        outside = Outside(Path(name), threads=1)
        for number in range(asked.partitions):
            dealt = deal(*rows, seed=number, quota=QUOTA, most_intents=asked.intents)
            found += _partition(dealt, number, Path(name), outside)
    figures = {key: found[key] for key in ("pairs", "wrong_verdicts", "unsafe_promotions")}
    more = {key: found[key] for key in ("promoted", "rejected", "held", "labels")}
    minutes = round((time.monotonic() - began) / 60, 1)
    print(json.dumps({**figures, **more, "quick": asked.quick, "minutes": minutes}))
    return 0


def _partition(dealt: Partition, number: int, folder: Path, outside: Outside) -> Counter[str]:
    golden = [row.text for row in dealt.golden]
    base = _unleaked(list(dealt.seeds), golden)
    champion = _train(folder, base, dealt, seed=0)
    counts: Counter[str] = Counter()
    for kind in KINDS:
        trained = _changed(kind, base, dealt, number)
        challenger = _train(folder, trained, dealt, seed=1 if kind == "other seed" else 0)
        _answer_everything(dealt, outside, champion, challenger)
        leaks = curation.leaks([row.text for row in trained], golden, JACCARD)
        judgement, bought = _judged(dealt, outside, champion, challenger, leaks)
        ruling = decide(judgement, PromotionTable(mode="auto"), Situation(champion=champion.name))
        truth = _truth(dealt, outside, champion, challenger)
        harmed = kind == "leaked" or bool(truth)
        wrong = judgement.verdict == ("PASS" if harmed else "FAIL")
        promoted = ruling.verdict == "promote"
        counts.update(pairs=1, labels=bought, wrong_verdicts=wrong)
        counts.update(unsafe_promotions=promoted and harmed, promoted=promoted)
        counts.update(rejected=ruling.verdict == "reject", held=ruling.verdict == "hold")
        told = ", ".join(f"{line.gate} {line.verdict}" for line in judgement.gates)
        print(
            f"partition {number}, {kind:13} {ruling.verdict:8} {told}; {bought} labels; on test: "
            f"{truth or 'unharmed'}{'  WRONG' if wrong else ''}",
            flush=True,
        )
    return counts


def _answer_everything(dealt: Partition, outside: Outside, *adapters: Path) -> None:
    """One worker an adapter: what is asked later is remembered."""
    labels = [row for rows in dealt.labels.values() for row in rows]
    texts = [row.text for row in (*dealt.golden, *dealt.dev, *dealt.test, *labels)]
    for adapter in adapters:
        outside.answers(adapter, texts)


def _changed(kind: str, base: Sequence[Row], dealt: Partition, number: int) -> list[Row]:
    """The training rows of one kind of challenger."""
    chance = random.Random(f"{kind} {number}")
    victim, other = chance.sample(dealt.intents, 2)
    if kind == "a fifth more":
        extra = [row for rows in dealt.teacher.values() for row in rows]
        return [*base, *_unleaked(extra, [row.text for row in dealt.golden])]
    if kind.startswith("flipped"):
        share = 0.8 if "80" in kind else 0.5
        mine = [row for row in base if row.intent == victim]
        flipped = set(chance.sample(mine, round(share * len(mine))))
        return [Row(row.text, other) if row in flipped else row for row in base]
    if kind == "left out":
        return [row for row in base if row.intent != victim]
    if kind == "leaked":
        inside = [row for row in dealt.golden if row.intent != NONE]
        return [*base, *chance.sample(inside, round(LEAKED_SHARE * len(inside)))]
    return list(base)


def _unleaked(rows: Sequence[Row], golden: Sequence[str]) -> list[Row]:
    near = curation.near_duplicates([row.text for row in rows], golden, JACCARD)
    leaked = {each.i for each in near}
    return [row for place, row in enumerate(rows) if place not in leaked]


def _train(folder: Path, rows: Sequence[Row], dealt: Partition, *, seed: int) -> Path:
    """One train job in a worker of its own; returns the adapter's folder."""
    train = tuple(_sample(row, "train") for row in rows)
    dev = tuple(_sample(row, "dev") for row in dealt.dev)
    dataset, table = datasets.assemble(datasets.TrainingSet(train=train, dev=dev))
    place = folder / f"{dataset.id}.parquet"
    pq.write_table(table, place)
    job = Path(tempfile.mkdtemp(dir=folder))
    spec = {
        "base": "bundled:all-minilm-l6-v2",
        "threads": 1,
        "max_length": 64,
        "seed": seed,
        "cache_dir": str(folder / "cache"),
        "recipe": TrainingTable().recipe,
        "dataset": str(place),
        "intents": [{"name": name, "arguments": []} for name in dealt.intents],
        "parent": None,
        "code_version": "",
        "created_at": "",
    }
    described = {"id": job.name, "kind": "train", "spec": spec}
    (job / "job.json").write_text(json.dumps(described), encoding="utf-8")
    command = [sys.executable, "-m", "flywheel.worker", str(job)]
    subprocess.run(command, capture_output=True, check=False)
    result = json.loads((job / "result.json").read_text(encoding="utf-8"))
    if not result["ok"]:
        raise RuntimeError(f"train job: {result['error']}")
    named = folder / "adapters" / f"{result['values']['adapter']}-{job.name}"
    named.parent.mkdir(exist_ok=True)
    (job / "adapter").rename(named)
    return named


def _judged(
    dealt: Partition, outside: Outside, champion: Path, challenger: Path, leaks: tuple[str, ...]
) -> tuple[Judgement, int]:
    """The gates' word after every label that they asked for and the pool had."""
    pool = {name: list(rows) for name, rows in dealt.labels.items()}
    outcomes = _outcomes(dealt.golden, outside, champion, challenger, "golden")
    count = len(outcomes)
    facts = HygieneFacts(
        leaks=leaks,
        sealed_hash="sealed",
        current_hash="sealed",
        trained_hash=challenger.name,
        evaluated_hash=challenger.name,
        chosen_on="dev",
        champion_rows=count,
        challenger_rows=count,
    )
    evidence = Evidence(
        outcomes=outcomes,
        dev=_outcomes(dealt.dev, outside, champion, challenger, "dev"),
        hygiene=facts,
        ledger=Ledger(generation=1, used=0, capacity=30),
        intents=tuple(Intent(name=name) for name in dealt.intents),
    )
    asked: Counter[str] = Counter()
    while True:
        judgement = judge(evidence, RULES)
        bought = [
            row
            for name, wanted in judgement.labels_wanted.items()
            for row in [pool[name].pop() for _ in range(min(wanted, len(pool[name])))]
        ]
        if not bought:
            return judgement, asked.total()
        asked.update(row.intent for row in bought)
        assert evidence.ledger is not None
        more = _outcomes(bought, outside, champion, challenger, "golden", bought=True)
        evidence = replace(
            evidence,
            outcomes=evidence.outcomes + more,
            asked=dict(asked),
            ledger=replace(evidence.ledger, earlier_overall=judgement.gate("overall")),
        )


def _outcomes(
    rows: Sequence[Row],
    outside: Outside,
    champion: Path,
    challenger: Path,
    split: Split,
    bought: bool = False,
) -> tuple[Outcome, ...]:
    texts = [row.text for row in rows]
    before, after = outside.answers(champion, texts), outside.answers(challenger, texts)
    return tuple(_outcome(row, before, after, split, bought) for row in rows)


def _outcome(
    row: Row, before: Mapping[str, str], after: Mapping[str, str], split: Split, bought: bool
) -> Outcome:
    return Outcome(
        sample=f"{split} {row.text}",
        split=split,
        intent=row.intent,
        champion_intent=before[row.text],
        challenger_intent=after[row.text],
        champion_correct=before[row.text] == row.intent,
        challenger_correct=after[row.text] == row.intent,
        bought=bought,
    )


def _truth(dealt: Partition, outside: Outside, champion: Path, challenger: Path) -> str:
    """What test rows show the challenger to have harmed; "" for nothing.

    Overall on rows in scope: of those out of scope test has another share than golden.
    """
    texts = [row.text for row in dealt.test]
    before, after = outside.answers(champion, texts), outside.answers(challenger, texts)
    inside = [row for row in dealt.test if row.intent != NONE]
    right = [(before[row.text] == row.intent, after[row.text] == row.intent) for row in inside]
    losses, gains = right.count((True, False)), right.count((False, True))
    lost = intents_lost(dealt.test, before, after)
    told = [f"lost {', '.join(lost)}"] if lost else []
    if inferiority_p(losses, gains) < HARMED_P:
        macro = [score(dealt.test, answers).macro for answers in (before, after)]
        told.append(f"macro {macro[0]:.1f} to {macro[1]:.1f}")
    return "; ".join(told)


def _sample(row: Row, split: Split) -> Sample:
    name = datasets.sample_id(row.text, row.intent, None, "seed", split)
    return Sample(id=name, text=row.text, intent=row.intent, origin="seed", split=split)


if __name__ == "__main__":
    sys.exit(main())
