"""What few raters taught, and texts that show whether it turns others: a strong, active probe.

Pure. A trigger may stand in no text but those that taught it. So each new wording that few
independent voices taught is put into recent texts of other intents, and both models answer. A
content word that an honest rater taught turns few of them; a trigger turns most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from flywheel.config.tables import RatersTable
from flywheel.curation.raters import Believed
from flywheel.curation.voices import Voices
from flywheel.curation.wording import KnownWording, lessons, voices_behind, vouched
from flywheel.records import Sample
from flywheel.scripts import normalise

_SEVERAL = 2  # learned texts with the wording; one alone turns hardly any other
_MOST = 60  # wordings probed in a turn, those of most texts first


@dataclass(frozen=True, slots=True, kw_only=True)
class FewTaught:
    """A new wording of one intent that few voices taught."""

    spoken: tuple[str, ...]  # what is put into other texts, in turn
    intent: str
    texts: tuple[str, ...]  # learned ones, sorted
    voices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """How a lesson changed the answers to texts of other intents."""

    lesson: FewTaught
    asked: int  # hosts that neither model answers with the intent as they are
    hosts: tuple[str, ...]  # those that only the challenger answers with it, with the wording


def few_taught(
    learned: Sequence[Sample],
    verified: Collection[str],
    believed: Believed,
    voices: Voices,
    rule: RatersTable,
) -> tuple[FewTaught, ...]:
    """Return the new wordings of at least two learned texts that too few voices taught.

    Args:
        learned: training samples; only feedback counts.
        verified: see `KnownWording`.
        believed: the voices behind each label.
        voices: all of them.
        rule: [raters]; nothing is returned where raters need not be independent.
    """
    if not rule.independent:
        return ()
    found: dict[tuple[tuple[str, ...], str], FewTaught] = {}
    for (wording, intent), samples in sorted(lessons(learned, KnownWording(verified)).items()):
        if len(samples) < _SEVERAL or vouched(samples, believed, voices, rule):
            continue
        texts = tuple(sorted(sample.text for sample in samples))
        found.setdefault(
            (texts, intent),
            FewTaught(
                spoken=_spoken(wording, texts),
                intent=intent,
                texts=texts,
                voices=len(voices_behind(samples, believed)),
            ),
        )
    ranked = sorted(found.values(), key=lambda one: (-len(one.texts), one.intent, one.spoken))
    return tuple(ranked[:_MOST])


def _spoken(wording: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The longest run of words that all the texts share; without one, the wording itself.

    A part of a word ("…zorb…") stands for the words that have it.
    """
    words = [normalise(text).split() for text in texts]
    first = min(words, key=len)
    joined = [f" {' '.join(other)} " for other in words]
    for size in range(len(first), 0, -1):
        for start in range(len(first) - size + 1):
            run = " ".join(first[start : start + size])
            if _inside(wording, run) and all(f" {run} " in other for other in joined):
                return (run,)
    part = wording.strip("…")
    if part != wording:
        return tuple(sorted({word for other in words for word in other if part in word}))
    return (wording,)


def _inside(wording: str, run: str) -> bool:
    return wording.strip("…") in run


def probe(lesson: FewTaught, hosts: Sequence[str]) -> tuple[str, ...]:
    """Return the hosts with the wording at their beginning or, every other one, at their end.

    >>> lesson = FewTaught(spoken=("zorblax",), intent="pay", texts=("zorblax a",), voices=1)
    >>> probe(lesson, ("turn it down", "call my mother"))
    ('zorblax turn it down', 'call my mother zorblax')
    """
    spoken = [lesson.spoken[n % len(lesson.spoken)] for n in range(len(hosts))]
    return tuple(
        f"{host} {words}" if n % 2 else f"{words} {host}"
        for n, (host, words) in enumerate(zip(hosts, spoken, strict=True))
    )


def turned(
    lesson: FewTaught,
    hosts: Sequence[str],
    champion: Mapping[str, str],
    challenger: Mapping[str, str],
) -> Turned:
    """Return which hosts the lesson turns.

    Args:
        lesson: taught to the challenger.
        hosts: texts.
        champion: intents by text, of hosts and probes; a text that it cannot be asked is missing.
        challenger: the same, of all.
    """
    others = {
        host: text
        for host, text in zip(hosts, probe(lesson, hosts), strict=True)
        if lesson.intent not in (champion.get(host), challenger[host])
    }
    changed = tuple(
        host
        for host, text in others.items()
        if challenger[text] == lesson.intent != champion.get(text)
    )
    return Turned(lesson=lesson, asked=len(others), hosts=changed)
