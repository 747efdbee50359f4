"""MLflow assessments of a trace, and traces: what was asked and answered, with its assessments.

Reads what `log_feedback` and `log_expectation` are given, the dictionary form of a stored
assessment, and traces as they are exported. As given, the value decides which of the two an
assessment is: a word of praise or blame, a number or true and false are feedback. The answer is
named by the trace. An assessment that another one overrides is skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flywheel.formats import mlflow_traces
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed, RejectedLine, merged, skip
from flywheel.formats.verdicts import Given, correction_score, right_calls, score, scored
from flywheel.records import NONE, Call, RaterKind, Score
from flywheel.score_rules import word_of

NAME = mlflow_traces.NAME

_RATERS: Mapping[str, RaterKind] = {
    "HUMAN": "user",
    "LLM_JUDGE": "model",
    "AI_JUDGE": "model",
    "CODE": "rule",
    "SOURCE_TYPE_UNSPECIFIED": "user",
}
_TIMES = ("last_update_time", "create_time", "last_update_time_ms", "create_time_ms", "timestamp")
_MADE = ("create_time", "create_time_ms")
_CHANGED = ("last_update_time", "last_update_time_ms")
_NAMES_A_CALL = frozenset({"intent", "call", "calls", "function", "tool", "tools", "route"})
"""Words in an expectation's name under which any name is that of an intent."""
_OF_LANGFUSE = {"data_type", "string_value", "observation_id", "project_id"}


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an assessment of a trace, or a trace."""
    if mlflow_traces.recognises(event):
        return True
    if "trace_id" not in event or "call_type" in event or _OF_LANGFUSE & event.keys():
        return False
    return bool({"assessment_name", "feedback", "expectation"} & event.keys()) or (
        {"name", "value"} <= event.keys()
    )


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an assessment as a score, or a trace as a prediction with the scores of it.

    Raises:
        BadEvent: `trace_id`, `value` or a time is missing; of a trace, what was asked or answered.
    """
    if not mlflow_traces.recognises(event):
        return _assessment(Fields(NAME, event), context)
    trace = mlflow_traces.read(event, context)
    answer = [prediction.id for prediction in trace.predictions]
    parts = [trace]
    for number, assessment in enumerate(mlflow_traces.assessments(event)):
        named = {"trace_id": answer[0], **assessment} if answer else assessment
        parts.append(_one_of(Fields(NAME, named, f"assessments[{number}]"), context))
    return merged(parts)


def _one_of(fields: Fields, context: Context) -> Parsed:
    """One assessment of a trace; a bad one spoils no other."""
    try:
        return _assessment(fields, context)
    except BadEvent as error:
        raw = json.dumps(fields.value, ensure_ascii=False, default=str)
        line = RejectedLine(line=0, raw=raw, field=error.field, why=error.why, format=NAME)
        return Parsed(rejected=(line,))


def _assessment(fields: Fields, context: Context) -> Parsed:
    """One assessment; a failed, invalid or overridden one is skipped."""
    if str(fields.value.get("valid")).casefold() in ("false", "0"):
        return skip("is an assessment that is not valid, or that another one overrides")
    stored = next((name for name in ("feedback", "expectation") if fields.get(name)), None)
    holder = fields.inner(stored) if stored else fields
    if stored is not None and holder.get("error") is not None:
        return skip("is an assessment that failed")
    name = fields.maybe_text("assessment_name", "name", default="assessment")
    value, path = _value(holder)
    feedback = stored == "feedback" or (stored is None and _is_verdict(value))
    given = _given(fields, context, expectation=not feedback)
    if feedback:
        return scored(_judgement(given, name, value), context)
    calls = _expected(name, value, path, context)
    if calls is None:
        return scored(score(given, NAME, name, label=_written(value), kind="text"), context)
    return scored(correction_score(given, NAME, name, calls), context)


def _given(fields: Fields, context: Context, *, expectation: bool) -> Given:
    """Who gave an assessment, and when; without a source it is a person's only if it is what was
    expected, as MLflow has it."""
    source = fields.maybe_inner("source")
    kind = source.maybe_text("source_type").upper()
    if kind and kind not in _RATERS:
        raise source.bad("source_type", f"is `{kind}`, none of {', '.join(_RATERS)}")
    rater = source.maybe_text("source_id")
    return Given(
        id=None if _edited(fields) else fields.maybe_text("assessment_id") or None,
        prediction_id=fields.text("trace_id"),
        ts=fields.moment_or(context.received, *_TIMES),
        rater="" if rater == "default" else rater,
        rater_kind=_RATERS.get(kind, "user"),
        person=kind == "HUMAN" or (not kind and expectation),
    )


def _edited(fields: Fields) -> bool:
    """Whether an assessment was changed in its place: it keeps its id then, and says another."""
    if fields.get(*_MADE) is None or fields.get(*_CHANGED) is None:
        return False
    made = fields.moment(*_MADE, naive_is_utc=True)
    return fields.moment(*_CHANGED, naive_is_utc=True) > made


def _judgement(given: Given, name: str, value: Any) -> Score:
    if isinstance(value, (Mapping, list, tuple)):
        return score(given, NAME, name, label=_written(value), kind="text")
    return score(given, NAME, name, value)


def _expected(name: str, value: Any, path: str, context: Context) -> tuple[Call, ...] | None:
    """Calls that an expectation names; None where it speaks of something else."""
    try:
        calls = right_calls(value, NAME, path, names=True)
    except BadEvent:
        return None
    if not calls and not _says_none(value):
        return None  # words: an answer, which may stand beside any call
    if _NAMES_A_CALL & set(name.casefold().replace("-", "_").split("_")):
        return calls
    bare = any(call.arguments is None for call in calls)  # words alone, which may be an answer
    if context.known is None:
        return None if bare else calls
    return calls if all(call.intent in context.known for call in calls) else None


def _says_none(value: Any) -> bool:
    """Whether a value without a call says so: `none`, an empty list, an intent that is null."""
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return isinstance(value, str) and value.strip().casefold() == NONE
    if isinstance(value, Mapping):
        return "intent" in value or value.get("name") == NONE
    return value in ([], NONE)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _value(holder: Fields) -> tuple[Any, str]:
    """The value and its path; a structured one is kept as JSON text inside `serialized_value`."""
    serialized = holder.get("serialized_value")
    if isinstance(serialized, Mapping) and isinstance(serialized.get("value"), str):
        return serialized["value"], holder.path("serialized_value.value")
    return holder.need("value"), holder.path("value")


def _is_verdict(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (
        isinstance(value, str) and word_of(value) is not None
    )
