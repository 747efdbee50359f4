"""Which candidates may be learned from, and why the others may not.

Four rules in this order: the label fits the intents' schemas; the text is not near a held-out
one; a text has one label; no text is there twice. Every refusal keeps its reason.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.config.tables import CurationTable
from flywheel.curation.neighbours import Neighbourhood, form, word_counts
from flywheel.curation.normalize import normalise
from flywheel.lineage import parted
from flywheel.parameters import argument_problems
from flywheel.records import NONE, Intent, Refusal, Sample

TRUSTED = ("seed", "person")
"""Origins whose labels a person answers for: they outvote the others and are never dropped as
noise."""

AGREED = 0.75
"""Share of the voters that settles a text's label where no person has."""

_SHOWN = 80  # characters of a text in a refusal's detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """Candidates that passed, in their order, and those that did not."""

    kept: tuple[Sample, ...]
    refused: tuple[Refusal, ...]


def screen(
    candidates: Sequence[Sample],
    kept: Sequence[Sample],
    held_out: Sequence[str],
    intents: Sequence[Intent],
    table: CurationTable,
) -> Curated:
    """Return the candidates fit to learn from, and every other with its reason.

    Reasons: `schema`, `leak`, `conflict` (nobody knows the label: all of them go, and the text is
    for a person), `outvoted` (the others' label holds), `duplicate`, `near_duplicate`. A
    near-duplicate is only refused beside one of the same intent: a pair that differs by one word
    and in its label is what teaches the difference.

    Args:
        candidates: in any order; where two are the same, the one a person answers for stays,
            then the one with arguments, then the first.
        kept: samples held already; they vote on labels and are never refused here.
        held_out: texts of golden, fresh and dev; nothing of Jaccard `table.leak` or more to one
            of them passes.
        intents: what may be called; `none` is always known.
        table: thresholds, word-set Jaccard.
    """
    judged = _Judged(candidates)
    _refuse_misfits(judged, {intent.name: intent for intent in intents})
    _refuse_leaks(judged, held_out, table.leak)
    _refuse_conflicts(judged, kept)
    _refuse_repeats(judged, kept, table.near_duplicate)
    return judged.result()


def without_leaks(samples: Sequence[Sample], held_out: Sequence[str], jaccard: float) -> Curated:
    """Return the samples that are not near a held-out text; for rows kept before it was.

    Raises:
        ValueError: `jaccard` is not above 0 and up to 1.
    """
    judged = _Judged(samples)
    _refuse_leaks(judged, held_out, jaccard)
    return judged.result()


def leaks(
    training_texts: Sequence[str], golden_texts: Sequence[str], jaccard: float
) -> tuple[str, ...]:
    """Return one line for each training text near a golden one, with the nearest; sorted.

    The lines hold what people said: show them, never log them.

    Raises:
        ValueError: `jaccard` is not above 0 and up to 1.
    """
    nearest = _nearest(training_texts, golden_texts, jaccard)
    return tuple(
        sorted(
            f"{_quote(training_texts[i])} is {value:.2f} near golden {_quote(golden)}"
            for i, (value, golden) in nearest.items()
        )
    )


class _Judged:
    """Candidates with the refusals so far; a refused one takes no part in later rules."""

    def __init__(self, candidates: Sequence[Sample]) -> None:
        self._samples = list(candidates)
        self._refused: dict[int, Refusal] = {}

    def open(self) -> list[tuple[int, Sample]]:
        return [(i, s) for i, s in enumerate(self._samples) if i not in self._refused]

    def refuse(self, index: int, reason: str, detail: str) -> None:
        sample = self._samples[index]
        self._refused[index] = Refusal(sample=sample, reason=reason, detail=detail)

    def result(self) -> Curated:
        return Curated(
            kept=tuple(sample for _, sample in self.open()),
            refused=tuple(self._refused[index] for index in sorted(self._refused)),
        )


def _refuse_misfits(judged: _Judged, intents: Mapping[str, Intent]) -> None:
    known = {NONE: Intent(name=NONE), **intents}
    split = parted(tuple(intents.values()))
    for index, sample in judged.open():
        intent = known.get(sample.intent)
        if not sample.text.strip():
            judged.refuse(index, "schema", "the text is empty")
        elif sample.intent in split:
            said = ", ".join(split[sample.intent])
            judged.refuse(index, "split", f"{sample.intent} was split into {said}: label it again")
        elif intent is None:
            judged.refuse(index, "schema", f"unknown intent {sample.intent}")
        else:
            complete = sample.origin == "teacher"
            problems = argument_problems(intent, sample.arguments, complete=complete)
            if problems:
                judged.refuse(index, "schema", "; ".join(map(str, problems)))


def _refuse_leaks(judged: _Judged, held_out: Sequence[str], jaccard: float) -> None:
    still = judged.open()
    nearest = _nearest([sample.text for _, sample in still], held_out, jaccard)
    for position, (value, text) in nearest.items():
        judged.refuse(still[position][0], "leak", f"{value:.2f} near held-out {_quote(text)}")


def _nearest(
    texts: Sequence[str], held_out: Sequence[str], jaccard: float
) -> dict[int, tuple[float, str]]:
    """Position in `texts` -> similarity and text of the nearest held-out one, where one is near."""
    forms = [form(text) for text in held_out]
    neighbourhood = Neighbourhood(jaccard, word_counts(forms))
    for given in forms:
        neighbourhood.add(given)
    nearest = {}
    for i, text in enumerate(texts):
        near = neighbourhood.near(form(text))
        if near:
            j, value = max(near, key=lambda pair: (pair[1], -pair[0]))
            nearest[i] = (value, held_out[j])
    return nearest


def is_trusted(sample: Sample) -> bool:
    """Whether a person answers for the label: a seed, a person's, or an expert's feedback."""
    return sample.origin in TRUSTED or sample.provenance.get("rater_kind") == "expert"


def _refuse_conflicts(judged: _Judged, kept: Sequence[Sample]) -> None:
    """One text, one label: a person's where there is one, otherwise what three in four say; a
    rater has one vote for a label, however often it was given.
    """
    still = judged.open()
    votes: dict[str, list[Sample]] = defaultdict(list)
    keys = {index: normalise(sample.text) for index, sample in still}
    for index, sample in still:
        votes[keys[index]].append(sample)
    for sample in kept:
        key = normalise(sample.text)
        if key in votes:
            votes[key].append(sample)
    for index, sample in still:
        said = votes[keys[index]]
        if len({voter.intent for voter in said}) > 1:
            counts = _voters(said).most_common()
            winner = _winner(said)
            if sample.intent != winner:
                detail = ", ".join(f"{intent} {count}" for intent, count in counts)
                reason = "conflict" if winner is None else "outvoted"
                judged.refuse(index, reason, f"labels of this text: {detail}")


def _winner(said: Sequence[Sample]) -> str | None:
    trusted = [sample for sample in said if is_trusted(sample)]
    counts = _voters(trusted or said)
    first, most = counts.most_common(1)[0]
    settled = most > counts.total() / 2 if trusted else most >= AGREED * counts.total()
    return first if settled else None


def _voters(said: Sequence[Sample]) -> Counter[str]:
    """Different voters by intent; one without a name counts by prediction."""
    by = {(each.intent, _voter(each)) for each in said}
    return Counter(intent for intent, _ in sorted(by))


def _voter(sample: Sample) -> str:
    told = sample.provenance
    return str(told.get("rater") or told.get("prediction") or sample.id)


def _refuse_repeats(judged: _Judged, kept: Sequence[Sample], threshold: float) -> None:
    still = judged.open()
    forms = {index: form(sample.text) for index, sample in still}
    held = [(sample, form(sample.text)) for sample in kept]
    counts = word_counts([*forms.values(), *(given for _, given in held)])
    seen = {
        intent: (Neighbourhood(threshold, counts), list[Sample]())
        for intent in {sample.intent for sample in (*kept, *(sample for _, sample in still))}
    }
    for sample, given in held:
        seen[sample.intent][0].add(given)
        seen[sample.intent][1].append(sample)
    for index, sample in sorted(still, key=_preferred):
        neighbourhood, there = seen[sample.intent]
        near = neighbourhood.near(forms[index])
        if not near:
            neighbourhood.add(forms[index])
            there.append(sample)
            continue
        j, value = max(near, key=lambda pair: (pair[1], -pair[0]))
        same = normalise(there[j].text) == forms[index].normal
        detail = f"of {there[j].id}" if same else f"{value:.2f} near {there[j].id}"
        judged.refuse(index, "duplicate" if same else "near_duplicate", detail)


def _preferred(item: tuple[int, Sample]) -> tuple[bool, bool, int]:
    index, sample = item
    return sample.origin not in TRUSTED, sample.arguments is None, index


def _quote(text: str) -> str:
    return f"“{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}”"


# What an intent is called, as a text to learn from: its name says what it is for.

FEW = 10
"""Samples: an intent that has more is known better by them than by its name."""

_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def spoken(name: str) -> str:
    """An intent's name as words; empty where it has none.

    >>> spoken("calendar.setAlarm"), spoken("播放音乐"), spoken("fn-17"), spoken("42")
    ('calendar set alarm', '播放音乐', 'fn 17', '')
    """
    parted = _INNER_CAPITAL.sub(" ", unicodedata.normalize("NFC", name))
    words = "".join(sign if sign.isalnum() or _is_mark(sign) else " " for sign in parted)
    return " ".join(words.lower().split()) if any(map(str.isalpha, words)) else ""


def _is_mark(sign: str) -> bool:
    """Vowels and tones of many scripts are marks on the letter before them."""
    return unicodedata.category(sign)[0] == "M"


def name_texts(samples: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """(text, intent) of each intent that is called something and has few samples, by intent.

    Args:
        samples: (text, intent). An intent without any is not learned by its name alone.

    Names that two intents share once they are words, and names that are one of the texts, say
    nothing; they are left out.
    """
    known = {normalise(text) for text, _ in samples}
    counts = Counter(intent for _, intent in samples if intent != NONE)
    called = {intent: spoken(intent) for intent in sorted(counts)}
    shared = Counter(map(normalise, called.values()))
    return [
        (text, intent)
        for intent, text in called.items()
        if text
        and counts[intent] <= FEW
        and shared[normalise(text)] == 1
        and normalise(text) not in known
    ]
