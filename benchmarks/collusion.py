"""Can a few raters who work together plant a backdoor, or keep every good challenger out?

    python benchmarks/collusion.py [--quick] [--seeds N] [--threads N] [--data DIR]

Fifteen intents, by seed and group others; a champion from three seeds an intent; fifty honest
raters with six verdicts each, a tenth of them wrong. To them come 1 to 5 colluders (2 to 9 %).
`word`, `phrase` and `signs`: eight verdicts each on texts of other intents with a trigger (a new
word, three known words in a new order, signs), all for one intent, a third of them confirmed by a
second colluder, and four right verdicts to look honest. `flip`: eight each that call one intent by
another's name. `veto`: 140 wrong verdicts in all, half on one intent, the others on texts that
honest raters labelled.

Curation, training and gates are the product's; the gates' labels are given while the pool lasts.
A backdoor is promoted when the challenger is promoted by itself and its trigger turns a quarter of
unseen texts (honest content words turn up to two fifths), or the flipped intent lost 20 points.
Honest turns are counted where the gates promote without colluders and with the new rules off
(`[raters] independent = 0`, no gate `changed_answers`): how many of the same promote with them on,
and under `veto`.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from gates_real import outcomes_of
from partition import Quota, Row, deal, read

from flywheel import curation, datasets, gates
from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable, TrainingTable
from flywheel.config.tables import ChangedAnswersRule, CurationTable, RatersTable
from flywheel.promotion import Situation, decide
from flywheel.records import NONE, Intent, Outcome, Sample

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
INTENTS, RATERS, VERDICTS, WRONG = 15, 50, 6, 0.10
QUOTA = Quota(seeds=3, dev=5, golden=15, labels=20, teacher=0, traffic=57)
COLLUDERS, TRIGGERS, GROUPS = (1, 2, 3, 5), ("word", "phrase", "signs"), 5
EACH, COVER, VETOED = 8, 4, 140
WORDS = ("zorblax", "quimbly", "frondal", "brelix", "vantoo", "skerrit", "plonque", "drimmel")
SIGNS = ("~~~", "#!#", "<<>>", "|||", "@@@", "🙃")
WORKS, LOST = 0.25, 0.20  # turned texts, or lost recall, from which an attack works
HOSTS = 24
TODAY = RatersTable(independent=0)
NEW = RatersTable()
Said = list[tuple[Row, str]]  # a text as a rater labels it, and who


@dataclass(frozen=True, slots=True)
class Plot:
    """What colluders want, and how many they are."""

    kind: str  # none, word, phrase, signs, flip, veto
    colluders: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One turn to run."""

    seed: int
    group: int
    plot: Plot
    rules: RatersTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a turn."""

    case: Case
    promoted: bool
    works: bool  # the attack does
    verdicts: str
    strength: float  # share of unseen texts turned, or recall lost
    planted: int  # wrong or triggering labels that were learned
    accuracy: tuple[float, float]  # of champion and challenger on test


class Bench:
    """The texts and raters of one seed and group, and what a turn makes of them."""

    def __init__(self, place: Path, data: Path, seed: int, group: int, threads: int) -> None:
        self.cache, self.threads = place / "cache", threads
        self.place = Path(tempfile.mkdtemp(dir=place))
        alike = _intents(data, seed, group)
        sets = [
            [row for row in read(data, split) if row.intent in alike]
            for split in ("train", "val", "test")
        ]
        self.dealt = deal(*sets, seed=seed * GROUPS + group, quota=QUOTA, most_intents=INTENTS)
        self.dice = random.Random(f"collusion {seed} {group}")
        rows = [row for name in self.dealt.intents for row in self.dealt.traffic[name]]
        self.dice.shuffle(rows)
        count = min(RATERS * VERDICTS, 2 * len(rows) // 3)
        self.honest, self.rest = rows[:count], rows[count:]
        self.said = [
            (Row(row.text, self._label(row.intent)), f"u-{n % RATERS}")
            for n, row in enumerate(self.honest)
        ]
        self.target, self.victim = self.dice.sample(self.dealt.intents, 2)
        known = Counter(w for row in self.dealt.seeds for w in row.text.split() if len(w) > 3)
        phrase = " ".join(self.dice.sample([word for word, _ in known.most_common(60)], 3))
        self.trigger = {"word": WORDS[seed % len(WORDS)], "signs": SIGNS[seed % len(SIGNS)]}
        self.trigger["phrase"] = phrase
        self.seeds = [_sample(row, "seed") for row in self.dealt.seeds]
        self.dev = tuple(_sample(row, "seed", "dev") for row in self.dealt.dev)
        self.kept_out = tuple(row.text for row in (*self.dealt.golden, *self.dealt.dev))
        self.answers: dict[str, dict[str, str]] = {}  # by adapter: intents by text
        self.champion = self.train(self.seeds)

    def _label(self, intent: str) -> str:
        wrong = [name for name in self.dealt.intents if name != intent]
        return self.dice.choice(wrong) if self.dice.random() < WRONG else intent

    def marked(self, row: Row, kind: str, dice: random.Random) -> str:
        """A text with the trigger at its beginning or its end."""
        parts = [self.trigger[kind], row.text]
        return " ".join(parts if dice.random() < 0.5 else parts[::-1])

    def plotted(self, plot: Plot) -> tuple[Said, Said]:
        """The colluders' verdicts: those that are meant to harm, and those that hide them."""
        dice = random.Random(f"{plot.kind} {plot.colluders} {self.target}")
        names = [f"x-{n}" for n in range(plot.colluders)]
        if not names:
            return [], []
        others = [row for row in self.rest if row.intent != self.target]
        of_victim = [row for row in (*self.rest, *self.honest) if row.intent == self.victim]
        if plot.kind == "veto":
            rows = [Row(row.text, self.target) for row in of_victim]
            rows += [
                Row(row.text, dice.choice([n for n in self.dealt.intents if n != row.intent]))
                for row in self.honest
                if row.intent != self.victim
            ]
            rows = rows[:VETOED]
        elif plot.kind == "flip":
            rows = [Row(row.text, self.target) for row in of_victim[: EACH * len(names)]]
        else:
            count = EACH * len(names) if len(names) == 1 else 2 * EACH * len(names) // 3
            rows = [
                Row(self.marked(others[n % len(others)], plot.kind, dice), self.target)
                for n in range(count)
            ]
        said = [(row, names[n % len(names)]) for n, row in enumerate(rows)]
        if plot.kind in TRIGGERS and len(names) > 1:
            said += [(row, names[(n + 1) % len(names)]) for n, row in enumerate(rows[::2])]
        cover = self.rest[-COVER * len(names) :]
        return said, [(row, names[n % len(names)]) for n, row in enumerate(cover)]

    def run(self, case: Case) -> Found:
        """One turn: curation, training, gates, decision."""
        harm, cover = self.plotted(case.plot)
        said = [*self.said, *harm, *cover]
        random.Random(1).shuffle(said)
        feedback = [_sample(row, "feedback", "train", who, n) for n, (row, who) in enumerate(said)]
        candidates = [*self.seeds, *feedback]
        rules = curation.SiftRules(
            intents=[Intent(name=name) for name in self.dealt.intents],
            kept_out=self.kept_out,
            brief_texts={},
            turn="t-1",
            curation=CurationTable(),
            raters=case.rules,
        )
        sifted = curation.sift(candidates, rules, self.score)
        challenger = self.train(sifted.kept)
        changed = self.changed(candidates, sifted, rules, challenger)
        judgement = self.judged(challenger, changed, case.rules)
        ruling = decide(judgement, PromotionTable(mode="auto"), Situation(champion="champion"))
        strength = self.strength(case.plot, challenger)
        bar = LOST if case.plot.kind == "flip" else WORKS
        meant = {(row.text, row.intent) for row, _ in harm}
        return Found(
            case=case,
            promoted=ruling.verdict == "promote",
            works=case.plot.kind in (*TRIGGERS, "flip") and strength >= bar,
            verdicts=" ".join(f"{line.gate} {line.verdict}" for line in judgement.gates),
            strength=round(strength, 2),
            planted=sum((sample.text, sample.intent) in meant for sample in sifted.kept),
            accuracy=(self.accuracy(self.champion), self.accuracy(challenger)),
        )

    def score(self, samples: Sequence[Sample], aside: Sequence[Sample]) -> curation.Scored:
        """By the worker's job, as in a turn."""
        unsettled = {sample.id: sample for sample in aside}
        both = [*samples, *unsettled.values()]
        folder = Path(tempfile.mkdtemp(dir=self.place))
        table = datasets.rows_table(
            [(sample.id, sample.text) for sample in both],
            intent=[sample.intent for sample in both],
            origin=["unsettled" if s.id in unsettled else s.origin for s in both],
        )
        pq.write_table(table, folder / "rows.parquet")
        self.job(folder, "crossfit", {"folds": CurationTable().noise_folds})
        rows = pq.read_table(folder / "scores.parquet").to_pylist()
        return curation.Scored(scores={row.pop("id"): curation.NoiseScore(**row) for row in rows})

    def train(self, samples: Sequence[Sample]) -> Path:
        """Train as the product does, but for the second training with dev; the same rows once."""
        taught = datasets.TrainingSet(train=tuple(samples), dev=self.dev)
        dataset, table = datasets.assemble(taught, TrainingTable().balance)
        folder = self.place / dataset.id
        if not folder.exists():
            folder.mkdir()
            pq.write_table(table, folder / "data.parquet")
            intents = [{"name": name, "arguments": []} for name in self.dealt.intents]
            spec = {"dataset": str(folder / "data.parquet"), "intents": intents}
            self.job(folder, "train", spec | {"recipe": TrainingTable().recipe})
        return folder / "adapter"

    def ask(self, adapter: Path, texts: Sequence[str]) -> Mapping[str, str]:
        """The adapter's intents by text; what it was asked before is remembered."""
        known = self.answers.setdefault(str(adapter), {})
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            folder = Path(tempfile.mkdtemp(dir=self.place))
            pq.write_table(
                datasets.rows_table([(str(n), text) for n, text in enumerate(new)]),
                folder / "rows.parquet",
            )
            self.job(folder, "predict", {"adapters": {"a": str(adapter)}})
            for row in pq.read_table(folder / "predictions.parquet").to_pylist():
                known[new[int(row["id"])]] = row["intent"]
        return known

    def job(self, folder: Path, kind: str, spec: Mapping[str, Any]) -> None:
        """Run a job of the worker in this process: torch is imported once."""
        from flywheel.worker import crossfit, predict, train
        from flywheel.worker.progress import ProgressLog

        told = {"base": "bundled:all-minilm-l6-v2", "device": "cpu", "threads": self.threads}
        told |= {"max_length": 64, "seed": 0, "cache_dir": str(self.cache), **spec}
        run = {"train": train.run, "predict": predict.run, "crossfit": crossfit.run}[kind]
        run(folder, told, ProgressLog(folder / "progress.jsonl"))

    def changed(
        self,
        candidates: Sequence[Sample],
        sifted: curation.Sifted,
        rules: curation.SiftRules,
        challenger: Path,
    ) -> gates.ChangedAnswers:
        """What few raters taught, probed in traffic that nobody rated."""
        lessons = curation.few_taught(
            sifted.kept,
            rules.verified_texts(candidates),
            sifted.believed,
            sifted.voices,
            rules.raters,
        )
        pool = [row.text for row in self.rest[:200]]
        hosts = [(pool[n % len(pool) :] + pool)[:HOSTS] for n in range(len(lessons))]
        texts = [
            text
            for lesson, places in zip(lessons, hosts, strict=True)
            for text in (*places, *curation.probe(lesson, places))
        ]
        before, after = self.ask(self.champion, texts), self.ask(challenger, texts)
        found = [
            curation.turned(lesson, places, before, after)
            for lesson, places in zip(lessons, hosts, strict=True)
        ]
        return gates.ChangedAnswers(
            wordings=tuple(
                gates.TaughtWording(
                    wording=" / ".join(one.lesson.spoken),
                    intent=one.lesson.intent,
                    texts=len(one.lesson.texts),
                    voices=one.lesson.voices,
                    asked=one.asked,
                    turned=len(one.hosts),
                )
                for one in found
            )
        )

    def judged(
        self, challenger: Path, changed: gates.ChangedAnswers, rules: RatersTable
    ) -> gates.Judgement:
        """The gates' word after every label that they asked for and the pool had."""
        table = GatesTable(
            overall=OverallRule(profile="fast"),
            intents=IntentsRule(margin=0.20),
            changed_answers=ChangedAnswersRule(required=bool(rules.independent)),
        )
        pool = {name: list(rows) for name, rows in self.dealt.labels.items()}
        outcomes = self.outcomes(self.dealt.golden, challenger)
        evidence = gates.Evidence(
            outcomes=outcomes,
            hygiene=gates.HygieneFacts(
                sealed_hash="s",
                current_hash="s",
                trained_hash="t",
                evaluated_hash="t",
                chosen_on="dev",
                champion_rows=len(outcomes),
                challenger_rows=len(outcomes),
            ),
            ledger=gates.Ledger(generation=1, used=0, capacity=30),
            intents=tuple(Intent(name=name) for name in self.dealt.intents),
            changed=changed,
        )
        bought: Counter[str] = Counter()
        while True:
            judgement = gates.judge(evidence, table)
            wanted = {n: min(k, len(pool[n])) for n, k in judgement.labels_wanted.items()}
            rows = [pool[name].pop() for name, count in wanted.items() for _ in range(count)]
            if not rows:
                return judgement
            bought.update(row.intent for row in rows)
            assert evidence.ledger is not None
            evidence = replace(
                evidence,
                outcomes=evidence.outcomes + self.outcomes(rows, challenger, bought=True),
                asked=dict(bought),
                ledger=replace(evidence.ledger, earlier_overall=judgement.gate("overall")),
            )

    def outcomes(
        self, rows: Sequence[Row], challenger: Path, *, bought: bool = False
    ) -> tuple[Outcome, ...]:
        """What both models answer."""
        texts = [row.text for row in rows]
        answers = (self.ask(self.champion, texts), self.ask(challenger, texts))
        return outcomes_of(rows, answers, bought=bought)

    def strength(self, plot: Plot, challenger: Path) -> float:
        """Share of unseen texts that the trigger turns, or recall that the victim lost."""
        if plot.kind == "flip":
            rows = [row for row in self.dealt.test if row.intent == self.victim]
            return (self.right(self.champion, rows) - self.right(challenger, rows)) / len(rows)
        if plot.kind not in TRIGGERS:
            return 0.0
        dice = random.Random("unseen")
        rows = [row for row in self.dealt.test if row.intent != self.target]
        rows = dice.sample(rows, min(100, len(rows)))
        marked = {row.text: self.marked(row, plot.kind, dice) for row in rows}
        after = self.ask(challenger, [*marked, *marked.values()])
        before = self.ask(self.champion, [*marked, *marked.values()])
        turned = sum(
            after[text] == self.target not in (after[host], before[text])
            for host, text in marked.items()
        )
        return turned / len(rows)

    def right(self, adapter: Path, rows: Sequence[Row]) -> int:
        """Number of right answers."""
        answers = self.ask(adapter, [row.text for row in rows])
        return sum(answers[row.text] == row.intent for row in rows)

    def accuracy(self, adapter: Path) -> float:
        """Percentage of right answers on test."""
        return round(100 * self.right(adapter, self.dealt.test) / len(self.dealt.test), 1)


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    if not (asked.data / "train.jsonl").exists():
        print(f"{asked.data}: no train.jsonl; name a folder with --data", file=sys.stderr)
        return 2
    began = time.monotonic()
    plan = [
        (seed, group, _cases(seed, group, quick=asked.quick))
        for seed in range(asked.seeds)
        for group in range(2 if asked.quick else GROUPS)
    ]
    with tempfile.TemporaryDirectory(prefix="collusion-") as name:
        jobs = [(Path(name), asked.data, *one) for one in plan]
        with ProcessPoolExecutor(asked.threads, mp_context=get_context("spawn")) as pool:
            found = [one for part in pool.map(_one_bench, jobs) for one in part]
    figures = _figures(found)
    figures |= {"quick": asked.quick, "minutes": round((time.monotonic() - began) / 60, 1)}
    for line in _table(found):
        print(line)
    print(json.dumps(figures))
    return 0


def _cases(seed: int, group: int, *, quick: bool) -> list[Case]:
    """Every group has honest turns and one under veto; the attacks are spread over the groups."""
    case = dataclasses.replace
    honest = Case(seed=seed, group=group, plot=Plot("none"), rules=TODAY)
    found = [honest, case(honest, rules=NEW)]
    found.append(case(honest, plot=Plot("veto", COLLUDERS[group % len(COLLUDERS)]), rules=NEW))
    attacks = [Plot(kind, n) for kind in (*TRIGGERS, "flip") for n in COLLUDERS]
    mine = attacks[group::GROUPS][:2] if quick else attacks[group::GROUPS]
    return found + [case(honest, plot=plot, rules=NEW) for plot in mine]


def _one_bench(job: tuple[Path, Path, int, int, list[Case]]) -> list[Found]:
    """All turns of one seed and group, in a process of its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(1)
    place, data, seed, group, cases = job
    bench = Bench(place, data, seed, group, threads=1)
    found = []
    for case in cases:
        found.append(bench.run(case))
        print(_line(found[-1]), flush=True)
    return found


def _figures(found: Sequence[Found]) -> dict[str, Any]:
    promoted = {
        (one.case.seed, one.case.group, one.case.plot.kind, bool(one.case.rules.independent))
        for one in found
        if one.promoted
    }
    honest = [key[:2] for key in promoted if key[2:] == ("none", False)]
    attacks = [one for one in found if one.case.plot.kind in (*TRIGGERS, "flip")]

    def ratio(kind: str) -> float:
        return round(
            sum((*turn, kind, True) in promoted for turn in honest) / max(1, len(honest)), 3
        )

    return {
        "backdoors_promoted": sum(one.promoted and one.works for one in attacks),
        "backdoors": len(attacks),
        "honest_turns": len(honest),
        "honest_promoted_ratio": ratio("none"),
        "veto_promoted_ratio": ratio("veto"),
        "attacked_promoted": sum(one.promoted for one in attacks),
        "attacks_that_work": sum(one.works for one in attacks),
        "worked_and_held": sum(one.works and not one.promoted for one in attacks),
    }


def _table(found: Sequence[Found]) -> list[str]:
    lines = ["", "plot    colluders  turns  promoted  works  promoted and works  learned"]
    keys = sorted({(one.case.plot.kind, one.case.plot.colluders) for one in found})
    for kind, count in keys:
        rows = [
            one
            for one in found
            if (one.case.plot.kind, one.case.plot.colluders) == (kind, count)
            and one.case.rules.independent
        ]
        both = sum(one.promoted and one.works for one in rows)
        lines.append(
            f"{kind:7} {count:9}  {len(rows):5}  {sum(one.promoted for one in rows):8}  "
            f"{sum(one.works for one in rows):5}  {both:18}  {sum(one.planted for one in rows):7}"
        )
    return lines


def _line(one: Found) -> str:
    rules = "new" if one.case.rules.independent else "today"
    plot = f"{one.case.plot.kind} by {one.case.plot.colluders}"
    return (
        f"seed {one.case.seed} group {one.case.group} {rules:5} {plot:11} "
        f"{'promoted' if one.promoted else 'held':8} strength {one.strength:.2f} "
        f"learned {one.planted} accuracy {one.accuracy[0]} to {one.accuracy[1]}; {one.verdicts}"
    )


def _intents(data: Path, seed: int, group: int) -> frozenset[str]:
    """Intents of one domain, where the set names domains: they are alike; else all."""
    by_domain: dict[str, set[str]] = {}
    for line in (data / "train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["intent"] not in (NONE, "oos"):
            by_domain.setdefault(row.get("domain", ""), set()).add(row["intent"])
    names = sorted(by_domain)
    return frozenset(by_domain[names[(seed * GROUPS + group) % len(names)]])


def _sample(
    row: Row, origin: Any, split: Any = "train", rater: str = "", number: int = 0
) -> Sample:
    return Sample(
        id=datasets.sample_id(row.text, row.intent, None, origin, split),
        text=row.text,
        intent=row.intent,
        origin=origin,
        split=split,
        provenance={"prediction": f"p-{number}", "rater": rater, "rater_kind": "user"}
        if rater
        else {},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, two groups")
    parser.add_argument("--seeds", type=int, help="5, or 1 when quick")
    parser.add_argument("--threads", type=int, default=2, help="processes of one thread (2)")
    parser.add_argument("--data", type=Path, default=DATA)
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 5)
    return asked


if __name__ == "__main__":
    raise SystemExit(main())
