"""One stream with a real daemon in a fresh folder, and the baselines beside it."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon_harness import RunningDaemon
from loopbench_answers import Answers, neighbours
from loopbench_baselines import logistic, peers, recipe
from loopbench_people import Labeller, Word, review
from loopbench_rots import BY_NAME, CLEAN, Rot, Spoiled, spoil, thinned
from loopbench_scoring import Flagged, StreamRun, TurnRecord, curated, flags, paired
from loopbench_streams import Stream, known_truth
from partition import ALL, Partition, Row, deal_all, read
from scores import Score, intents_lost, score
from stand_in_teacher import Faults, StandIn, serving
from traffic import Load

from flywheel.records import NONE

if TYPE_CHECKING:
    from loopbench import Case

CONFIG = """
[flywheel]
state_dir = "var"
[intents]
file = "intents.json"
[model]
threads = 1
[schedule]
cron = ""
[training]
recipe = "{recipe}"
"""
TEACHER = """
[teacher]
base_url = "{url}"
model = "stand-in"
"""
BAD_TEACHER = Faults(wrong_label=0.4, near_duplicate=0.1, off_topic=0.05, blind_error=0.4)
WITH_TEACHER = replace(ALL, teacher=15)


def run_stream(case: Case, say: Callable[[str], None]) -> StreamRun:
    """Run one case from its first champion to its last."""
    began, rot = time.monotonic(), BY_NAME[case.rot]
    answers = Answers(case.cache)
    dealt = _dealt(case, rot)
    known = [row for rows in dealt.traffic.values() for row in rows]
    pairs = [(row.text, row.intent) for row in (*known, *dealt.seeds, *dealt.golden)]
    like = neighbours(pairs, answers.embeddings([text for text, _ in pairs]))
    if rot.drift:
        dealt = _in_order(dealt, answers)
    spoiled = spoil(dealt, rot, like, case.seed)
    with tempfile.TemporaryDirectory(prefix=f"loopbench-{rot.name}-") as name:
        folder = Path(name)
        with _teacher(spoiled.partition, rot, case.seed) as url:
            config = CONFIG.format(recipe=case.recipe)
            config += TEACHER.format(url=url) if url else ""
            run = _Running(case, rot, spoiled, like, answers, say).all(folder, config)
    run.left = dealt.left
    run.minutes = (time.monotonic() - began) / 60
    return run


class _Running:
    """One daemon, its people, its stream and the baselines, turn after turn."""

    def __init__(
        self,
        case: Case,
        rot: Rot,
        spoiled: Spoiled,
        like: Mapping[str, str],
        answers: Answers,
        say: Callable[[str], None],
    ) -> None:
        self.case, self.rot, self.dealt, self.late = case, rot, spoiled.partition, spoiled.late
        self.answers, self.say = answers, say
        self.texts = [row.text for row in self.dealt.test]
        load = Load(utterances=case.utterances, rated=case.rated)
        self.stream = Stream(spoiled, rot, load, like, case.seed)
        names = set(self.dealt.intents) - set(self.late)
        truth = known_truth(spoiled)
        self.person = Labeller(truth=truth, a_turn=case.texts, known={*names, NONE})
        self.run = StreamRun(rot=rot.name, seed=case.seed)
        self.uttered: list[Row] = []
        self.delivered = 0

    def all(self, folder: Path, config: str) -> StreamRun:
        """The whole stream."""
        self.answers.lend_cache(folder / "var")
        names = sorted(set(self.dealt.intents) - set(self.late))
        with RunningDaemon(folder, config, names) as daemon:
            for split, rows in (
                ("seed", self.dealt.seeds),
                ("dev", self.dealt.dev),
                ("golden", self.dealt.golden),
            ):
                _import(daemon, rows, split)
            self._first(daemon)
            view: dict[str, Any] = {}
            for number in range(1, self.case.turns + 1):
                view = self._turn(daemon, number)
                if number == 1 and self.late:
                    self._configure_late(daemon)
            state_dir = daemon.state_dir
            first, last = self.first, daemon.champion()
        self._end(state_dir, folder, first, last, view)
        return self.run

    def _first(self, daemon: RunningDaemon) -> None:
        began = time.monotonic()
        self.last_turn = daemon.start_turn()
        word = self._reviewed(daemon, self.last_turn)
        self.first = daemon.champion()
        at = score(self.dealt.test, self.answers.intents(self.first, self.texts))
        self._keep(TurnRecord(turn=0, score=at, decision="first", promoted=word.promoted,
                              seconds=time.monotonic() - began))  # fmt: skip

    def _turn(self, daemon: RunningDaemon, number: int) -> dict[str, Any]:
        began, champion = time.monotonic(), daemon.champion()
        utterances = self.stream.utterances(number, self.case.turns)
        self.uttered += utterances
        said = self.answers.of(champion, [row.text for row in utterances])
        predictions = self.stream.predictions(number, utterances, said, champion.name)
        daemon.post_lines("predictions", predictions)
        feedback = self.stream.feedback(
            number, utterances, said, lambda rows: self.answers.best_wrong(champion, rows)
        )
        if feedback:
            daemon.post_lines("feedback", feedback)
        self.delivered += len(feedback)
        flagged = self._flags(daemon, champion)
        self.person.new_turn()
        self.person.before_turn(daemon)
        earlier = self._reviewed(daemon, self.last_turn)
        self.last_turn = daemon.start_turn()
        self.person.until_decided(daemon, self.last_turn)
        word = self._reviewed(daemon, self.last_turn).after(earlier)
        self.person.after_turn(daemon)
        word = self._reviewed(daemon, self.last_turn).after(word)
        view = daemon.wait_for(self.last_turn)
        after = daemon.champion()
        flagged += self._flags(daemon, after)
        record = self._judged(daemon, view, word, champion, after, number)
        labelled, naive = self._baselines()
        self._keep(
            replace(
                record,
                labelled=score(self.dealt.test, labelled),
                naive=score(self.dealt.test, naive),
                flags=flagged,
                texts=self.person.read,
                seconds=time.monotonic() - began,
            )
        )
        return view

    def _reviewed(self, daemon: RunningDaemon, turn: str) -> Word:
        """The reviewer's word on a turn at its rest: labels may have had it judged again."""
        return review(daemon, daemon.wait_for(turn), self.person.truth)

    def _judged(
        self,
        daemon: RunningDaemon,
        view: Mapping[str, Any],
        word: Word,
        before: Path,
        after: Path,
        number: int,
    ) -> TurnRecord:
        """The turn's decision beside the truth."""
        test, now = self.dealt.test, self.answers.intents(after, self.texts)
        record = TurnRecord(
            turn=number,
            score=score(test, now),
            feedback=self.delivered,
            lost=tuple(intents_lost(test, self.answers.intents(before, self.texts), now)),
        )
        if not view["decision"]:
            return record
        decision = daemon.get("decisions", view["decision"])
        challenger = after.parent / decision["challenger"]
        verdicts = {gate["gate"]: gate["verdict"] for gate in decision["gates"]}
        wanted = sum(decision["labels_wanted"].values())
        waiting = daemon.get("labels", limit="1")["waiting"] if wanted else {}
        return replace(
            record,
            challenger=score(test, self.answers.intents(challenger, self.texts)).macro,
            decision=decision["verdict"],
            promoted=word.promoted,
            by_gates=word.by_gates,
            offered=word.offered,
            overall=verdicts.get("overall", ""),
            wanted=wanted,
            available=int(waiting.get("gate", 0)),
            gates=", ".join(f"{gate} {verdict}" for gate, verdict in verdicts.items()),
        )

    def _flags(self, daemon: RunningDaemon, champion: Path) -> tuple[Flagged, ...]:
        answers = self.answers.intents(champion, [row.text for row in self.uttered])
        return flags(daemon.get("intents"), self.uttered, answers)

    def _labelled_rows(self) -> list[Row]:
        dealt = self.dealt
        return [*dealt.seeds, *dealt.dev, *dealt.golden, *self.person.given]

    def _baselines(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Answers of (0) and (1) to the test texts, on what is known now."""
        rows = self._labelled_rows()
        raw = [Row(said.text, said.label) for said in self.stream.said]
        labelled = logistic(self.answers, rows, self.texts)
        self.naive = logistic(self.answers, rows + raw, self.texts)
        return labelled, self.naive

    def _configure_late(self, daemon: RunningDaemon) -> None:
        """Somebody adds the intents that the corrections name."""
        tools = [
            {"type": "function", "function": {"name": name, "description": name.replace("_", " ")}}
            for name in self.dealt.intents
        ]
        (daemon.folder / "intents.json").write_text(json.dumps(tools), encoding="utf-8")
        daemon.post("reload")
        self.person.known |= set(self.late)

    def _end(
        self, state_dir: Path, folder: Path, first: Path, last: Path, view: Mapping[str, Any]
    ) -> None:
        """What can be told after the last turn, the daemon ended."""
        test, run = self.dealt.test, self.run
        now = self.answers.intents(last, self.texts)
        run.ahead = paired(test, now, self.naive)
        run.harmed = tuple(intents_lost(test, self.answers.intents(first, self.texts), now))
        run.refused_right, run.refused_wrong, run.learned_wrong = curated(
            state_dir, view["id"], view.get("dataset"), self.stream.said
        )
        raw = [Row(said.text, said.label) for said in self.stream.said]
        train = [*self.dealt.seeds, *self.dealt.golden, *self.person.given, *raw]
        answered = recipe(
            self.answers, folder / "recipe", train, self.dealt.dev, self.texts, self.case.recipe
        )
        run.recipe = score(test, answered)
        if self.case.peers is not None and self.rot is CLEAN:
            rows = [*self.dealt.seeds, *self.dealt.dev, *self.dealt.golden]
            run.peers = peers(folder, rows, test, self.case.seed, self.case.peers)

    def _keep(self, record: TurnRecord) -> None:
        self.run.turns.append(record)
        challenger = "" if record.challenger is None else f" of {record.challenger:.2f}"
        beside = [_macro(each) for each in (record.labelled, record.naive)]
        self.say(
            f"{self.rot.name} {self.case.seed} turn {record.turn}: macro {record.score.macro:.2f}, "
            f"baselines {' and '.join(beside)}, {record.decision or 'no challenger'}{challenger}"
            f"{', promoted' if record.promoted else ''}, {record.texts} texts, wants "
            f"{record.wanted} of {record.available}, {record.seconds:.0f} s; {record.gates}"
        )


def _macro(at: Score | None) -> str:
    return "–" if at is None else f"{at.macro:.2f}"


def _dealt(case: Case, rot: Rot) -> Partition:
    rows = [read(case.data, split) for split in ("train", "val", "test")]
    quota = WITH_TEACHER if rot.teacher else ALL
    dealt = deal_all(*rows, seed=case.seed, quota=quota, most_intents=case.intents)
    if not rot.zipf:
        return dealt
    kept = {*dealt.intents, NONE}
    train = [row for part in rows[:2] for row in part if row.intent in kept]
    random.Random(f"zipf rows {case.seed}").shuffle(train)
    few = thinned(dealt.intents, train, case.seed)
    return deal_all(few, (), rows[2], seed=case.seed, quota=quota)


def _in_order(dealt: Partition, answers: Answers) -> Partition:
    """Each intent's traffic along the line on which its texts differ most: its topics in turn."""
    traffic = {}
    for name, rows in dealt.traffic.items():
        if len(rows) > 2:
            x = answers.embeddings([row.text for row in rows])  # (n, width)
            x = x - x.mean(0)
            along = x @ x.svd().V[:, 0]  # (n,)
            rows = tuple(rows[number] for number in along.argsort().tolist())
        traffic[name] = tuple(rows)
    return replace(dealt, traffic=traffic)


@contextmanager
def _teacher(dealt: Partition, rot: Rot, seed: int) -> Iterator[str]:
    if not rot.teacher:
        yield ""
        return
    pool = {name: [row.text for row in rows] for name, rows in dealt.teacher.items()}
    golden = [row.text for row in dealt.golden]
    with serving(StandIn(pool=pool, golden=golden, faults=BAD_TEACHER, seed=seed)) as url:
        yield url


def _import(daemon: RunningDaemon, rows: Sequence[Row], split: str) -> None:
    if rows:
        samples = ({"text": row.text, "intent": row.intent, "split": split} for row in rows)
        daemon.post_lines("samples", samples)
