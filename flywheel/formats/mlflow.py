"""MLflow assessments of a trace: feedback, and expectations that carry the right answer.

Reads what `log_feedback` and `log_expectation` are given, and the dictionary form of a stored
assessment. As given, the value decides which of the two it is: a word of praise or blame, a
number or true and false are feedback. The answer is named by the trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.verdicts import Given, correction, judged, right_calls, verdict, word_of
from flywheel.records import RaterKind

NAME = "mlflow"

_RATERS: Mapping[str, RaterKind] = {
    "HUMAN": "user",
    "LLM_JUDGE": "model",
    "AI_JUDGE": "model",
    "CODE": "rule",
    "SOURCE_TYPE_UNSPECIFIED": "user",
}
_TIMES = ("last_update_time", "create_time", "last_update_time_ms", "create_time_ms", "timestamp")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an assessment of a trace."""
    if "trace_id" not in event or "call_type" in event:
        return False
    return bool({"assessment_name", "feedback", "expectation"} & event.keys()) or (
        {"name", "value"} <= event.keys()
    )


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an assessment as feedback; one that failed to be made is skipped.

    Raises:
        BadEvent: `trace_id`, `value` or a time is missing, or the value says nothing of right
            and wrong.
    """
    fields = Fields(NAME, event)
    trace = fields.text("trace_id")
    source = fields.maybe_inner("source")
    given = Given(
        id=fields.maybe_text("assessment_id") or None,
        prediction_id=trace,
        ts=fields.moment_or(context.received, *_TIMES),
        rater=source.maybe_text("source_id"),
        rater_kind=_RATERS[source.choice("source_type", tuple(_RATERS), "HUMAN")],
    )
    stored = next((name for name in ("feedback", "expectation") if fields.get(name)), None)
    if stored is not None and fields.inner(stored).get("error") is not None:
        return skip("is an assessment that failed")
    holder = fields.inner(stored) if stored else fields
    value, path = _value(holder)
    named = fields.get("assessment_name", "name")
    content = [trace, fields.get("span_id"), named, value, fields.get(*_TIMES)]
    if stored == "feedback" or (stored is None and _is_verdict(value)):
        return Parsed(feedback=verdict(judged(value, NAME, path), given, content, NAME))
    calls = right_calls(value, NAME, path, names=True)
    return Parsed(feedback=correction(calls, given, content, NAME))


def _value(holder: Fields) -> tuple[Any, str]:
    """The value and its path; a structured one is kept as JSON text inside `serialized_value`."""
    serialized = holder.get("serialized_value")
    if isinstance(serialized, Mapping) and isinstance(serialized.get("value"), str):
        return serialized["value"], holder.path("serialized_value.value")
    return holder.need("value"), holder.path("value")


def _is_verdict(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or word_of(value) is not None
