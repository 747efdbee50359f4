"""Which format an event is in, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, cast

from flywheel.formats import (
    langfuse,
    litellm,
    mlflow,
    native,
    openai,
    otel,
    phoenix,
    rasa,
    sft,
    tensorzero,
)
from flywheel.formats.reading import BadEvent, Context, Fields, Parsed
from flywheel.records import Intent, Prediction, Sample

AUTO = "auto"
KINDS = ("predictions", "feedback", "samples")


class Reader(Protocol):
    """One format: its name, its shape, and a pure function from an event to records."""

    NAME: str

    def recognises(self, event: Mapping[str, Any], /) -> bool:
        """Whether the event has the format's shape."""

    def read(self, event: Mapping[str, Any], context: Context, /) -> Parsed:
        """Return what the event says; BadEvent names the field at fault."""


_FOREIGN = (otel, tensorzero, langfuse, phoenix, litellm, mlflow, rasa, openai)
FORMATS: Mapping[str, Reader] = {
    reader.NAME: cast("Reader", reader) for reader in (native, *_FOREIGN, sft)
}
"""Every format by name, in the order in which shapes are tried."""


def detect(event: Mapping[str, Any], kind: str | None = None) -> str:
    """Return the name of the format whose shape the event has.

    An event of no known shape is taken for native where it is known what it should be, so that
    the error says which field of the native form is missing.

    Raises:
        BadEvent: of no known shape, and `kind` does not say what it should be.
    """
    for name, reader in FORMATS.items():
        if reader.recognises(event) and not (name == sft.NAME and kind not in (None, "samples")):
            return name
    if kind is not None or {"text", "prediction_id", "verdict"} & event.keys():
        return native.NAME
    raise BadEvent(AUTO, "", f"has the shape of none of {', '.join(FORMATS)}")


def parse(
    event: Mapping[str, Any],
    kind: str | None = None,
    format: str = AUTO,
    context_turns: int = 0,
    *,
    received: datetime | None = None,
    known: Mapping[str, Intent] | None = None,
) -> Parsed:
    """Return what one event says, in flywheel's records.

    A foreign event is what its shape says, whatever `kind` is; only as a sample a logged answer
    becomes a label, and the event must then name its `split`.

    Args:
        event: native or foreign.
        kind: "predictions", "feedback" or "samples"; None: by shape.
        format: a key of `FORMATS`, or "auto".
        context_turns: earlier user messages put before the last one, a line each.
        received: time of an event that has none (some feedback), UTC.
        known: intents by name that a sample may have, `none` aside; None: any.

    Raises:
        BadEvent: with the format, the field, and why.
        ValueError: `kind` or `format` is none of the known.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind `{kind}` is none of {', '.join(KINDS)}")
    if format != AUTO and format not in FORMATS:
        raise ValueError(f"format `{format}` is none of {AUTO}, {', '.join(FORMATS)}")
    if not isinstance(event, Mapping):
        raise BadEvent(format, "", "is not an object")
    name = detect(event, kind) if format == AUTO else format
    context = Context(context_turns=context_turns, received=received, known=known, kind=kind)
    try:
        parsed = FORMATS[name].read(event, context)
        if kind == "samples" and parsed.predictions:
            return _as_samples(parsed, Fields(name, event), known)
    except RecursionError:
        raise BadEvent(name, "", "is nested too deeply") from None
    return parsed


def _as_samples(parsed: Parsed, fields: Fields, known: Mapping[str, Intent] | None) -> Parsed:
    samples = tuple(_as_sample(prediction, fields, known) for prediction in parsed.predictions)
    return replace(parsed, predictions=(), samples=samples)


def _as_sample(
    prediction: Prediction, fields: Fields, known: Mapping[str, Intent] | None
) -> Sample:
    sample = native.labelled(
        fields, prediction.text, prediction.intent, prediction.arguments, known
    )
    slices = {**prediction.slices, **sample.slices}
    return replace(
        sample, slices=slices, provenance={**sample.provenance, "prediction": prediction.id}
    )
