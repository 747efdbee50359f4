"""Phoenix span annotations: a person's, a model's or a rule's word on a span.

An annotation has no time of its own unless it was read back from Phoenix; its time is then when
it was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.reading import Context, Fields, Parsed
from flywheel.formats.verdicts import Given, judged, verdict, word_of
from flywheel.records import RaterKind

NAME = "phoenix"

_RATERS: Mapping[str, RaterKind] = {"HUMAN": "user", "LLM": "model", "CODE": "rule"}
_TIMES = ("updated_at", "created_at", "timestamp")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an annotation of a span."""
    return "span_id" in event and "annotator_kind" in event


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an annotation as feedback on the span's answer: its label where that says right or
    wrong, otherwise its score.

    Raises:
        BadEvent: `span_id`, `annotator_kind`, `result` or a time is missing.
    """
    fields = Fields(NAME, event)
    span, name = fields.text("span_id"), fields.text("name")
    kind = _RATERS[fields.choice("annotator_kind", tuple(_RATERS))]
    result = fields.inner("result")
    label, score = result.get("label"), result.get("score")
    if label is None and score is None:
        raise result.bad("score", "is missing")
    said = word_of(label)
    if said is None:
        which = "label" if score is None else "score"
        said = judged(label if score is None else score, NAME, f"result.{which}")
    identifier = fields.maybe_text("identifier")
    content = [span, name, identifier, label, score, fields.get(*_TIMES)]
    given = Given(
        id=None,
        prediction_id=span,
        ts=fields.moment_or(context.received, *_TIMES),
        rater=fields.maybe_text("user_id"),
        rater_kind=kind,
    )
    return Parsed(feedback=verdict(said, given, content, NAME))
