"""What a score of another tool says of an answer: right, wrong, or nothing.

The rule of its name in `[feedback.scores]` decides; a name without a rule is judged only where a
person said right or wrong. Pure.

A rule is one of these texts:

    thumbs, boolean      true, 1, up, correct are right; false, 0, -1, down, incorrect are wrong
    boolean inverted     the other way round: true is wrong
    1..5 >= 4            a number of this scale; also <=, > and <
    labels a, b / c      a and b are right, c is wrong
    correction           it names the call that would have been right
    ignore               stored, never judged
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from flywheel.records import Call, Score

Said = Literal["correct", "incorrect"]

TOOL_ERROR = "tool_error"
"""Name of the score that a failed call of a tool becomes: flag, 1, by a rule."""
TOOL_REFUSED = "tool_refused"
"""Name of the score that a person's refusal of a call becomes: flag, 1, by a user."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LIKED = _words(
    "up thumbs_up thumb_up thumbsup upvote upvoted like liked helpful positive 👍 赞 +1"
)
_DISLIKED = _words(
    "down thumbs_down thumb_down thumbsdown downvote downvoted dislike disliked unhelpful "
    "not_helpful negative 👎 踩 -1"
)
_RIGHT = _words("correct right true yes pass passed good accurate 正确 对")
_WRONG = _words("incorrect wrong false no fail failed bad inaccurate 错误 错")
_WORDS: Mapping[str, Said] = {
    **dict.fromkeys(_RIGHT | _LIKED | {"1"}, "correct"),
    **dict.fromkeys(_WRONG | _DISLIKED | {"0"}, "incorrect"),
}
_OF_A_MOOD = frozenset({"positive", "negative", "1", "0", "+1", "-1"})
"""Words that are a verdict only under a name of user feedback: elsewhere a mood, or a rating."""

_USER_FEEDBACK = _words(
    "user_feedback userfeedback human_feedback thumbs thumb thumbs_up thumbsup thumb_up "
    "thumbs_up_down user_thumbs user_thumbs_up feedback end_user_feedback user_rating_thumbs"
)
_OTHER_MATTERS = _words(
    "bias biased characters chars cost costs count distance duration fluency groundedness harm "
    "harmful hallucination hallucinations hallucinated hate injection jailbreak language latency "
    "length ms p50 p95 p99 pii politeness price profanity relevance retries safe safety seconds "
    "sentiment sexism sexual size spam steps time timeout token tokens tone toxic toxicity unsafe "
    "usd verbosity violence"
)
"""Words in a name that speak of something else than whether the call was right."""
_OF_BLAME = _words(
    "abandoned bad blame broken bug complaint disagree dislike disliked down downvote downvoted "
    "error errors escalated fail failed failure false flagged incorrect inaccurate invalid issue "
    "misrouted mistake negative not problem refused regenerate regenerated rejected reported "
    "retry thumbsdown unhappy wrong"
)
"""Words in a name under which true is most likely blame, so that nothing is assumed."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_SCALE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(>=|<=|>|<)\s*({_NUMBER})")
_KINDS = "thumbs, boolean, boolean inverted, 1..5 >= 4, labels good / bad, correction, ignore"
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """A rule of `[feedback.scores]`, read."""

    kind: Literal["thumbs", "scale", "labels", "correction", "ignore"]
    inverted: bool = False  # of thumbs: true is wrong
    low: float = 0.0  # of a scale, both ends included
    high: float = 0.0
    comparison: str = ">="  # of a scale: the number is right where this holds of `at`
    at: float = 0.0
    right: frozenset[str] = frozenset()  # of labels, folded
    wrong: frozenset[str] = frozenset()


@lru_cache(maxsize=1024)
def rule_of(text: str) -> ScoreRule:
    """Return the rule that a text of `[feedback.scores]` means.

    Raises:
        ValueError: it means none, or judges every score alike; the message says why.

    >>> rule_of("1..5 >= 4").at
    4.0
    """
    words = " ".join(text.casefold().split())
    if words in ("thumbs", "boolean", "flag"):
        return ScoreRule(kind="thumbs")
    if words in ("thumbs inverted", "boolean inverted", "flag inverted"):
        return ScoreRule(kind="thumbs", inverted=True)
    if words == "correction":
        return ScoreRule(kind="correction")
    if words == "ignore":
        return ScoreRule(kind="ignore")
    if words == "labels" or words.startswith("labels "):
        return _labels(words.removeprefix("labels"))
    if scale := _SCALE.fullmatch(words):
        return _scale(scale)
    raise ValueError(f"is none of: {_KINDS}")


def said_by(score: Score, rules: Mapping[str, str]) -> Said | tuple[Call, ...] | None:
    """Return what a score says of its answer.

    Args:
        score: as it was seen.
        rules: text of the rule by name, or by "SOURCE:NAME", which stands above the name alone.

    Returns:
        Right or wrong; the calls that would have been right, () for no call; None: it does not
        count.
    """
    text = rule_text(score.source, score.name, rules)
    return _by_default(score) if text is None else _by_rule(score, rule_of(text))


def rule_text(source: str, name: str, rules: Mapping[str, str]) -> str | None:
    """Return the rule that config has for a score of this source and name; None without one.

    Capitals make no difference where no rule has the very name.
    """
    for key in (f"{source}:{name}", name):
        if key in rules:
            return rules[key]
    folded = {key.casefold(): text for key, text in rules.items()}
    return folded.get(f"{source}:{name}".casefold(), folded.get(name.casefold()))


def word_of(label: str) -> Said | None:
    """Return what a word of praise or blame says; None for any other text."""
    return _WORDS.get(_folded_word(label))


def suggestion(
    name: str,
    kind: str,
    low: float | None = None,
    high: float | None = None,
    labels: Iterable[str] = (),
) -> str:
    """Return the line of `[feedback.scores]` that would make a name count, or say that it does not.

    Args:
        name: of the score.
        kind: a `ScoreKind`.
        low, high: least and greatest number seen.
        labels: categories seen.

    >>> suggestion("stars", "number", 1, 5)
    'stars = "1..5 >= 4"'
    """
    key = name if _BARE_KEY.fullmatch(name) else _toml(name)
    return f"{key} = {_toml(_suggested(name, kind, low, high, labels))}"


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _suggested(
    name: str, kind: str, low: float | None, high: float | None, labels: Iterable[str]
) -> str:
    words = _name_words(name)
    if kind == "correction":
        return "correction"
    if kind == "flag" and name in (TOOL_ERROR, TOOL_REFUSED):
        return "boolean inverted"
    if words & _OTHER_MATTERS or kind == "text":
        return "ignore"
    if kind == "flag":
        return "boolean inverted" if words & _OF_BLAME else "boolean"
    if kind == "label":
        return _suggested_labels(labels)
    if low is None or high is None:
        return "ignore"
    for bottom, top, at in ((0, 1, "0.5"), (1, 5, "4"), (0, 5, "4"), (0, 10, "7"), (0, 100, "70")):
        if bottom <= low and high <= top:
            return f"{bottom}..{top} >= {at}"
    return "-1..1 > 0" if low >= -1 and high <= 1 else "ignore"


def _suggested_labels(labels: Iterable[str]) -> str:
    seen = [label for label in labels if not set(label) & set(",/")]
    right = [label for label in seen if word_of(label) == "correct"]
    wrong = [label for label in seen if word_of(label) == "incorrect"]
    return f"labels {', '.join(right) or 'RIGHT'} / {', '.join(wrong) or 'WRONG'}"


def _scale(scale: re.Match[str]) -> ScoreRule:
    low, high, at = (float(scale[group]) for group in (1, 2, 4))
    comparison = scale[3]
    if low >= high:
        raise ValueError(f"has a scale from {low:g} to {high:g}: write the lower end first")
    if not low <= at <= high:
        raise ValueError(f"compares with {at:g}, which is not in {low:g}..{high:g}")
    holds = _COMPARISONS[comparison]
    if holds(low, at) == holds(high, at):
        every = "right" if holds(low, at) else "wrong"
        raise ValueError(f"says of every number of {low:g}..{high:g} that it is {every}")
    return ScoreRule(kind="scale", low=low, high=high, comparison=comparison, at=at)


def _labels(text: str) -> ScoreRule:
    sides = text.split("/")
    if len(sides) != 2:
        raise ValueError('needs one `/` between right and wrong labels: "labels good / bad"')
    right, wrong = (
        frozenset(label for part in side.split(",") if (label := part.strip())) for side in sides
    )
    if not right | wrong:
        raise ValueError('names no label: write them as "labels good, fine / bad, poor"')
    if right & wrong:
        raise ValueError(f"has `{min(right & wrong)}` on both sides")
    return ScoreRule(kind="labels", right=right, wrong=wrong)


def _by_rule(score: Score, rule: ScoreRule) -> Said | tuple[Call, ...] | None:
    match rule.kind:
        case "ignore":
            return None
        case "correction":
            return score.calls if score.kind == "correction" else None
        case "labels":
            label = " ".join(score.label.casefold().split())
            if label in rule.right:
                return "correct"
            return "incorrect" if label in rule.wrong else None
        case "scale":
            number = _number(score)
            if number is None or not rule.low <= number <= rule.high:
                return None
            return _said(_COMPARISONS[rule.comparison](number, rule.at))
        case "thumbs":
            said = word_of(score.label) or _thumb(score.value)
            return _other(said) if said and rule.inverted else said


def _by_default(score: Score) -> Said | tuple[Call, ...] | None:
    """Only what a person said, and only of a name that speaks of right and wrong."""
    if score.kind == "text" or score.rater_kind in ("model", "rule"):
        return None
    if score.kind == "correction":
        return score.calls if score.person else None
    if "_".join(_split(score.name)) in _USER_FEEDBACK:
        said = _thumb(score.value) if score.value in (0, 1) else None
        return word_of(score.label) if score.label else said
    if not score.person or _name_words(score.name) & (_OTHER_MATTERS | _OF_BLAME):
        return None
    said = None if _folded_word(score.label) in _OF_A_MOOD else word_of(score.label)
    flag = score.kind == "flag" and not score.label
    return _thumb(score.value) if flag else said


def _thumb(value: float | None) -> Said | None:
    """1 is up; 0 and -1 are down; other numbers are of another scale."""
    if value is None or value not in (1, 0, -1):
        return None
    return _said(value == 1)


def _number(score: Score) -> float | None:
    """The number of a score, or the one that its label is written as."""
    if score.value is not None:
        return score.value
    try:
        number = float(score.label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _said(right: bool) -> Said:
    return "correct" if right else "incorrect"


def _other(said: Said) -> Said:
    return "incorrect" if said == "correct" else "correct"


def _folded_word(label: str) -> str:
    return re.sub(r"[\s_-]+", "_", label.strip().casefold()) if label.strip() != "-1" else "-1"


def _name_words(name: str) -> set[str]:
    return set(_split(name))


def _split(name: str) -> list[str]:
    """The words of a name: `latencySeconds`, `latency_seconds` and "Latency seconds" have two."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return [word for word in re.split(r"[\W_]+", spaced.casefold()) if word]
