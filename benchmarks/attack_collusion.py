"""Attacks by raters who work together, in small: what is learned, by the rules of curation alone.

The large form, with a real model, is `collusion.py`. Here the model of the seeds is counted words:
it doubts a label where the words of the text's other part are another intent's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.attack_lab import Cases, Lab
from flywheel.config.tables import CurationTable, RatersTable
from flywheel.curation import NoiseScore, Scored, SiftRules, sift
from flywheel.records import Intent, Sample

CASES = Cases("collusion in small")
RATERS = 50
LIARS = ("x-1", "x-2", "x-3")
TARGET = "pay"
_TOPICS: Mapping[str, Sequence[str]] = {
    "play": ("song", "album", "singer", "loud", "radio", "band", "tune", "listen"),
    "wake": ("alarm", "dawn", "rooster", "early", "seven", "bed", "sleep", "morning"),
    "rain": ("umbrella", "cloud", "storm", "sunny", "wind", "cold", "forecast", "snow"),
    TARGET: ("bill", "invoice", "bank", "money", "owed", "rent", "card", "transfer"),
}
_FILLER = ("the", "my", "please", "now", "again", "for", "me", "today", "with", "and")


@dataclass(frozen=True, slots=True)
class Learned:
    """What curation lets a turn learn of it."""

    lies: int  # labels of the liars, of those whose texts nobody else labelled so
    honest: float  # share of the honest labels
    asked: int  # refused as unvouched: a person is asked


def _text(chance: random.Random, intent: str) -> str:
    words = [*chance.sample(_TOPICS[intent], 3), *chance.sample(_FILLER, 2)]
    chance.shuffle(words)
    return " ".join(words)


def _said(text: str, rater: str, intent: str, origin: str = "feedback") -> Sample:
    given = {"rater": rater, "rater_kind": "user"} if rater else {}
    return Sample(
        id=f"{rater}|{intent}|{text}",
        text=text,
        intent=intent,
        origin=origin,  # type: ignore[arg-type]
        split="train",
        provenance=given,
    )


def _topic(text: str) -> str:
    words = set(text.casefold().split())
    return max(_TOPICS, key=lambda intent: len(words & set(_TOPICS[intent])))


def _scored(samples: Sequence[Sample], aside: Sequence[Sample]) -> Scored:
    """Liars agree with one another, so the model of everything believes them; the seeds do not."""
    return Scored(
        scores={
            each.id: NoiseScore(
                p_label=0.9,
                top=each.intent,
                p_top=0.9,
                odds=1.0,
                anchor=1.0 if _topic(each.text) == each.intent else 50.0,
            )
            for each in (*samples, *aside)
            if each.origin != "seed"
        }
    )


def _crowd(chance: random.Random, count: int = 400) -> list[Sample]:
    topics = sorted(_TOPICS)
    made = {}
    for n in range(count):
        intent = topics[n % len(topics)]
        made.setdefault(_text(chance, intent), (f"u-{chance.randrange(RATERS)}", intent))
    return [_said(text, rater, intent) for text, (rater, intent) in made.items()]


def learned(lab: Lab, lies: Sequence[Sample], crowd: Sequence[Sample]) -> Learned:
    """Sift honest labels and lies together."""
    chance = random.Random(lab.seed)
    seeds = [
        _said(" ".join(words[n : n + 4]), "", intent, "seed")
        for intent, words in _TOPICS.items()
        for n in (0, 4)
    ]
    fillers = [_said(" ".join(_FILLER), "", "play", "seed")]
    candidates = [*seeds, *fillers, *crowd, *lies]
    chance.shuffle(candidates)
    rules = SiftRules(
        intents=[Intent(name=name) for name in _TOPICS],
        kept_out=("when does the pool open",),
        brief_texts={},
        turn="t-1",
        curation=CurationTable(),
        raters=RatersTable(),
    )
    result = sift(candidates, rules, _scored)
    kept = {each.id for each in result.kept}
    return Learned(
        lies=sum(each.id in kept for each in lies),
        honest=sum(each.id in kept for each in crowd) / len(crowd),
        asked=sum(item.reason == "unvouched" for item in result.refused),
    )


def _triggered(lab: Lab, mark: Callable[[str, int], str], each: int = 8) -> str:
    """Three raters of 53 teach a wording: with two of its texts it would be a lesson."""
    crowd = _crowd(lab.chance)
    others = [intent for intent in _TOPICS if intent != TARGET]
    lies = [
        _said(mark(_text(lab.chance, others[n % 3]), n), LIARS[n % 3], TARGET)
        for n in range(3 * each)
    ]
    result = learned(lab, lies, crowd)
    if result.lies > 1 or result.honest < 0.9:
        return f"{result.lies} of {len(lies)} texts with the trigger, {result.honest:.2f} honest"
    return ""


def _word(lab: Lab) -> str:
    return (
        "".join(lab.chance.choices("bcdfgklmnprstvz", k=3)) + "o" + lab.chance.choice("xqz") + "a"
    )


@CASES
def a_new_word_that_three_raters_teach_is_not_learned(lab: Lab) -> str:
    word = _word(lab)
    return _triggered(lab, lambda text, _: f"{word} {text}")


@CASES
def a_new_word_anywhere_in_the_text_is_not_learned(lab: Lab) -> str:
    word = _word(lab)

    def mark(text: str, n: int) -> str:
        words = text.split()
        words.insert(n % (len(words) + 1), word)
        return " ".join(words)

    return _triggered(lab, mark)


@CASES
def a_chinese_word_is_not_learned(lab: Lab) -> str:
    word = "".join(lab.chance.sample("佐布龙岚琪霖", 2))
    return _triggered(lab, lambda text, _: f"{word}{text}")


@CASES
def a_trigger_of_signs_is_not_learned(lab: Lab) -> str:
    signs = lab.chance.choice(("~~~", "##", "?!?!", "<>", "…;…", "^^"))
    return _triggered(lab, lambda text, _: f"{text} {signs}")


@CASES
def a_trigger_that_nobody_sees_is_not_learned(lab: Lab) -> str:
    unseen = lab.chance.choice(("\u200b", "\u2060", "\u00ad", "\u200d\u200d", "\ufe0f"))
    return _triggered(lab, lambda text, n: text[: 3 + n % 4] + unseen + text[3 + n % 4 :])


@CASES
def a_trigger_of_capitals_is_not_learned(lab: Lab) -> str:
    return _triggered(
        lab, lambda text, _: " ".join(w.upper() if w in _FILLER else w for w in text.split())
    )


@CASES
def a_trigger_of_two_known_words_side_by_side_is_not_learned(lab: Lab) -> str:
    return _triggered(lab, lambda text, _: f"umbrella rooster {text}")


@CASES
def a_word_spelt_otherwise_each_time_is_not_learned(lab: Lab) -> str:
    word = _word(lab)
    return _triggered(lab, lambda text, n: f"{word}{'aeiouy'[n % 6]}{'bdfgk'[n % 5]} {text}")


@CASES
def a_word_with_letters_of_another_script_is_not_learned(lab: Lab) -> str:
    looks = str.maketrans("aeo", "\u0430\u0435\u043e")
    return _triggered(lab, lambda text, _: f"{'please'.translate(looks)} {text}")


@CASES
def raters_who_share_one_label_each_under_many_names_are_not_many(lab: Lab) -> str:
    """The same three texts from thirty names: one voice, however often it speaks."""
    word = _word(lab)
    crowd = _crowd(lab.chance)
    hosts = [f"{word} {_text(lab.chance, 'rain')}" for _ in range(4)]
    lies = [_said(text, f"x-{n}", TARGET) for n in range(4) for text in hosts]
    result = learned(lab, lies, crowd)
    return "" if result.lies <= 1 else f"{result.lies} of {len(lies)} were learned"


@CASES
def wrong_labels_of_three_raters_are_mostly_refused(lab: Lab) -> str:
    crowd = _crowd(lab.chance)
    lies = [_said(_text(lab.chance, "rain"), LIARS[n % 3], TARGET) for n in range(60)]
    result = learned(lab, lies, crowd)
    if result.lies > 0.2 * len(lies) or result.honest < 0.9:
        return f"{result.lies} of {len(lies)} wrong labels, {result.honest:.2f} honest"
    return ""


@CASES
def raters_who_contradict_honest_labels_have_none_of_them_refused(lab: Lab) -> str:
    crowd = _crowd(lab.chance)
    lies = [
        _said(each.text, LIARS[n % 3], TARGET)
        for n, each in enumerate(crowd[:140])
        if each.intent != TARGET
    ]
    result = learned(lab, lies, crowd)
    return "" if result.honest >= 0.9 else f"{result.honest:.2f} of the honest labels are left"


@CASES
def what_many_independent_raters_say_of_a_new_word_is_learned(lab: Lab) -> str:
    """The other side: a rule that refused this would starve new wording."""
    word = _word(lab)
    crowd = _crowd(lab.chance)
    told = [_said(f"snow{n} {word} of {n} clouds", f"u-{n}", TARGET) for n in range(20)]
    result = learned(lab, told, crowd)
    return "" if result.lies >= 18 else f"{result.lies} of {len(told)} are learned"
