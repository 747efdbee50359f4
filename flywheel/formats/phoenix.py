"""Phoenix annotations of spans and traces: a person's, a model's or a rule's word on an answer.

Reads what the annotation API takes and returns, and the flat rows of its dataframes. An annotation
has no time of its own unless it was read back from Phoenix; its time is then when it was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.reading import Context, Fields, Parsed, skip
from flywheel.formats.verdicts import Given, score, scored
from flywheel.records import RaterKind

NAME = "phoenix"

_RATERS: Mapping[str, RaterKind] = {"HUMAN": "user", "LLM": "model", "CODE": "rule"}
_TIMES = ("updated_at", "created_at", "timestamp")
_SPANS = ("span_id", "context.span_id")
_TRACES = ("trace_id", "context.trace_id")
_LABELS = ("label", "result.label")
_SCORES = ("score", "result.score")
_FLAT = (*_LABELS, *_SCORES, "explanation", "result.explanation")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an annotation, whole or as a row of a table."""
    if "openinference.span.kind" in event or "attributes.openinference.span.kind" in event:
        return False
    targets = {*_SPANS, *_TRACES, "session_id"} & event.keys()
    if targets and "annotator_kind" in event:
        return True
    named = "annotation_name" in event or ("name" in event and "context.span_id" in event)
    return bool(targets) and named and bool({*_FLAT, "result"} & event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an annotation as a score: its label, and its number beside it.

    One without label and number is a note. Annotations of documents and of sessions are skipped.

    Raises:
        BadEvent: the span, the name, the result or a time is missing.
    """
    fields = Fields(NAME, event)
    if fields.get("document_position") is not None:
        return skip("is an annotation of a document, not of an answer")
    if fields.get(*_SPANS, *_TRACES) is None and fields.get("session_id") is not None:
        return skip("is an annotation of a session, not of an answer")
    target = fields.text(*_SPANS, *_TRACES)
    name = fields.text("annotation_name", "name")
    kind = fields.maybe_text("annotator_kind").upper()
    if kind and kind not in _RATERS:
        raise fields.bad("annotator_kind", f"is `{kind}`, none of {', '.join(_RATERS)}")
    given = Given(
        id=None,  # Phoenix keeps the id of an annotation that is changed
        prediction_id=target,
        ts=fields.moment_or(context.received, *_TIMES),
        rater=fields.maybe_text("user_id", "identifier"),
        rater_kind=_RATERS.get(kind, "user"),
        person=kind == "HUMAN",
    )
    flat = bool({*_LABELS, *_SCORES} & event.keys())
    result = fields if flat else fields.inner("result")
    label, number = result.maybe_text(*_LABELS), result.number(*_SCORES)
    if label or number is not None:
        return scored(score(given, NAME, name, number, label), context)
    note = result.maybe_text("explanation", "result.explanation")
    if not note:
        raise result.bad("score", "is missing")
    return scored(score(given, NAME, name, label=note, kind="text"), context)
