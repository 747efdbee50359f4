"""Do the gates judge real LoRA pairs as unseen test rows do?

    python benchmarks/gates_real.py [--quick] [--partitions N] [--intents K] [--data DIR]

Of each partition of the set one champion is trained, and six challengers: the same data with
another seed, a fifth more data, one intent's labels flipped at 50 and at 80 %, one intent left
out, golden texts leaked into training. Each is trained as the product trains, dev rows learned
once all is chosen on them. The shipped gates judge each pair on golden rows, labels bought while
the pool lasts; the truth is what both do on test rows that took no part. Ends with one line of
JSON; beside each pair stands what golden and test rows say of it.

A verdict is wrong when it is FAIL for a challenger that test does not show harmed, or PASS for
one that test shows harmed (worse in scope at p < .01, an intent lost: `scores.intents_lost`, or
out of scope as much lost) or whose golden set leaked. A promotion of such a one is unsafe.
Of the wrong FAILs, `wrong_fails_down` counts those whose test rows went down too, but not at
that level.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import pyarrow.parquet as pq
from outside import Outside
from partition import Partition, Quota, Row, deal, read
from scores import LOST_RECALL, intents_lost

from flywheel import curation, datasets
from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable, TrainingTable
from flywheel.gates import Evidence, HygieneFacts, Judgement, Ledger, judge
from flywheel.metrics import inferiority_p, superiority_p
from flywheel.promotion import Situation, decide
from flywheel.records import NONE, Intent, Outcome, Sample, Split

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
KINDS = ("other seed", "a fifth more", "flipped 50 %", "flipped 80 %", "left out", "leaked")
QUOTA = Quota(seeds=25, dev=10, golden=10, labels=25, teacher=5, traffic=0)
RULES = GatesTable(overall=OverallRule(profile="fast"), intents=IntentsRule(margin=0.20))
TRAINING = TrainingTable()
HARMED_P = 0.01
LEAKED_SHARE = 0.10
Answers = tuple[Mapping[str, str], Mapping[str, str]]
"""Intents by text: what the champion says, and the challenger."""
JACCARD = RULES.hygiene.jaccard


@dataclass(frozen=True, slots=True)
class Taught:
    """What one model learns: its training rows, then its dev rows."""

    rows: Sequence[Row]
    dev: Sequence[Row]

    def texts(self) -> list[str]:
        """All that it learns or is chosen with."""
        return [row.text for row in (*self.rows, *self.dev)]


@dataclass(frozen=True, slots=True)
class Paired:
    """How often one model alone was right."""

    lost: int
    gained: int
    n: int

    def __str__(self) -> str:
        points = 100 * (self.gained - self.lost) / max(1, self.n)
        return f"{points:+.1f} (-{self.lost} +{self.gained} of {self.n})"


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
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="flywheel-gates-") as name:
        outside = Outside(Path(name), threads=1)
        for number in range(asked.partitions):
            dealt = deal(*rows, seed=number, quota=QUOTA, most_intents=asked.intents)
            found += _partition(dealt, number, Path(name), outside)
    keys = ("pairs", "wrong_verdicts", "unsafe_promotions", "wrong_passes", "wrong_fails")
    keys += ("wrong_fails_down", "harmed", "promoted", "rejected", "held", "labels")
    spent = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    minutes = round(sum(each.ru_utime + each.ru_stime for each in spent) / 60, 1)
    figures = {key: found[key] for key in keys}
    print(json.dumps({**figures, "quick": asked.quick, "cpu_minutes": minutes}))
    return 0


def _partition(dealt: Partition, number: int, folder: Path, outside: Outside) -> Counter[str]:
    golden = [row.text for row in dealt.golden]
    base = Taught(_unleaked(dealt.seeds, golden), dealt.dev)
    taught = {kind: _changed(kind, base, dealt, number) for kind in KINDS}
    champion = _train(folder, base, dealt, seed=0)
    trained = {
        kind: _train(folder, each, dealt, seed=1 if kind == "other seed" else 0)
        for kind, each in taught.items()
    }
    labels = [row for rows in dealt.labels.values() for row in rows]
    asked = [row.text for row in (*dealt.golden, *dealt.test, *labels)]
    outside.ask([champion, *trained.values()], asked)
    counts: Counter[str] = Counter()
    for kind, challenger in trained.items():
        answers = outside.answers(champion, ()), outside.answers(challenger, ())
        judgement, bought = _judged(dealt, answers, taught[kind])
        ruling = decide(judgement, PromotionTable(mode="auto"), Situation(champion=champion.name))
        leaked = kind == "leaked"
        counts += _counted(dealt, judgement, ruling.verdict, answers, leaked=leaked)
        counts["labels"] += bought
        gates = ", ".join(f"{line.gate} {line.verdict}" for line in judgement.gates)
        print(f"partition {number}, {kind:13} {ruling.verdict:8} {gates}; {bought} labels")
        print(_said(dealt, judgement, answers), flush=True)
    return counts


def _counted(
    dealt: Partition, judgement: Judgement, ruling: str, answers: Answers, *, leaked: bool
) -> Counter[str]:
    """One pair's contribution to the figures."""
    harmed = leaked or bool(_harm(dealt, answers))
    wrong_pass = judgement.verdict == "PASS" and harmed
    wrong_fail = judgement.verdict == "FAIL" and not harmed
    inside, _ = _by_scope(dealt.test, answers)
    return Counter(
        pairs=1,
        harmed=harmed,
        wrong_verdicts=wrong_pass or wrong_fail,
        wrong_passes=wrong_pass,
        wrong_fails=wrong_fail,
        wrong_fails_down=wrong_fail and inside.gained < inside.lost,
        unsafe_promotions=ruling == "promote" and harmed,
        promoted=ruling == "promote",
        rejected=ruling == "reject",
        held=ruling == "hold",
    )


def _said(dealt: Partition, judgement: Judgement, answers: Answers) -> str:
    """What golden and test rows say of a pair, so that each verdict can be understood."""
    overall = judgement.gate("overall")
    assert overall is not None
    seen = {
        "golden": f"{overall.verdict} at p {overall.value or 1:.2g}",
        "test": _harm(dealt, answers) or "no harm shown",
    }
    lines = []
    for name, rows in (("golden", dealt.golden), ("test", dealt.test)):
        inside, none = _by_scope(rows, answers)
        better = superiority_p(inside.lost, inside.gained)
        worse = inferiority_p(inside.lost, inside.gained)
        told = f"in scope {inside}, p better {better:.2g}, worse {worse:.2g}; none {none}"
        lines.append(f"    {name:6} {told}; {seen[name]}")
    return "\n".join(lines)


def _changed(kind: str, base: Taught, dealt: Partition, number: int) -> Taught:
    """What one kind of challenger learns."""
    chance = random.Random(f"{kind} {number}")
    victim, other = chance.sample(dealt.intents, 2)
    golden = [row.text for row in dealt.golden]
    if kind == "a fifth more":
        extra = [row for rows in dealt.teacher.values() for row in rows]
        return replace(base, rows=[*base.rows, *_unleaked(extra, golden)])
    if kind.startswith("flipped"):
        share = 0.8 if "80" in kind else 0.5

        def flipped(rows: Sequence[Row]) -> list[Row]:
            mine = [row for row in rows if row.intent == victim]
            turned = set(chance.sample(mine, round(share * len(mine))))
            return [Row(row.text, other) if row in turned else row for row in rows]

        return Taught(flipped(base.rows), flipped(base.dev))
    if kind == "left out":
        return replace(base, rows=[row for row in base.rows if row.intent != victim])
    if kind == "leaked":
        inside = [row for row in dealt.golden if row.intent != NONE]
        leaked = chance.sample(inside, round(LEAKED_SHARE * len(inside)))
        return replace(base, rows=[*base.rows, *leaked])
    return base


def _unleaked(rows: Sequence[Row], golden: Sequence[str]) -> list[Row]:
    near = curation.near_duplicates([row.text for row in rows], golden, JACCARD)
    leaked = {each.i for each in near}
    return [row for place, row in enumerate(rows) if place not in leaked]


def _train(folder: Path, taught: Taught, dealt: Partition, *, seed: int) -> Path:
    """One train job in a worker of its own, as the product's; returns the adapter's folder."""
    train = tuple(_sample(row, "train") for row in taught.rows)
    dev = tuple(_sample(row, "dev") for row in taught.dev)
    apart = curation.without_leaks(dev, [row.text for row in dealt.golden], JACCARD).kept
    learned = frozenset(each.id for each in apart) if TRAINING.refit else frozenset[str]()
    dataset, table = datasets.assemble(
        datasets.TrainingSet(train=train, dev=dev, learned=learned), TRAINING.balance
    )
    place = folder / f"{dataset.id}.parquet"
    pq.write_table(table, place)
    job = Path(tempfile.mkdtemp(dir=folder))
    spec = {
        "base": "bundled:all-minilm-l6-v2",
        "threads": 1,
        "max_length": 64,
        "seed": seed,
        "cache_dir": str(folder / "cache"),
        "recipe": TRAINING.recipe,
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


def _judged(dealt: Partition, answers: Answers, taught: Taught) -> tuple[Judgement, int]:
    """The gates' word after every label that they asked for and the pool had.

    A label near a text that the challenger learned is no evidence on it, as in the product.
    """
    golden = [row.text for row in dealt.golden]
    leaks = curation.leaks([row.text for row in taught.rows], golden, JACCARD)
    pool = {name: _unleaked(rows, taught.texts()) for name, rows in dealt.labels.items()}
    outcomes = outcomes_of(dealt.golden, answers)
    facts = HygieneFacts(
        leaks=leaks,
        sealed_hash="sealed",
        current_hash="sealed",
        trained_hash="trained",
        evaluated_hash="trained",
        chosen_on="dev",
        champion_rows=len(outcomes),
        challenger_rows=len(outcomes),
    )
    evidence = Evidence(
        outcomes=outcomes,
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
        evidence = replace(
            evidence,
            outcomes=evidence.outcomes + outcomes_of(bought, answers, bought=True),
            asked=dict(asked),
            ledger=replace(evidence.ledger, earlier_overall=judgement.gate("overall")),
        )


def outcomes_of(
    rows: Iterable[Row],
    answers: Answers,
    bought: bool = False,
) -> tuple[Outcome, ...]:
    """What the champion and the challenger answered to golden rows, as the gates judge it."""
    before, after = answers
    return tuple(
        Outcome(
            sample=f"golden {row.text}",
            split="golden",
            intent=row.intent,
            champion_intent=before[row.text],
            challenger_intent=after[row.text],
            champion_correct=before[row.text] == row.intent,
            challenger_correct=after[row.text] == row.intent,
            bought=bought,
        )
        for row in rows
    )


def _by_scope(rows: Sequence[Row], answers: Answers) -> tuple[Paired, Paired]:
    """In scope, and out of it."""
    before, after = answers
    right: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
    for row in rows:
        hit = before[row.text] == row.intent, after[row.text] == row.intent
        right[row.intent != NONE].append(hit)
    inside, none = (
        Paired(hits.count((True, False)), hits.count((False, True)), len(hits))
        for hits in right.values()
    )
    return inside, none


def _harm(dealt: Partition, answers: Answers) -> str:
    """What test rows show the challenger to have harmed; "" for nothing.

    Overall on rows in scope: of those out of scope test has another share than golden.
    """
    inside, none = _by_scope(dealt.test, answers)
    lost = intents_lost(dealt.test, *answers)
    if none.n and none.lost - none.gained >= LOST_RECALL * none.n:
        lost += [NONE] if inferiority_p(none.lost, none.gained) < HARMED_P else []
    told = [f"lost {', '.join(lost)}"] if lost else []
    if inferiority_p(inside.lost, inside.gained) < HARMED_P:
        told.append("worse in scope")
    return "; ".join(told)


def _sample(row: Row, split: Split) -> Sample:
    name = datasets.sample_id(row.text, row.intent, None, "seed", split)
    return Sample(id=name, text=row.text, intent=row.intent, origin="seed", split=split)


if __name__ == "__main__":
    sys.exit(main())
