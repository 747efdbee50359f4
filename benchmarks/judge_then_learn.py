"""What do golden rows bring once they are learned, and do the gates still hold?

    python benchmarks/judge_then_learn.py [--quick] [--seeds N] [--data DIR] [--intents K]
                                          [--after N] [--cache DIR]

Logistic regression on frozen states goes round the loop, with the shipped gates, the shipped rules
on sharing and retiring (`gates.shared`, `gates.judged_enough`), and labels bought on demand while
traffic has texts. Four policies see the same draws: `seal` (all golden rows judge for ever),
`share` (a share is learned at import), `retire` (rows are learned once they have judged), `both`.

*Gain*: five turns of traffic; macro accuracy on test of the first champion and of the last, when
the gates alone promote and when a person approves what no gate failed and `overall` passed; labels
bought. *Harm*: champions on a third of what is known, and challengers on all of it with labels
broken: all a little, one intent half, one intent nearly all, none. A promotion is unsafe where test
rows, which took no part, show that the challenger is worse (p < .01) or lost an intent
(`scores.intents_lost`).

Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from partition import ALL, Partition, Row, deal_all, read
from scores import intents_lost, score

from flywheel.config import GatesTable, OverallRule
from flywheel.content import sample_id
from flywheel.gates import (
    Evidence,
    GoldenRow,
    HygieneFacts,
    Judgement,
    Ledger,
    judge,
    judged_enough,
    make_pools,
    shared,
)
from flywheel.metrics import inferiority_p
from flywheel.records import NONE, Intent, Outcome, Sample
from flywheel.turn.retire_rows import groups_of
from flywheel.worker.logistic import Linear, fit
from flywheel.worker.models import base as bases
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.recipes import LAYERS

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
POLICIES: Mapping[str, tuple[str, str]] = {
    "seal": ("", "off"),
    "share": ("auto", "off"),
    "retire": ("", "auto"),
    "both": ("auto", "auto"),
}
RATED, WRONG = 4, 0.03  # texts with feedback an intent and turn; wrong labels that curation leaves
TURNS, ROUNDS, HARMED_P = 5, 6, 0.01
BROKEN = ("none", "all a little", "one half", "one nearly all")
BASE = "bundled:all-minilm-l6-v2"


class Embedded:
    """Embeddings of the frozen base by text."""

    def __init__(self, cache: Path) -> None:
        torch.set_num_threads(1)
        base = bases.load(BASE)
        self._frozen = FrozenStates(base, base.depth - LAYERS, 64, cache)
        self._known: dict[str, torch.Tensor] = {}

    def read(self, texts: Iterable[str]) -> None:
        """Compute the embeddings of texts that are not known yet."""
        missing = sorted(set(texts) - set(self._known))
        if missing:
            self._known |= zip(missing, self._frozen.states(missing).embedding, strict=True)

    def of(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings float32 (n, width)."""
        self.read(texts)
        return torch.stack([self._known[text] for text in texts])


@dataclass(frozen=True, slots=True)
class Model:
    """A classifier of the intents."""

    head: Linear
    labels: tuple[str, ...]

    def answers(self, embedded: Embedded, texts: Sequence[str]) -> dict[str, str]:
        """The intent of each text."""
        best = self.head.logits(embedded.of(texts)).argmax(1).tolist()
        return {text: self.labels[place] for text, place in zip(texts, best, strict=True)}


def learned(embedded: Embedded, rows: Sequence[Row]) -> Model:
    """Logistic regression on the frozen states of labelled rows."""
    labels = tuple(sorted({row.intent for row in rows}))
    y = torch.tensor([labels.index(row.intent) for row in rows])
    return Model(fit(embedded.of([row.text for row in rows]), y, len(labels)), labels)


@dataclass
class Loop:
    """A loop under one policy: what is learned, what judges, and what was asked."""

    dealt: Partition
    embedded: Embedded
    table: GatesTable
    groups: Mapping[str, str]
    rows: dict[str, Row]  # golden rows that judge, by sample id
    taught: list[Row]
    traffic: dict[str, list[Row]]
    answered: Counter[str] = field(default_factory=Counter)
    bought: set[str] = field(default_factory=set)
    queries: int = 0
    labels: int = 0
    known: dict[int, dict[str, str]] = field(default_factory=dict)

    @property
    def intents(self) -> tuple[Intent, ...]:
        """The intents in force."""
        return tuple(Intent(name=name) for name in self.dealt.intents)

    def seen(self) -> list[GoldenRow]:
        """The rows that judge, as the rules see them."""
        return [
            GoldenRow(
                sample=name,
                intent=row.intent,
                group=self.groups.get(name, name),
                bought=name in self.bought,
                answered=self.answered[name],
            )
            for name, row in self.rows.items()
        ]

    def move(self, chosen: Iterable[str]) -> int:
        """Learn these rows from now on; returns how many."""
        moved = [self.rows.pop(name) for name in sorted(chosen)]
        self.taught += moved
        return len(moved)

    def judged(self, champion: Model, challenger: Model) -> tuple[Judgement, bool]:
        """Ask the gates once, with labels on demand; whether a person may approve it, too."""
        offered = {name: len(rows) for name, rows in self.traffic.items()}
        counts = Counter(row.intent for row in self.rows.values())
        pools = make_pools(counts, offered, self.intents, self.table.intents)
        asked: Counter[str] = Counter()
        earlier = None
        for _ in range(ROUNDS):
            outcomes = self._outcomes(champion, challenger)
            facts = HygieneFacts(
                sealed_hash="g",
                current_hash="g",
                trained_hash="a",
                evaluated_hash="a",
                chosen_on="dev",
                champion_rows=len(outcomes),
                challenger_rows=len(outcomes),
            )
            shown = Evidence(
                outcomes=outcomes,
                hygiene=facts,
                ledger=Ledger(
                    generation=1,
                    used=self.queries,
                    capacity=self.table.overall.queries,
                    earlier_overall=earlier,
                ),
                intents=self.intents,
                asked=asked,
                pools=pools,
                offered={name: len(rows) for name, rows in self.traffic.items()},
            )
            told = judge(shown, replace(self.table, changed_answers=_OFF))
            earlier = told.gate("overall")
            if not self._buy(told.labels_wanted, asked):
                break
        self.queries += 1
        self.answered.update(self.rows.keys())
        verdicts = {line.gate: line.verdict for line in told.gates}
        return told, verdicts["overall"] == "PASS" and "FAIL" not in verdicts.values()

    def _outcomes(self, champion: Model, challenger: Model) -> tuple[Outcome, ...]:
        texts = [row.text for row in self.rows.values()]
        before = champion.answers(self.embedded, texts)
        after = challenger.answers(self.embedded, texts)
        return tuple(
            Outcome(
                sample=name,
                split="golden",
                intent=row.intent,
                champion_intent=before[row.text],
                challenger_intent=after[row.text],
                champion_correct=before[row.text] == row.intent,
                challenger_correct=after[row.text] == row.intent,
                bought=name in self.bought,
            )
            for name, row in self.rows.items()
        )

    def _buy(self, wanted: Mapping[str, int], asked: Counter[str]) -> int:
        """Label texts of traffic by lot, as far as there are any; returns how many."""
        count = 0
        for intent, many in wanted.items():
            for _ in range(min(many, len(self.traffic.get(intent, ())))):
                row = self.traffic[intent].pop()
                name = _sample(row).id
                self.rows[name] = row
                self.bought.add(name)
                asked[intent] += 1
                count += 1
        self.labels += count
        return count


_OFF = replace(GatesTable().changed_answers, required=False)


def _sample(row: Row) -> Sample:
    name = sample_id(row.text, row.intent, None, "person", "golden")
    return Sample(id=name, text=row.text, intent=row.intent, origin="person", split="golden")


def loop_of(
    dealt: Partition, embedded: Embedded, policy: str, asked: argparse.Namespace, seed: int
) -> Loop:
    """A loop at its start, its share already dealt."""
    share, retire = POLICIES[policy]
    share = share and asked.share
    table = replace(
        GatesTable(overall=OverallRule(profile=asked.profile)),
        share="auto" if share == "auto" else float(share or 0),
        retire=retire,
        retire_after=asked.after,
    )
    golden = [_sample(row) for row in dealt.golden if row.intent != NONE]
    chance = random.Random(f"traffic {seed}")
    traffic = {name: list(rows) for name, rows in dealt.traffic.items() if name != NONE}
    for rows in traffic.values():
        chance.shuffle(rows)
    loop = Loop(
        dealt=dealt,
        embedded=embedded,
        table=table,
        groups=groups_of(golden, min(table.hygiene.jaccard, 0.80)),
        rows={one.id: Row(one.text, one.intent) for one in golden},
        taught=[row for row in (*dealt.seeds, *dealt.dev) if row.intent != NONE],
        traffic=traffic,
    )
    if loop.table.share:
        loop.move(shared(loop.seen(), loop.intents, loop.table, {}))
    return loop


def gain(
    dealt: Partition, embedded: Embedded, policy: str, asked: argparse.Namespace, seed: int
) -> dict[str, float]:
    """Five turns of traffic under a policy."""
    loop = loop_of(dealt, embedded, policy, asked, seed)
    champion = first = learned(embedded, loop.taught)
    chance = random.Random(f"turns {seed}")
    alone, approved, retired = 0, 0, 0
    for _ in range(TURNS):
        if loop.table.retire == "auto":
            retired += loop.move(judged_enough(loop.seen(), loop.intents, loop.table))
        loop.taught += _rated(loop, chance)
        challenger = learned(embedded, loop.taught)
        told, may = loop.judged(champion, challenger)
        alone += told.verdict == "PASS"
        approved += may
        if may:
            champion = challenger
    return {
        "first": _macro(loop, first),
        "last": _macro(loop, champion),
        "newest": _macro(loop, learned(embedded, loop.taught)),
        "alone": alone,
        "approved": approved,
        "labels": loop.labels,
        "judging": len(loop.rows),
        "retired": retired,
    }


def _rated(loop: Loop, chance: random.Random) -> list[Row]:
    """Texts of traffic with feedback, by 1/rank; a few labels are wrong."""
    names = sorted(loop.traffic)
    weights = [1 / (place + 1) for place in range(len(names))]
    random.Random("ranks").shuffle(names)
    found = []
    for name in chance.choices(names, weights, k=RATED * len(names)):
        if loop.traffic[name]:
            row = loop.traffic[name].pop()
            wrong = chance.random() < WRONG
            found.append(Row(row.text, chance.choice(names)) if wrong else row)
    return found


def _macro(loop: Loop, model: Model) -> float:
    test = [row for row in loop.dealt.test if row.intent != NONE]
    return score(test, model.answers(loop.embedded, [row.text for row in test])).macro


def harm(
    dealt: Partition, embedded: Embedded, policy: str, asked: argparse.Namespace, seed: int
) -> Counter[str]:
    """Pairs of a champion on a third of what is known and a challenger on all of it, broken.

    The golden set judges one after another: rows retire between them, and bought labels stay.
    """
    loop = loop_of(dealt, embedded, policy, asked, seed)
    chance = random.Random(f"harm {seed}")
    test = [row for row in dealt.test if row.intent != NONE]
    texts = [row.text for row in test]
    counts: Counter[str] = Counter()
    for turn in range(asked.turns):
        if loop.table.retire == "auto":
            counts["retired"] += loop.move(judged_enough(loop.seen(), loop.intents, loop.table))
        champion = learned(embedded, chance.sample(loop.taught, len(loop.taught) // 3))
        how = BROKEN[turn % len(BROKEN)]
        challenger = learned(embedded, _broken(loop.taught, how, chance))
        told, may = loop.judged(champion, challenger)
        before, after = champion.answers(embedded, texts), challenger.answers(embedded, texts)
        lost = sum(before[r.text] == r.intent != after[r.text] for r in test)
        won = sum(after[r.text] == r.intent != before[r.text] for r in test)
        harmed = inferiority_p(lost, won) < HARMED_P or bool(intents_lost(test, before, after))
        counts["pairs"] += 1
        counts["harmed"] += harmed
        counts["unsafe"] += harmed and told.verdict == "PASS"
        counts["unsafe_approved"] += harmed and may
        counts["promoted"] += told.verdict == "PASS"
        counts["approved"] += may
    counts["labels"] = loop.labels
    counts["judging"] = len(loop.rows)
    return counts


def _broken(rows: Sequence[Row], how: str, chance: random.Random) -> list[Row]:
    """The rows with some labels changed."""
    names = sorted({row.intent for row in rows})
    victim, other = chance.sample(names, 2)
    share = {"none": 0.0, "all a little": 0.05, "one half": 0.5, "one nearly all": 0.8}[how]
    return [
        Row(row.text, chance.choice(names) if how == "all a little" else other)
        if (how == "all a little" or row.intent == victim) and chance.random() < share
        else row
        for row in rows
    ]


def main() -> int:
    """Run both parts for each policy; 0 when they ran."""
    asked = _arguments()
    if not (asked.data / "train.jsonl").exists():
        print(f"{asked.data}: no train.jsonl; name a folder with --data", file=sys.stderr)
        return 2
    files = [read(asked.data, split) for split in ("train", "val", "test")]
    gains: dict[str, list[dict[str, float]]] = defaultdict(list)
    harms: dict[str, Counter[str]] = {policy: Counter() for policy in asked.policies}
    with tempfile.TemporaryDirectory(prefix="judge-then-learn-") as name:
        embedded = Embedded(asked.cache or Path(name))
        for seed in range(asked.seeds):
            quota = replace(ALL, golden=asked.golden)
            dealt = deal_all(*files, seed=seed, quota=quota, most_intents=asked.intents)
            always = (*dealt.seeds, *dealt.dev, *dealt.golden, *dealt.test)
            embedded.read(row.text for row in always)
            for policy in asked.policies:
                told = f"seed {seed} {policy:7}"
                if asked.only != "harm":
                    gains[policy].append(gain(dealt, embedded, policy, asked, seed))
                    told += " " + _line(gains[policy][-1])
                if asked.only != "gain":
                    one = harm(dealt, embedded, policy, asked, seed)
                    harms[policy] += one
                    told += f" {dict(one)}"
                print(told, flush=True)
    found = {
        policy: {key: round(statistics.fmean(one[key] for one in runs), 2) for key in runs[0]}
        for policy, runs in gains.items()
    }
    for policy in asked.policies:
        print(f"{policy:7}", _line(found.get(policy, {})), dict(harms[policy]))
    told = {"gain": found, "harm": {policy: dict(harms[policy]) for policy in asked.policies}}
    print(json.dumps({**told, "seeds": asked.seeds, "data": asked.data.name, "after": asked.after}))
    return 0


def _line(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{key} {value:.1f}" for key, value in figures.items())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="30 intents, one seed, 12 challengers")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--intents", type=int, help="keep only this many (all)")
    parser.add_argument("--turns", type=int, default=30, help="challengers of a harm stream (30)")
    parser.add_argument("--golden", type=int, default=ALL.golden, help="rows an intent (30)")
    parser.add_argument("--share", default="auto", help="auto, or a number")
    parser.add_argument("--after", type=int, default=GatesTable().retire_after)
    parser.add_argument("--profile", choices=("strict", "fast"), default="strict")
    parser.add_argument("--only", choices=("gain", "harm"), default="")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train and test")
    parser.add_argument("--cache", type=Path, help="folder that keeps the states of texts")
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.intents, asked.turns = 1, asked.intents or 30, 12
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
