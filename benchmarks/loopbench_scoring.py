"""What one run came to: records of its turns, and the judgements on them that need no daemon. Pure
but for `curated`, which reads the daemon's files after its end.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pvariance

import duckdb
import pyarrow.parquet as pq
from loopbench_streams import Said
from partition import Row
from scores import Score

from flywheel.curation import normalise
from flywheel.records import NONE

FAILING, HEALTHY = 0.40, 0.10
"""True error rates from which an intent is failing, and up to which it is healthy."""

ENOUGH_UTTERANCES = 10  # that concern an intent; with fewer its true error rate is not told
DEADLOCK_TURNS = 3
NOISE_RULE = "label_noise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """An intent at one moment: what health says, and how today's champion really does."""

    intent: str
    failing: bool
    error: float  # of the champion on the traffic that concerns the intent, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord:
    """One turn; turn 0 is the first champion's."""

    turn: int
    score: Score  # of the champion after it
    challenger: float | None = None  # its macro accuracy, whatever was decided
    decision: str = ""  # verdict of the daemon: promote, hold, reject; "": no challenger
    promoted: bool = False
    by_gates: bool = False  # promoted, and a person would not have been needed
    offered: bool = False  # an approval without an override was offered
    overall: str = ""  # verdict of that gate
    wanted: int = 0  # labels that it still waits for at its rest
    available: int = 0  # texts that the queue holds for them
    texts: int = 0  # read by then, in the whole run
    feedback: int = 0  # events delivered by then
    labelled: Score | None = None  # baseline (0)
    naive: Score | None = None  # baseline (1)
    flags: tuple[Flagged, ...] = ()  # before and after the turn
    lost: tuple[str, ...] = ()  # intents, against the champion that it replaced
    gates: str = ""
    seconds: float = 0.0

    @property
    def without_end(self) -> bool:
        """Held with a proven gain, for more labels than there are texts to be labelled."""
        held = self.decision == "hold" and not self.promoted and not self.offered
        return held and self.overall == "PASS" and self.wanted > self.available


@dataclass(slots=True, kw_only=True)
class StreamRun:
    """One stream from its first champion to its last."""

    rot: str
    seed: int
    turns: list[TurnRecord] = field(default_factory=list)
    recipe: Score | None = None  # baseline (2), at the end
    peers: Mapping[str, float] = field(default_factory=dict)  # per cent of in-scope test rows
    ahead: tuple[float, float] = (0.0, 0.0)  # points over baseline (1), and the standard error
    refused_right: int = 0  # labels that the noise rule refused in the last turn
    refused_wrong: int = 0
    learned_wrong: int = 0  # wrong labels of feedback in the last dataset
    harmed: tuple[str, ...] = ()  # intents lost, the last champion against the first
    left: Mapping[str, int] = field(default_factory=dict)
    minutes: float = 0.0

    @property
    def first(self) -> float:
        """Macro accuracy of the first champion."""
        return self.turns[0].score.macro

    @property
    def last(self) -> TurnRecord:
        """The last turn."""
        return self.turns[-1]

    @property
    def passed(self) -> bool:
        """Never more than a point below the first champion."""
        return min(turn.score.macro for turn in self.turns) >= self.first - 1

    @property
    def best_baseline(self) -> float:
        """Macro accuracy of the better one of (0) and (1), at the end."""
        known = [score.macro for score in (self.last.labelled, self.last.naive) if score]
        return max(known)

    @property
    def gain(self) -> float:
        """Points of macro accuracy over the better baseline, at the end."""
        return self.last.score.macro - self.best_baseline

    @property
    def deadlocks(self) -> int:
        """Times that three turns in a row ended in a hold without an end in sight."""
        count = streak = 0
        for turn in self.turns:
            streak = streak + 1 if turn.without_end else 0
            count += streak == DEADLOCK_TURNS
        return count

    @property
    def beats_naive(self) -> bool:
        """More than two standard errors ahead of baseline (1)."""
        return self.ahead[0] > 2 * self.ahead[1]

    @property
    def behind_naive(self) -> bool:
        """More than two standard errors behind baseline (1)."""
        return self.ahead[0] < -2 * self.ahead[1]


def flags(
    health: Sequence[Mapping[str, object]], uttered: Sequence[Row], answers: Mapping[str, str]
) -> tuple[Flagged, ...]:
    """Health's word on each in-scope intent beside the truth of the champion on the traffic.

    An utterance concerns the intent that it asks for and the one that it is answered with.

    Args:
        health: of `/v1/intents`.
        uttered: everything that production said so far, repeats too.
        answers: of today's champion.
    """
    concerned: dict[str, list[bool]] = defaultdict(list)
    for row in uttered:
        for name in {row.intent, answers[row.text]}:
            concerned[name].append(answers[row.text] != row.intent)
    return tuple(
        Flagged(intent=name, failing=bool(line["failing"]), error=fmean(concerned[name]))
        for line in health
        if (name := str(line["intent"])) != NONE and len(concerned[name]) >= ENOUGH_UTTERANCES
    )


def failing_counts(found: Sequence[Flagged]) -> tuple[int, int, int]:
    """(truly failing and flagged, healthy and flagged, truly failing); between is not counted."""
    hits = sum(each.failing and each.error >= FAILING for each in found)
    false = sum(each.failing and each.error <= HEALTHY for each in found)
    return hits, false, sum(each.error >= FAILING for each in found)


def paired(
    test: Sequence[Row], one: Mapping[str, str], other: Mapping[str, str]
) -> tuple[float, float]:
    """Points of macro accuracy that `one` is ahead, and the standard error of that difference.

    Stratified by intent: the variance of the paired difference within each in-scope intent.
    """
    by_intent: dict[str, list[float]] = defaultdict(list)
    for row in test:
        if row.intent != NONE:
            right = (one[row.text] == row.intent) - (other[row.text] == row.intent)
            by_intent[row.intent].append(float(right))
    ahead = fmean(fmean(values) for values in by_intent.values())
    variance = sum(pvariance(values) / len(values) for values in by_intent.values())
    return 100 * ahead, 100 * math.sqrt(variance) / len(by_intent)


def curated(
    state_dir: Path, turn: str, dataset: str | None, said: Sequence[Said]
) -> tuple[int, int, int]:
    """What curation made of wrong labels in a turn, from the daemon's own files after its end.

    Args:
        state_dir: of the daemon, which has ended.
        turn: whose refusals are read.
        dataset: of the turn.
        said: labels that raters gave, with their truth.

    Returns:
        (right, wrong) labels that the noise rule refused, and wrong ones that were learned.
    """
    wrong = {(normalise(each.text), each.label): each.label != each.truth for each in said}
    with duckdb.connect(str(state_dir / "flywheel.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT DISTINCT text, intent FROM refusals "
            "WHERE turn = ? AND reason = ? AND origin = 'feedback'",
            [turn, NOISE_RULE],
        ).fetchall()
    refused = [wrong[key] for text, intent in rows if (key := (normalise(text), intent)) in wrong]
    path = state_dir / "datasets" / f"{dataset}.parquet"
    learned = pq.read_table(path).to_pylist() if dataset and path.exists() else []
    kept = {
        (normalise(row["text"]), row["intent"]) for row in learned if row["origin"] == "feedback"
    }
    return refused.count(False), refused.count(True), sum(wrong.get(key, False) for key in kept)
