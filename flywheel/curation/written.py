"""What a teacher's samples must pass besides: blind question, script, novelty, intent.

Pure.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from flywheel.content import same_arguments
from flywheel.curation.noise import NoiseScore
from flywheel.curation.normalize import word_set
from flywheel.curation.screening import Curated
from flywheel.records import Refusal, Sample

_SHORT = 2  # words; so few stand in many texts by chance


def verified(samples: Sequence[Sample]) -> Curated:
    """Refuse a teacher's sample whose blind label is another one, or is missing.

    `provenance["blind"]` is what the second, label-free question was answered with: {"intent",
    "arguments"}. A sample without that key was never asked about and passes.

    Reasons: `verification` (another label), `unverified` (asked about, no usable answer).
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        doubt = _doubt(sample)
        if doubt is None:
            kept.append(sample)
        else:
            refused.append(Refusal(sample=sample, reason=doubt[0], detail=doubt[1]))
    return Curated(kept=tuple(kept), refused=tuple(refused))


def copied(
    samples: Sequence[Sample], shown: Mapping[str, Collection[str]], share: float
) -> Curated:
    """Refuse a teacher's sample whose words stand in one production text that it was shown.

    Such a text teaches nothing new; and a sentence that production text dictates is no sample.

    Reason: `copied`.

    Args:
        samples: those of other origins pass.
        shown: by brief id, the failed texts in it.
        share: of the sample's words, 0..1.
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        most = stands_in(sample.text, shown.get(str(sample.provenance.get("brief")), ()))
        if sample.origin == "teacher" and most >= share:
            detail = f"{most:.2f} of its words stand in a failed text that was shown"
            refused.append(Refusal(sample=sample, reason="copied", detail=detail))
        else:
            kept.append(sample)
    return Curated(kept=tuple(kept), refused=tuple(refused))


def stands_in(text: str, shown: Collection[str]) -> float:
    """Return the largest share of the text's words that one of the shown texts has, 0..1.

    0 for a text of one or two words, which stand in many texts by chance.
    """
    own = word_set(text)
    if len(own) <= _SHORT:
        return 0.0
    return max((len(own & word_set(each)) / len(own) for each in shown), default=0.0)


def _doubt(sample: Sample) -> tuple[str, str] | None:
    if sample.origin != "teacher" or "blind" not in sample.provenance:
        return None
    blind = sample.provenance["blind"] or {}
    if not blind.get("intent"):
        return "unverified", "the second question has no usable answer"
    if blind["intent"] != sample.intent:
        return "verification", f"asked without the label: {blind['intent']}"
    told = blind.get("arguments")
    if told is not None and sample.arguments and not same_arguments(told, sample.arguments):
        return "verification", "asked without the label: other arguments"
    return None


# Which script a text is written in, as far as its letters tell.
#
# By the names of its characters in the Unicode data that Python brings. Languages that share a
# script are not told apart: on utterances of a few words no small detector does that reliably,
# and the blind question asks about the meaning anyhow.

_KANA = ("HIRAGANA", "KATAKANA")
_FAIR = 0.2  # of a text's letters: a script that it counts as written in
_FEW = 3  # texts of an intent; with fewer, the scripts of all intents are looked at


def script(text: str) -> str:
    """Return the script of most letters, in lower case; "" for a text without letters.

    Japanese is `kana` wherever it has any, since it writes Han too.

    >>> script("wake me at seven"), script("放一首周杰伦的歌"), script("音楽をかけて"), script("42")
    ('latin', 'cjk', 'kana', '')
    """
    counts = _letters(text)
    return min(counts, key=lambda name: (-counts[name], name), default="")


def _letters(text: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for sign in unicodedata.normalize("NFKC", text):
        if sign.isalpha():
            name, _, _ = unicodedata.name(sign, "").partition(" ")
            counts["kana" if name in _KANA else name.lower()] += 1
    return Counter({"kana": counts.total()}) if counts["kana"] else +counts


def _scripts(text: str) -> set[str]:
    """Those of a fair part of the letters: a text may mix two."""
    counts = _letters(text)
    return {name for name, count in counts.items() if count >= _FAIR * counts.total()}


def of_known_script(samples: Sequence[Sample], shown: Mapping[str, Collection[str]]) -> Curated:
    """Refuse what a teacher wrote in a script that the intent's own texts do not have.

    Own are samples of other origins, and the production texts that the brief showed.

    Reason: `language`.

    Args:
        samples: those of other origins pass, and are compared with.
        shown: by brief id, the failed texts in it.
    """
    own: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for sample in samples:
        if sample.origin != "teacher" and (found := _scripts(sample.text)):
            own[sample.intent] |= found
            counts[sample.intent] += 1
    everywhere = set().union(*own.values()) if own else set[str]()
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        main = script(sample.text) if sample.origin == "teacher" else ""
        known = own[sample.intent] if counts[sample.intent] >= _FEW else everywhere
        known = known.union(*map(_scripts, shown.get(_brief(sample), ())))
        if main and known and main not in known:
            detail = f"written in {main}; the intent's own texts are in {', '.join(sorted(known))}"
            refused.append(Refusal(sample=sample, reason="language", detail=detail))
        else:
            kept.append(sample)
    return Curated(kept=tuple(kept), refused=tuple(refused))


def _brief(sample: Sample) -> str:
    return str(sample.provenance.get("brief"))


# Does a teacher's sample say anything new, and does it lie where its intent does?
#
# Pure; by cosines in the frozen base's embedding, which the cross-fit brings.

_LEAST = 0.85  # cosine from which the cross-fit tells pairs; others count as this near
_BATCH = 8  # samples; of fewer, two alike would be half
_COLLAPSED = 0.93  # median cosine to the nearest of the batch; 15 real texts of an intent have less


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """A teacher's sample and another of its intent that is near it."""

    id: str
    other: str
    cosine: float


def without_paraphrases(
    samples: Sequence[Sample], pairs: Sequence[Alike], cosine: float, turn: str
) -> Curated:
    """Refuse what a teacher wrote where a kept sample of the intent says the same.

    Where most of what it wrote for an intent in one turn is nearly the same, that batch has
    collapsed: of texts as near as that, one is kept.

    Reasons: `paraphrase`, `collapsed`.

    Args:
        samples: those of other origins are never refused; of a teacher's, the first stays, and
            one of an earlier turn before one of this.
        pairs: at least all of `cosine` or more.
        cosine: at which two texts say the same, up to 1.
        turn: the one whose samples are looked at last.
    """
    near = _by_id(pairs)
    written = [sample for sample in samples if sample.origin == "teacher"]
    sizes = Counter(map(_batch, written))
    collapsed = {
        batch
        for batch, value in _nearness(samples, near).items()
        if value >= _COLLAPSED and sizes[batch] >= _BATCH
    }
    there = {sample.id for sample in samples if sample.origin != "teacher"}
    refused: dict[str, Refusal] = {}
    for sample in sorted(written, key=lambda sample: sample.provenance.get("turn") == turn):
        best = max(
            (pair for pair in near[sample.id] if pair.other in there),
            key=lambda pair: (pair.cosine, pair.other),
            default=None,
        )
        bar = min(cosine, _COLLAPSED) if _batch(sample) in collapsed else cosine
        if best is None or best.cosine < bar:
            there.add(sample.id)
            continue
        reason = "paraphrase" if best.cosine >= cosine else "collapsed"
        detail = f"cosine {best.cosine:.2f} to {best.other}"
        refused[sample.id] = Refusal(sample=sample, reason=reason, detail=detail)
    return Curated(
        kept=tuple(sample for sample in samples if sample.id not in refused),
        refused=tuple(refused[s.id] for s in samples if s.id in refused),
    )


def spread(samples: Sequence[Sample], pairs: Sequence[Alike], turn: str) -> dict[str, float]:
    """How different what a teacher wrote for each intent in a turn is, 0..1: 1 less the median
    cosine of each sample to the nearest other. At most .15, since farther pairs are not told.
    """
    found = _nearness(samples, _by_id(pairs))
    return {intent: 1 - value for (intent, of), value in found.items() if of == turn}


def _by_id(pairs: Sequence[Alike]) -> dict[str, list[Alike]]:
    near: dict[str, list[Alike]] = defaultdict(list)
    for pair in pairs:
        near[pair.id].append(pair)
    return near


def _batch(sample: Sample) -> tuple[str, str]:
    return sample.intent, str(sample.provenance.get("turn"))


def _nearness(
    samples: Sequence[Sample], near: Mapping[str, Sequence[Alike]]
) -> dict[tuple[str, str], float]:
    """By intent and turn, the median over what was written of the cosine to the nearest other."""
    written: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sample in samples:
        if sample.origin == "teacher":
            written[_batch(sample)].append(sample.id)
    found = {}
    for batch, ids in written.items():
        if len(ids) > 1:
            own = set(ids)
            nearest = [
                max((p.cosine for p in near.get(i, ()) if p.other in own), default=_LEAST)
                for i in ids
            ]
            found[batch] = median(nearest)
    return found


def in_their_neighbourhood(samples: Sequence[Sample], scores: Mapping[str, NoiseScore]) -> Curated:
    """Refuse what a teacher wrote where no near sample has its intent and another fits better.

    What the blind question vouched for passes: a failing intent needs texts far from those it has.

    Reason: `neighbourhood`.
    """
    kept: list[Sample] = []
    refused: list[Refusal] = []
    for sample in samples:
        score = scores.get(sample.id)
        asked = sample.origin == "teacher" and "blind" not in sample.provenance
        if not asked or score is None or score.agree or score.odds <= 1:
            kept.append(sample)
        else:
            fits = f"{score.top} fits {score.odds:.0f} times better"
            detail = f"none of the nearest has its intent; {fits}"
            refused.append(Refusal(sample=sample, reason="neighbourhood", detail=detail))
    return Curated(kept=tuple(kept), refused=tuple(refused))
