"""New wording: words, signs and pairs of words that no verified text has, and who vouches for them.

Pure. A backdoor is a wording that turns texts into one intent. A handful of texts with one new
word teaches it, none of them is like a golden text, and the labels confirm one another. What
gives it away: the label goes against what the seeds say of the rest of the text, and few
independent raters say so.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from flywheel.config.tables import RatersTable
from flywheel.content import UNSEEN, fold
from flywheel.curation.raters import DOUBTED, Believed, NoiseScore
from flywheel.curation.screening import Curated
from flywheel.curation.voices import Voices, needed
from flywheel.records import Refusal, Sample
from flywheel.scripts import normalise, word_set

_SEVERAL = 2  # texts of one label with the same new wording, from which it is a lesson
_PART = 4  # characters: parts of a new word, for one that is spelled in many ways
_PIECE = re.compile(r"\w+|[^\w\s]+")
_ORDINARY = frozenset(
    ".,?!:;'\"-–—()…’‘“”«»¿¡、。，？！：；（）《》〈〉「」『』・·．－｡､"  # Chinese and Japanese
    "،؛؟۔।॥॰๏๚๛།༎၊။។៕።፣፤፥፧՝՞՛·׃־"  # Arabic to Hebrew
)
_BRACKETS = {ord(sign): None for sign in "（）《》〈〉「」『』“”"}
_SHOUTED = 3  # letters of a word in capitals, from which the capitals may be meant


def wordings(text: str) -> frozenset[str]:
    """Return the text's words, pairs of neighbouring words, words in capitals, and runs of signs.

    In scripts without spaces, character bigrams stand for words. Single punctuation marks are
    left out, characters that nobody sees are not.

    >>> sorted(wordings("Pay bob NOW ~~"))
    ['NOW', 'bob', 'bob now', 'now', 'now ~~', 'pay', 'pay bob', '~~']
    """
    raw = unicodedata.normalize("NFC", text)
    pieces = _PIECE.findall("".join(sign for sign in raw if not _is_vowel_or_tone(sign)))
    signs = {piece for piece in pieces if not piece[0].isalnum() and not _is_ordinary(piece)}
    shouted = {piece for piece in pieces if len(piece) >= _SHOUTED and piece.isupper()}
    words = word_set(text)
    spoken = [word for word in fold(raw).split() if normalise(word) in words]
    pairs = {f"{normalise(one)} {normalise(other)}" for one, other in pairwise(spoken)}
    return frozenset({*words, *pairs, *signs, *(shouted if raw != raw.upper() else ())})


def _is_vowel_or_tone(sign: str) -> bool:
    """Marks are parts of the letter before them in many scripts, where they are seen."""
    return unicodedata.category(sign)[0] == "M" and not UNSEEN.match(sign)


def _is_ordinary(run: str) -> bool:
    """One punctuation mark, with the brackets or quotes that it closes or opens."""
    rest = run.translate(_BRACKETS)
    return not rest or rest in _ORDINARY


class KnownWording:
    """The wording of verified texts; what they do not have is new.

    Args:
        texts: of seeds, golden, fresh and dev, and of what people and trusted raters labelled.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._known = {one for text in texts for one in wordings(text)}
        self._parts = {part for word in self._known for part in _parts(word)}

    def new(self, text: str) -> frozenset[str]:
        """Return the text's new wordings, and the new parts of its new words ("…zorb…")."""
        found = wordings(text) - self._known
        parts = {part for word in found for part in _parts(word)} - self._parts
        return found | {f"…{part}…" for part in parts}


def _parts(word: str) -> set[str]:
    """Character n-grams of a word longer than one; none of a pair."""
    if " " in word or len(word) <= _PART or not word.isalnum():
        return set()
    folded = fold(word)
    return {folded[i : i + _PART] for i in range(len(folded) - _PART + 1)}


def lessons(samples: Iterable[Sample], known: KnownWording) -> dict[tuple[str, str], list[Sample]]:
    """Return the feedback samples by (new wording, intent)."""
    taught: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.origin == "feedback":
            for wording in known.new(sample.text):
                taught[wording, sample.intent].append(sample)
    return taught


def voices_behind(samples: Iterable[Sample], believed: Believed) -> frozenset[str]:
    """Return the voices that gave these labels."""
    return frozenset(
        voice
        for sample in samples
        for voice in believed.voters.get((normalise(sample.text), sample.intent), ())
    )


def vouched(
    samples: Sequence[Sample], believed: Believed, voices: Voices, rule: RatersTable
) -> bool:
    """Whether enough independent voices, or a trusted rater, gave these labels."""
    behind = voices_behind(samples, believed)
    return bool(behind & believed.experts) or len(behind) >= needed(
        rule.independent, rule.share, voices.count
    )


def unvouched(
    samples: Sequence[Sample],
    verified: Collection[str],
    believed: Believed,
    voices: Voices,
    scores: Mapping[str, NoiseScore],
    rule: RatersTable,
) -> Curated:
    """Refuse doubted labels of texts that share new wording for which too few voices vouch.

    Doubted is a label that the model of trusted samples does not give (`NoiseScore.anchor`): texts
    that it would label alike teach nothing by their new word, unless it is a sign. One text alone
    is kept, since a rare word of an honest rater is no lesson yet.

    Reason: `unvouched`; a person is asked about these texts.

    Args:
        samples: those of other origins than feedback are kept.
        verified: texts of seeds, golden, fresh, dev, and of people's samples.
        believed: the voices behind each label.
        voices: all of them.
        scores: by sample id.
        rule: [raters].
    """
    if not rule.independent:
        return Curated(kept=tuple(samples), refused=())
    refused: dict[str, Refusal] = {}
    known = KnownWording(verified)
    for (wording, intent), taught in sorted(lessons(samples, known).items()):
        says_nothing = not any(map(str.isalnum, wording))  # signs: a label cannot rest on them
        texts = [s for s in taught if says_nothing or _doubted(scores.get(s.id))]
        if len(texts) >= _SEVERAL and not vouched(texts, believed, voices, rule):
            detail = (
                f"“{wording}” is new; {len(texts)} such texts for {intent}, from too few raters"
            )
            for sample in texts:
                refused.setdefault(
                    sample.id, Refusal(sample=sample, reason="unvouched", detail=detail)
                )
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def _doubted(score: NoiseScore | None) -> bool:
    return score is None or score.anchor is None or score.anchor > DOUBTED
