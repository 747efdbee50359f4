"""Screening of training candidates; every refusal has a reason.

Four rules in this order: the label validates against the intents' schemas; the text is not near a
held-out text; a text has one label; repeats are removed (exact and near duplicates).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.config.tables import CurationTable
from flywheel.curation.duplicates import Neighbourhood, form, word_counts
from flywheel.curation.voices import Voices
from flywheel.lineage import parted
from flywheel.parameters import argument_problems
from flywheel.records import NONE, Intent, Refusal, Sample
from flywheel.scripts import normalise

TRUSTED = ("seed", "person")
"""Origins whose labels a person vouches for: they outvote others and are never refused as noise."""

AGREED = 0.75
"""Share of the voters that decides a text's label where no trusted label exists."""

FEW = 10
"""Samples of an intent up to which its name is used as a training text."""

_INNER_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

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
    voices: Voices = Voices(),  # noqa: B008  a constant
) -> Curated:
    """Return the accepted candidates, and every refused one with its reason.

    Reasons: `schema`, `split`, `leak`, `conflict` (no label has enough votes: all samples of the
    text are refused, and a person is asked), `outvoted`, `duplicate`, `near_duplicate`. A
    near-duplicate is refused only beside one of the same intent: a pair that differs by one word
    and in its label teaches the difference.

    Args:
        candidates: in any order. Of duplicates the trusted one stays, then the one with
            arguments, then the first.
        kept: samples accepted earlier; they vote on labels and are never refused here.
        held_out: texts of golden, fresh and dev. A candidate with a Jaccard index of `table.leak`
            or more to one of them is refused.
        intents: as configured; `none` is always known.
        table: thresholds, word-set Jaccard.
        voices: of the raters; without them each rater is one.
    """
    screening = _Screening(candidates)
    _refuse_misfits(screening, {intent.name: intent for intent in intents})
    _refuse_leaks(screening, held_out, table.leak)
    _refuse_conflicts(screening, kept, voices)
    _refuse_repeats(screening, kept, table.near_duplicate)
    return screening.result()


def without_leaks(samples: Sequence[Sample], held_out: Sequence[str], jaccard: float) -> Curated:
    """Refuse samples near a held-out text; for samples accepted before that text was held out.

    Raises:
        ValueError: `jaccard` is not above 0 and up to 1.
    """
    screening = _Screening(samples)
    _refuse_leaks(screening, held_out, jaccard)
    return screening.result()


def leaks(
    training_texts: Sequence[str], golden_texts: Sequence[str], jaccard: float
) -> tuple[str, ...]:
    """Return one line for each training text near a golden one, with the nearest; sorted.

    The lines contain user text: show them, never log them.

    Raises:
        ValueError: `jaccard` is not above 0 and up to 1.
    """
    nearest = _nearest(training_texts, golden_texts, jaccard)
    return tuple(
        sorted(
            f"{quoted(training_texts[i])} is {value:.2f} near golden {quoted(golden_texts[j])}"
            for i, (value, j) in nearest.items()
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NearHeldOut:
    """A sample to learn that is near a sample held out, so that it is never learned."""

    sample: Sample
    held_out: Sample  # the nearest one
    similarity: float  # word-set Jaccard, 0..1; 1 where the texts are the same


def near_held_out(
    training: Sequence[Sample], held_out: Sequence[Sample], jaccard: float
) -> tuple[NearHeldOut, ...]:
    """Return the training samples that the rule on leaks refuses, with the sample each is near.

    Raises:
        ValueError: `jaccard` is not above 0 and up to 1.
    """
    nearest = _nearest([s.text for s in training], [s.text for s in held_out], jaccard)
    return tuple(
        NearHeldOut(sample=training[i], held_out=held_out[j], similarity=value)
        for i, (value, j) in sorted(nearest.items())
    )


class _Screening:
    """Candidates with the refusals so far; later rules see only candidates not yet refused."""

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


def _refuse_misfits(screening: _Screening, intents: Mapping[str, Intent]) -> None:
    by_name = {NONE: Intent(name=NONE), **intents}
    split = parted(tuple(intents.values()))
    for index, sample in screening.open():
        intent = by_name.get(sample.intent)
        if not sample.text.strip():
            screening.refuse(index, "schema", "the text is empty")
        elif sample.intent in split:
            parts = ", ".join(split[sample.intent])
            screening.refuse(
                index, "split", f"{sample.intent} was split into {parts}: label it again"
            )
        elif intent is None:
            screening.refuse(index, "schema", f"unknown intent {sample.intent}")
        else:
            complete = sample.origin == "teacher"
            problems = argument_problems(intent, sample.arguments, complete=complete)
            if problems:
                screening.refuse(index, "schema", "; ".join(map(str, problems)))


def _refuse_leaks(screening: _Screening, held_out: Sequence[str], jaccard: float) -> None:
    open_samples = screening.open()
    nearest = _nearest([sample.text for _, sample in open_samples], held_out, jaccard)
    for position, (value, j) in nearest.items():
        detail = f"{value:.2f} near held-out {quoted(held_out[j])}"
        screening.refuse(open_samples[position][0], "leak", detail)


def _nearest(
    texts: Sequence[str], held_out: Sequence[str], jaccard: float
) -> dict[int, tuple[float, int]]:
    """Map the position of a leaking text to (Jaccard index, position) of the nearest held-out."""
    forms = [form(text) for text in held_out]
    neighbourhood = Neighbourhood(jaccard, word_counts(forms))
    for text_form in forms:
        neighbourhood.add(text_form)
    nearest = {}
    for i, text in enumerate(texts):
        matches = neighbourhood.near(form(text))
        if matches:
            j, value = max(matches, key=lambda pair: (pair[1], -pair[0]))
            nearest[i] = (value, j)
    return nearest


def is_trusted(sample: Sample) -> bool:
    """Whether a person vouches for the label: a seed, a person's label, or an expert's feedback."""
    return sample.origin in TRUSTED or sample.provenance.get("rater_kind") == "expert"


def _refuse_conflicts(screening: _Screening, kept: Sequence[Sample], voices: Voices) -> None:
    """Decide one label for each text: the trusted majority, otherwise three in four of the voters.

    A voice has one vote for a label, however often it was given.
    """
    open_samples = screening.open()
    votes: dict[str, list[Sample]] = defaultdict(list)
    keys = {index: normalise(sample.text) for index, sample in open_samples}
    for index, sample in open_samples:
        votes[keys[index]].append(sample)
    for sample in kept:
        key = normalise(sample.text)
        if key in votes:
            votes[key].append(sample)
    for index, sample in open_samples:
        labellings = votes[keys[index]]
        if len({voter.intent for voter in labellings}) > 1:
            counts = _voters(labellings, voices).most_common()
            winner = _winner(labellings, voices)
            if sample.intent != winner:
                detail = ", ".join(f"{intent} {count}" for intent, count in counts)
                reason = "conflict" if winner is None else "outvoted"
                screening.refuse(index, reason, f"labels of this text: {detail}")


def _winner(labellings: Sequence[Sample], voices: Voices) -> str | None:
    trusted = [sample for sample in labellings if is_trusted(sample)]
    counts = _voters(trusted or labellings, voices)
    intent, votes = counts.most_common(1)[0]
    settled = votes > counts.total() / 2 if trusted else votes >= AGREED * counts.total()
    return intent if settled else None


def _voters(labellings: Sequence[Sample], voices: Voices) -> Counter[str]:
    """Number of distinct voters by intent; an unnamed rater counts once a prediction."""
    voters = {(sample.intent, _voter(sample, voices)) for sample in labellings}
    return Counter(intent for intent, _ in sorted(voters))


def _voter(sample: Sample, voices: Voices) -> str:
    return voices.of(sample) or str(sample.provenance.get("prediction") or sample.id)


def _refuse_repeats(screening: _Screening, kept: Sequence[Sample], threshold: float) -> None:
    open_samples = screening.open()
    forms = {index: form(sample.text) for index, sample in open_samples}
    kept_forms = [(sample, form(sample.text)) for sample in kept]
    counts = word_counts([*forms.values(), *(text_form for _, text_form in kept_forms)])
    by_intent = {
        intent: (Neighbourhood(threshold, counts), list[Sample]())
        for intent in {sample.intent for sample in (*kept, *(sample for _, sample in open_samples))}
    }
    for sample, text_form in kept_forms:
        by_intent[sample.intent][0].add(text_form)
        by_intent[sample.intent][1].append(sample)
    for index, sample in sorted(open_samples, key=_preferred):
        neighbourhood, accepted = by_intent[sample.intent]
        matches = neighbourhood.near(forms[index])
        if not matches:
            neighbourhood.add(forms[index])
            accepted.append(sample)
            continue
        j, value = max(matches, key=lambda pair: (pair[1], -pair[0]))
        same = normalise(accepted[j].text) == forms[index].normal
        detail = f"of {accepted[j].id}" if same else f"{value:.2f} near {accepted[j].id}"
        screening.refuse(index, "duplicate" if same else "near_duplicate", detail)


def _preferred(item: tuple[int, Sample]) -> tuple[bool, bool, int]:
    index, sample = item
    return sample.origin not in TRUSTED, sample.arguments is None, index


def quoted(text: str) -> str:
    """A text in quotation marks, cut where it is long, as reasons show it."""
    return f"“{text if len(text) <= _SHOWN else text[: _SHOWN - 1] + '…'}”"


# Names of intents as training texts.


def spoken(name: str) -> str:
    """Return an intent's name as words; "" when it contains no letters.

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
    """Return (name as words, intent) for intents with few samples, sorted by intent.

    Names that two intents share as words, and names equal to one of the texts, are left out.

    Args:
        samples: (text, intent). An intent without samples is not learned from its name alone.
    """
    texts = {normalise(text) for text, _ in samples}
    counts = Counter(intent for _, intent in samples if intent != NONE)
    name_of = {intent: spoken(intent) for intent in sorted(counts)}
    shared = Counter(map(normalise, name_of.values()))
    return [
        (text, intent)
        for intent, text in name_of.items()
        if text
        and counts[intent] <= FEW
        and shared[normalise(text)] == 1
        and normalise(text) not in texts
    ]
