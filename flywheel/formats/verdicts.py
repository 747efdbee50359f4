"""Foreign scores: each is stored as it was seen, and is feedback where the rules count it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from flywheel import score_rules
from flywheel.content import content_id
from flywheel.formats.calls import NO_CALL, message_calls, one_call
from flywheel.formats.reading import BadEvent, Context, Parsed, plain, unicode
from flywheel.records import Call, Feedback, RaterKind, Score, ScoreKind

_ARGUMENTS = {"arguments", "raw_arguments", "input", "parameters"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a piece of feedback has beside its verdict."""

    id: str | None  # None: named by its content
    prediction_id: str
    ts: datetime
    rater: str = ""
    rater_kind: RaterKind = "user"
    person: bool = False  # the source says that a person gave it


def scored(score: Score, context: Context) -> Parsed:
    """Return a score as seen, and as feedback where the rules count it."""
    feedback = counted(score, context.scores)
    return Parsed(scores=(score,), feedback=(feedback,) if feedback else ())


def counted(score: Score, rules: Mapping[str, str]) -> Feedback | None:
    """Return the feedback that a score is; None where it does not count.

    Args:
        score: as it was seen.
        rules: `[feedback.scores]`, by name or by "SOURCE:NAME".
    """
    said = score_rules.said_by(score, rules)
    if said is None and score.kind in ("label", "text"):
        said = _named_calls(score, rules)
    if said is None:
        return None
    calls = () if isinstance(said, str) else said
    first = None if isinstance(said, str) else calls[0] if calls else NO_CALL
    return Feedback(
        id=score.id,
        prediction_id=score.prediction_id,
        ts=score.ts,
        verdict=said if isinstance(said, str) else "corrected",
        intent=first.intent if first else None,
        arguments=first.arguments if first else None,
        calls=calls if len(calls) > 1 else (),
        rater=score.rater,
        rater_kind=score.rater_kind,
        score=f"{score.source}:{score.name}",
    )


def score(
    given: Given,
    source: str,
    name: str,
    value: Any = None,
    label: str = "",
    *,
    kind: ScoreKind | None = None,
) -> Score:
    """Return a score as its tool has it; the rules that count it are `[feedback.scores]`.

    A score without an id is named by its content and its time, which is the time of receipt where
    it has none: a verdict that is given again later is another verdict.

    Args:
        given: the target and the giver.
        source: the format it came in.
        name: of the score, as the tool has it.
        value: true, false, a number, a text that is then the label, or None.
        label: a category or word beside the value.
        kind: where the tool says it; None: flag, number or label, as the value is.

    Raises:
        BadEvent: the value is none of these, or no finite number.
    """
    if isinstance(value, str):
        value, label = None, label or value
    number = _finite(value, source)
    if kind is None:
        kind = "label" if label else "flag" if isinstance(value, bool) else "number"
    return _score(given, source, name, kind, number, unicode(label, source, "label"))


def correction_score(given: Given, source: str, name: str, calls: Sequence[Call]) -> Score:
    """Return the right calls as a score; no calls: no call would have been right."""
    return _score(given, source, name, "correction", calls=calls)


def _score(
    given: Given,
    source: str,
    name: str,
    kind: ScoreKind,
    value: float | None = None,
    label: str = "",
    calls: Sequence[Call] = (),
) -> Score:
    content = [
        name,
        given.prediction_id,
        kind,
        value,
        label,
        [[call.intent, call.arguments] for call in calls],
    ]
    whose = [given.rater, given.rater_kind, given.ts.isoformat()]
    return Score(
        id=given.id or _name([*content, *whose], source),
        prediction_id=given.prediction_id,
        ts=given.ts,
        source=source,
        name=name,
        kind=kind,
        value=value,
        label=label,
        calls=tuple(calls),
        rater=given.rater,
        rater_kind=given.rater_kind,
        person=given.person,
    )


def _finite(value: Any, source: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, (bool, int, float)) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise BadEvent(source, "value", "is neither true or false, a finite number nor a text")
    return number


def _named_calls(score: Score, rules: Mapping[str, str]) -> tuple[Call, ...] | None:
    """Calls that a text names, under a name whose rule says that it is a correction."""
    text = score_rules.rule_text(score.source, score.name, rules)
    if text is None or score_rules.rule_of(text).kind != "correction":
        return None
    try:
        return right_calls(score.label, score.source, "label", names=True)
    except BadEvent:
        return None


def right_calls(value: Any, format: str, path: str, *, names: bool) -> tuple[Call, ...]:
    """Return the calls of a right answer; empty: no call would be right.

    A call {name, arguments}, a message, a list of calls, blocks or messages, or JSON text of one
    of these.

    Args:
        value: the right answer.
        format: for errors.
        path: of the field, for errors.
        names: a bare word is an intent's name; otherwise any text is an answer without a call.
    """
    if isinstance(value, str):
        return _from_text(value, format, path, names)
    if isinstance(value, Mapping):
        return _from_object(value, format, path)
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (list, tuple)) and not item for item in value):
            raise BadEvent(format, path, "holds an empty list")
        return tuple(
            call for item in value for call in right_calls(item, format, path, names=names)
        )
    raise BadEvent(format, path, "is not a function call")


def _from_text(text: str, format: str, path: str, names: bool) -> tuple[Call, ...]:
    word = text.strip()
    if word[:1] in ("{", "["):
        try:
            return right_calls(msgspec.json.decode(word), format, path, names=names)
        except (msgspec.DecodeError, RecursionError):
            pass  # a text that merely begins like JSON
    if not names or word == NO_CALL.intent:
        return ()
    if not word or not all(part.isidentifier() for part in word.replace("-", "_").split(".")):
        raise BadEvent(format, path, "is a text, not a function call")
    return (Call(word, None),)


def _from_object(value: Mapping[str, Any], format: str, path: str) -> tuple[Call, ...]:
    for name in ("message", "choices", "parsed"):
        if isinstance(value.get(name), (Mapping, list, tuple)):
            return right_calls(value[name], format, f"{path}.{name}", names=False)
    if (
        any(name in value for name in ("role", "tool_calls", "parts"))
        or value.get("type") == "text"
    ):
        return message_calls(value, format, path)
    if "intent" in value and value["intent"] is None:
        return ()
    call = one_call(value, format, path)
    if not _ARGUMENTS & value.keys() and "function" not in value:
        call = Call(call.intent, None)
    return () if call.intent == NO_CALL.intent else (call,)


def _name(content: Any, format: str) -> str:
    return content_id("f", [format, plain(content, format, "")])
