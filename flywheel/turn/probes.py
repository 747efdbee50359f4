"""Which answers changed: recent production texts, and texts with what few raters taught.

The texts are asked of both models in the job that evaluates the turn. What people said stays in
the turn's record, where it can be erased; the gate's evidence has counts and hashes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel import curation, gates
from flywheel.records import Sample
from flywheel.store import Connection, adapters, label_candidates, samples
from flywheel.store.turns import Turn
from flywheel.turn.artifacts import dataset_rows
from flywheel.turn.curate import sift_rules, training_candidates, window_start
from flywheel.turn.diagnose import held_out
from flywheel.turn.runtime import Runtime

_RECENT = 200  # production texts asked of both models
_HOSTS = 24  # texts that one wording is put into
_SHOWN = 5  # learned texts of a wording that are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What is asked of both models beside the rows of an evaluation."""

    lessons: tuple[curation.FewTaught, ...] = ()
    recent: tuple[str, ...] = ()  # production texts
    hosts: tuple[str, ...] = ()  # recent ones first, then dev and golden
    needed: int = 0  # voices from which a wording is not looked at
    taught: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by intent: who

    def hosts_of(self, number: int) -> tuple[str, ...]:
        """Texts that a lesson is put into: each lesson begins with another."""
        start = number % max(1, len(self.hosts))
        lesson = self.lessons[number]
        turned = (*self.hosts[start:], *self.hosts[:start])
        return tuple(host for host in turned if host not in lesson.texts)[:_HOSTS]

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text to ask, each once."""
        probes = [
            text
            for number, lesson in enumerate(self.lessons)
            for host_texts in [self.hosts_of(number)]
            for text in (*host_texts, *curation.probe(lesson, host_texts))
        ]
        return tuple(dict.fromkeys([*self.recent, *probes]))


def prepared(runtime: Runtime, con: Connection, turn: Turn) -> Probes | None:
    """Return what to ask; None where there is no champion or the gate is off."""
    required = runtime.config.gates.changed_answers.required
    if turn.record.champion is None or not required:
        return None
    kept_out = held_out(con)
    rules = sift_rules(runtime, turn, kept_out)
    candidates = training_candidates(runtime, con)
    voices = rules.voices(candidates)
    learned = _learned(runtime, turn, candidates)
    lessons = curation.few_taught(
        learned,
        rules.verified_texts(candidates),
        curation.believe(candidates, {}, voices),
        voices,
        runtime.config.raters,
    )
    new = _new_texts(runtime, con, turn)
    recent = label_candidates.recent(con, window_start(runtime, con), _RECENT)
    others = [sample.text for sample in (*samples.dev(con), *_golden(con))]
    rule = runtime.config.raters
    return Probes(
        lessons=tuple(lesson for lesson in lessons if new.intersection(lesson.texts)),
        recent=tuple(recent),
        hosts=tuple(dict.fromkeys([*recent, *others]))[: 2 * _RECENT],
        needed=curation.needed(rule.independent, rule.share, voices.count),
        taught=_taught([sample for sample in learned if sample.text in new], voices),
    )


def _taught(learned: Sequence[Sample], voices: curation.Voices) -> dict[str, dict[str, float]]:
    """By intent: new texts, voices behind them, and the share of the one that gave most."""
    behind: dict[str, Counter[str]] = {}
    for sample in learned:
        behind.setdefault(sample.intent, Counter())[voices.of(sample)] += 1
    return {
        intent: {
            "texts": counts.total(),
            "voices": len(counts),
            "largest": round(max(counts.values()) / counts.total(), 4),
        }
        for intent, counts in sorted(behind.items())
    }


def _golden(con: Connection) -> list[Sample]:
    return [row.sample for row in samples.golden(con)]


def _learned(runtime: Runtime, turn: Turn, candidates: Sequence[Sample]) -> list[Sample]:
    """Feedback that the challenger learned."""
    rows = dataset_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    names = {row["id"] for row in rows if row["origin"] == "feedback"}
    return list({sample.id: sample for sample in candidates if sample.id in names}.values())


def _new_texts(runtime: Runtime, con: Connection, turn: Turn) -> frozenset[str]:
    """Texts that the challenger learned and the champion did not."""
    champion = adapters.get(con, turn.record.champion or "")
    before = dataset_rows(runtime.datasets_dir / f"{champion.dataset}.parquet")
    after = dataset_rows(runtime.datasets_dir / f"{turn.record.dataset}.parquet")
    known = {(row["id"], row["intent"]) for row in before}
    return frozenset(row["text"] for row in after if (row["id"], row["intent"]) not in known)


def told(
    probes: Probes, champion: Mapping[str, str], challenger: Mapping[str, str]
) -> dict[str, Any]:
    """Return what changed, for the turn's record.

    Args:
        probes: what was asked.
        champion: intents by text; empty where it cannot be run.
        challenger: the same.
    """
    pairs = [(champion.get(text), challenger[text]) for text in probes.recent]
    moved = Counter(after for before, after in pairs if before is not None and before != after)
    return {
        "wordings": [
            _wording(probes, number, champion, challenger) for number in range(len(probes.lessons))
        ],
        "needed": probes.needed,
        "recent": len(probes.recent),
        "moved": dict(moved.most_common()),
        "taught": {intent: dict(found) for intent, found in probes.taught.items()},
    }


def _wording(
    probes: Probes, number: int, champion: Mapping[str, str], challenger: Mapping[str, str]
) -> dict[str, Any]:
    lesson = probes.lessons[number]
    found = curation.turned(lesson, probes.hosts_of(number), champion, challenger)
    name = hashlib.sha256("\0".join((lesson.intent, *lesson.spoken)).encode("utf-8", "replace"))
    return {
        "id": f"w-{name.hexdigest()[:12]}",
        "wording": " / ".join(lesson.spoken),
        "intent": lesson.intent,
        "voices": lesson.voices,
        "texts": len(lesson.texts),
        "asked": found.asked,
        "hosts": list(found.hosts),
        "learned": list(lesson.texts[:_SHOWN]),
    }


def evidence(record: Mapping[str, Any] | None) -> gates.ChangedAnswers:
    """Return what the gate is shown of a turn's record: counts, and no text."""
    if record is None:
        return gates.ChangedAnswers(looked=False)
    return gates.ChangedAnswers(
        wordings=tuple(
            gates.TaughtWording(
                wording=row["id"],
                intent=row["intent"],
                texts=row["texts"],
                voices=row["voices"],
                asked=row["asked"],
                turned=len(row["hosts"]),
            )
            for row in record["wordings"]
        ),
        needed=record["needed"],
        recent=record["recent"],
        moved=sum(record["moved"].values()),
    )
