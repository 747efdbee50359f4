"""Which script a text is written in, as far as its letters tell.

By the names of its characters in the Unicode data that Python brings. Languages that share a
script are not told apart: on utterances of a few words no small detector does that reliably,
and the blind question asks about the meaning anyhow.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from flywheel.curation.screening import Curated
from flywheel.records import Refusal, Sample

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
