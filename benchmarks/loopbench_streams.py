"""Production in one run: what is said, and what raters say of the answers. The same seed, the same.

Everything that a rater labelled is kept with its truth, for the baselines, which read it as the
daemon gets it, and for the score of the noise rule, which the daemon never sees.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loopbench_rots import Rot, Spoiled
from partition import Row
from traffic import Load, Traffic

from flywheel.records import NONE

RATERS = 97
_ANNOYED, _ANNOYED_WRONGLY = 0.5, 0.03  # who complains of a wrong answer, and of a right one
_PLEASED, _PLEASED_WRONGLY = 0.4, 0.03  # who praises a right answer, and a wrong one
_TWICE = 0.2  # of delayed feedback
_OWN_STEEP = 1.7  # of the steep rot's traffic

BestWrong = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""For (text, right intent) the model's likeliest wrong one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What production said to a text."""

    intent: str
    confidence: float  # 0..1


@dataclass(frozen=True, slots=True)
class Said:
    """One rater's label of a text as it reached the daemon."""

    text: str
    label: str
    truth: str


@dataclass(frozen=True, slots=True)
class _Rated:
    """An utterance that somebody speaks of."""

    position: int
    label: str  # that the rater believes; "" where they only know that it was wrong
    rater: str


class Stream:
    """Utterances and feedback, turn after turn."""

    def __init__(
        self, spoiled: Spoiled, rot: Rot, load: Load, like: Mapping[str, str], seed: int
    ) -> None:
        self._dealt, self._rot, self._load, self._like = spoiled.partition, rot, load, like
        self._traffic = Traffic(spoiled.partition, load, seed)
        self._chance = random.Random(f"stream {rot.name} {seed}")
        self._colluding = self._pair() if rot.colluders else ("", "")
        self._held: list[tuple[dict[str, Any], Said | None]] = []
        self._mark = f"{rot.name}-{seed}"
        self.said: list[Said] = []  # delivered labels

    def utterances(self, turn: int, turns: int) -> list[Row]:
        """What is said in a turn, 1..turns."""
        if self._rot.drift:
            start = 0.5 * (turn - 1) / max(1, turns - 1)
            shift = (turn - 1) * len(self._dealt.intents) // turns
            return self._traffic.utterances(shift=shift, window=(start, start + 0.5))
        return self._traffic.utterances(steep=_OWN_STEEP if self._rot.zipf else 1.0)

    def predictions(
        self, turn: int, utterances: Sequence[Row], answers: Mapping[str, Answer], adapter: str
    ) -> list[dict[str, Any]]:
        """The champion's answers, as events."""
        now = datetime.now(UTC).isoformat()
        return [
            {
                "id": f"p-{self._mark}-{turn}-{position}",
                "ts": now,
                "text": row.text,
                "intent": answers[row.text].intent,
                "confidence": answers[row.text].confidence,
                "adapter": adapter,
            }
            for position, row in enumerate(utterances)
        ]

    def feedback(
        self,
        turn: int,
        utterances: Sequence[Row],
        answers: Mapping[str, Answer],
        best_wrong: BestWrong,
    ) -> list[dict[str, Any]]:
        """What is delivered now of what raters say, as events."""
        said = {
            "verdicts": self._verdicts,
            "bare": self._verdicts,
            "complaints": self._one_sided,
            "praise": self._one_sided,
        }[self._rot.speaks](utterances, answers, best_wrong)
        made = [self._event(turn, utterances, answers, rated) for rated in said]
        arriving = made
        if self._rot.delayed:
            arriving, self._held = self._held, made
            again = [pair for pair in arriving if self._chance.random() < _TWICE]
            arriving = [*arriving, *again]
            self._chance.shuffle(arriving)
        delivered = {event["id"]: label for event, label in arriving}
        self.said += [label for label in delivered.values() if label is not None]
        return [event for event, _ in arriving]

    def _verdicts(
        self, utterances: Sequence[Row], answers: Mapping[str, Answer], best_wrong: BestWrong
    ) -> list[_Rated]:
        """Random utterances, a stated share of them labelled wrongly."""
        positions = self._traffic.rated(utterances)
        labels = {position: utterances[position].intent for position in positions}
        raters = {position: f"u-{position % RATERS}" for position in positions}
        wrong = set(self._chance.sample(positions, round(self._rot.wrong * len(positions))))
        if self._rot.bad_rater:
            bad = self._chance.sample(positions, round(self._rot.bad_rater * len(positions)))
            raters |= dict.fromkeys(bad, "u-bad")
            wrong |= set(bad)
        labels |= self._wrong_labels(sorted(wrong), utterances, best_wrong)
        said = [_Rated(position, labels[position], raters[position]) for position in positions]
        return said + self._colluded(utterances)

    def _wrong_labels(
        self, positions: Sequence[int], utterances: Sequence[Row], best_wrong: BestWrong
    ) -> dict[int, str]:
        right = {position: utterances[position].intent for position in positions}
        any_other = {position: self._traffic.any_other(name) for position, name in right.items()}
        if self._rot.wrong_by == "uniform":
            return any_other
        if self._rot.wrong_by == "neighbour":
            return {p: self._like.get(name, any_other[p]) for p, name in right.items()}
        tempted = [p for p in positions if self._chance.random() < 0.5]
        best = best_wrong([(utterances[p].text, right[p]) for p in tempted])
        return any_other | dict(zip(tempted, best, strict=True))

    def _one_sided(
        self, utterances: Sequence[Row], answers: Mapping[str, Answer], best_wrong: BestWrong
    ) -> list[_Rated]:
        """Only those who complain, or only those who praise; few of them err."""
        said = []
        complains = self._rot.speaks == "complaints"
        for position, row in enumerate(utterances):
            answered = answers[row.text].intent
            right = answered == row.intent
            likely = _ANNOYED if complains else _PLEASED_WRONGLY
            if right:
                likely = _ANNOYED_WRONGLY if complains else _PLEASED
            if self._chance.random() < likely:
                believed = "" if complains else answered
                said.append(_Rated(position, believed, f"u-{position % RATERS}"))
        return self._chance.sample(said, min(self._load.rated, len(said)))

    def _colluded(self, utterances: Sequence[Row]) -> list[_Rated]:
        """Each colluder calls the one intent's texts the other, as often as anybody rates."""
        if not self._rot.colluders:
            return []
        source, target = self._colluding
        met = {row.text: n for n, row in enumerate(utterances) if row.intent == source}
        raters = max(2, round(self._rot.colluders * RATERS))
        each = max(1, round(self._rot.colluders * self._load.rated / raters))
        return [
            _Rated(position, target, f"u-colluder-{number}")
            for number in range(raters)
            for position in self._chance.sample(sorted(met.values()), min(each, len(met)))
        ]

    def _pair(self) -> tuple[str, str]:
        """The intent that colluders attack, a frequent one, and what they call it."""
        names = [name for name in self._dealt.intents if self._dealt.traffic[name]]
        source = self._chance.choice(names)
        return source, self._like.get(source, names[0])

    def _event(
        self, turn: int, utterances: Sequence[Row], answers: Mapping[str, Answer], rated: _Rated
    ) -> tuple[dict[str, Any], Said | None]:
        row = utterances[rated.position]
        answered = answers[row.text].intent
        event: dict[str, Any] = {
            "id": f"f-{self._mark}-{turn}-{rated.position}-{rated.rater}",
            "prediction_id": f"p-{self._mark}-{turn}-{rated.position}",
            "ts": datetime.now(UTC).isoformat(),
            "rater": rated.rater,
        }
        if rated.label == answered:
            return event | {"verdict": "correct"}, Said(row.text, answered, row.intent)
        if self._rot.speaks in ("bare", "complaints"):
            return event | {"verdict": "incorrect"}, None
        corrected = event | {"verdict": "corrected", "intent": rated.label}
        return corrected, Said(row.text, rated.label, row.intent)


def known_truth(spoiled: Spoiled) -> dict[str, str]:
    """The right intent of every text that production may say."""
    return {row.text: row.intent for rows in spoiled.partition.traffic.values() for row in rows} | {
        row.text: NONE for row in spoiled.partition.traffic[NONE]
    }
