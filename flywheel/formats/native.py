"""flywheel's own events: predictions, feedback and samples.

A prediction or sample may hold `messages` in place of `text`; it is then judged on the last user
message. Keys that are not known are ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, cast, get_args

from flywheel.content import sample_id
from flywheel.event_columns import EventColumn, columns_of
from flywheel.formats.calls import Exchange, arguments, exchange, one_call, predictions
from flywheel.formats.reading import BadEvent, Choice, Context, Fields, Parsed, plain
from flywheel.parameters import argument_problems
from flywheel.records import (
    NONE,
    Call,
    Feedback,
    Intent,
    Origin,
    Prediction,
    Sample,
    Split,
    VerdictOnPrediction,
)

NAME = "native"
SPLITS = ("seed", "train", "dev", "golden", "fresh")  # a seed is of split train

_ORIGINS = get_args(Origin)
_VERDICTS = get_args(VerdictOnPrediction)
_FROM_THE_CALL = ("text", "intent", "arguments", "calls")  # of a prediction
_FROM_THE_VERDICT = ("verdict", "intent", "arguments", "calls")  # of feedback
_PREDICTION_COLUMNS = tuple(
    column for column in columns_of(Prediction) if column.name not in _FROM_THE_CALL
)
_FEEDBACK_COLUMNS = tuple(
    column for column in columns_of(Feedback) if column.name not in _FROM_THE_VERDICT
)


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether the event has the whole shape of a native one."""
    if "prediction_id" in event and "verdict" in event:
        return True
    spoken = "text" in event or "messages" in event
    return spoken and ({"id", "ts"} <= event.keys() or {"intent", "split"} <= event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the one event as records.

    Raises:
        BadEvent: a field is missing or wrong.
    """
    kind = context.kind
    if kind == "feedback" or (kind is None and "verdict" in event):
        return Parsed(feedback=(feedback(event),))
    if kind == "samples" or (kind is None and "split" in event):
        kept, answer = sample(event, context.known, context.context_turns)
        return Parsed(samples=(kept,), answers={kept.id: answer} if answer else {})
    return Parsed(predictions=_predictions(event, context.context_turns))


def prediction(event: Mapping[str, Any], context_turns: int = 0) -> Prediction:
    """Return a prediction; of an answer with several calls, the first.

    Raises:
        BadEvent: `id`, `ts` or `text` is missing, or a field is wrong.
    """
    return _predictions(event, context_turns)[0]


def feedback(event: Mapping[str, Any]) -> Feedback:
    """Return a verdict on a prediction.

    Raises:
        BadEvent: `id`, `prediction_id`, `ts` or `verdict` is missing, `intent` is where the
            verdict is corrected, or a field is wrong.
    """
    fields = Fields(NAME, event)
    verdict = fields.choice("verdict", _VERDICTS)
    if verdict == "corrected" and not {"intent", "calls"} & event.keys():
        raise fields.bad("intent", "is missing: the verdict is corrected")
    right = fields.maybe_text("intent", default=NONE if verdict == "corrected" else "")
    calls = _calls(fields)
    first = calls[0] if calls else Call(right, _maybe_arguments(fields))
    return Feedback(
        verdict=cast("VerdictOnPrediction", verdict),
        intent=first.intent or None,
        arguments=first.arguments,
        calls=calls if len(calls) > 1 else (),
        **{column.name: _value(fields, column) for column in _FEEDBACK_COLUMNS},
    )


def sample(
    event: Mapping[str, Any], known: Mapping[str, Intent] | None = None, context_turns: int = 0
) -> tuple[Sample, Choice | None]:
    """Return a labelled text, and what the production model answered to it where that is given.

    `split: "seed"` is split train of origin seed; otherwise a person answers for the label unless
    `origin` says who does. `intent: null` means no call.

    Args:
        event: native event.
        known: intents by name, `none` aside; None: any, and their arguments are not judged.
        context_turns: earlier user messages put before the last one.

    Raises:
        BadEvent: `text`, `intent` or `split` is missing, the intent is not known, the arguments do
            not fit its schema, or a field is wrong.
    """
    fields = Fields(NAME, event)
    said = _said(fields, context_turns)
    if "intent" not in event and not said.calls:
        raise fields.bad("intent", "is missing")
    call = _call(fields, said)
    given = _maybe_arguments(fields)
    if given is None and said.calls and event.get("intent") is None:
        given = None if call.arguments is None else dict(call.arguments)
    made = labelled(fields, said.text, call.intent, given, known)
    return made, _answer(fields)


def labelled(
    fields: Fields,
    text: str,
    intent: str,
    given: Mapping[str, Any] | None,
    known: Mapping[str, Intent] | None,
    split: str | None = None,
) -> Sample:
    """Return a sample with the fields every format may add: `split`, `origin`, `must_pass`,
    `family`, `slices`, `weight`, `provenance`.

    Args:
        fields: of the event.
        text, intent, given: what is labelled, and how; arguments None: not judged.
        known: intents by name, `none` aside; None: any, and their arguments are not judged.
        split: for an event without one; None: it must have one.
    """
    if known is not None and intent != NONE and intent not in known:
        near = difflib.get_close_matches(intent, known, 1)
        raise fields.bad("intent", f"`{intent}` is not known" + (f"; `{near[0]}`?" if near else ""))
    if known is not None:
        _refuse_misfit(fields, known.get(intent, Intent(name=NONE)), given)
    place = fields.choice("split", SPLITS, split)
    origin = "seed" if place == "seed" else fields.choice("origin", _ORIGINS, "person")
    place = "train" if place == "seed" else place
    weight = fields.number("weight")
    if weight is not None and weight < 0:
        raise fields.bad("weight", "is negative")
    return Sample(
        id=sample_id(text, intent, given, origin, place),
        text=text,
        intent=intent,
        arguments=given,
        origin=cast("Origin", origin),
        split=cast("Split", place),
        must_pass=fields.flag("must_pass"),
        family=fields.maybe_text("family"),
        slices=_texts(fields, "slices"),
        provenance=plain(fields.maybe_inner("provenance").value, NAME, "provenance"),
        weight=1.0 if weight is None else weight,
    )


def _refuse_misfit(fields: Fields, intent: Intent, given: Mapping[str, Any] | None) -> None:
    problems = argument_problems(intent, given, complete=False)
    if problems:
        first, more = problems[0], len(problems) - 1
        also = f", and {more} more that does not fit" if more else ""
        raise fields.bad(first.path, f"{first.why} (parameters of {intent.name}{also})")


def _predictions(event: Mapping[str, Any], context_turns: int) -> tuple[Prediction, ...]:
    fields = Fields(NAME, event)
    values = {column.name: _value(fields, column) for column in _PREDICTION_COLUMNS}
    said = _said(fields, context_turns)
    calls = _calls(fields) or said.calls
    if event.get("intent") is not None or not calls:
        calls = (Call(_call(fields, said).intent, _maybe_arguments(fields) or {}),)
    return predictions(Prediction(text=said.text, intent=NONE, **values), calls)


def _value(fields: Fields, column: EventColumn) -> Any:
    """The value of a column that is read from the field of its name.

    Raises:
        BadEvent: the field is missing or wrong.
    """
    match column.type:
        case "text" if column.choices:
            return fields.choice(column.name, column.choices, column.default)
        case "text" if column.required:
            return fields.text(column.name)
        case "text":
            return fields.maybe_text(column.name) or column.default
        case "time":
            return fields.moment(column.name)
        case "flag":
            return fields.flag(column.name)
        case "number" | "whole":
            read = fields.fraction if column.fraction else fields.number
            value = read(column.name)
            return column.default if value is None else value
        case "list":
            return _listed(fields, column.name)
        case "texts":
            return _texts(fields, column.name)
        case "json":
            return _maybe_arguments(fields, column.name)


def _said(fields: Fields, context_turns: int) -> Exchange:
    if fields.get("messages") is None:
        return Exchange(fields.text("text"), ())
    return exchange(fields.get("messages"), (), fields, "messages", context_turns)


def _call(fields: Fields, said: Exchange) -> Call:
    named = fields.maybe_text("intent")
    if named:
        return Call(named, {})
    return said.calls[0] if said.calls else Call(NONE, {})


def _maybe_arguments(fields: Fields, name: str = "arguments") -> dict[str, Any] | None:
    value = fields.get(name)
    return None if value is None else arguments(value, NAME, fields.path(name))


def _texts(fields: Fields, name: str) -> dict[str, str]:
    """An object of texts; {} where it is not there."""
    given = fields.maybe_inner(name)
    for key, value in given.value.items():
        if not isinstance(value, str):
            raise given.bad(str(key), "is not a text")
    return dict(plain(given.value, NAME, name))


def _listed(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of texts; () where it is not there."""
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise fields.bad(name, "is not a list of texts")
    for number, item in enumerate(value):
        if not isinstance(item, str) or not item.strip():
            raise fields.bad(f"{name}[{number}]", "is not a text")
    return tuple(plain(value, NAME, name))


def _calls(fields: Fields) -> tuple[Call, ...]:
    """Calls as [{intent, arguments}]; () where the field is not there."""
    value = fields.get("calls")
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not value:
        raise fields.bad("calls", "is not a list of {intent, arguments}")
    return tuple(one_call(item, NAME, fields.path(f"calls[{i}]")) for i, item in enumerate(value))


def _answer(fields: Fields) -> Choice | None:
    """What the production model answered: {intent, arguments}, or the bare name of an intent."""
    if "answer" not in fields.value:
        return None
    value = fields.value["answer"]
    if value is None:
        return NONE, {}
    if isinstance(value, str):
        return fields.text("answer"), None
    if not isinstance(value, Mapping):
        raise BadEvent(NAME, "answer", "is neither an intent's name nor an object")
    answer = fields.inner("answer")
    return answer.maybe_text("intent", "name", default=NONE), _maybe_arguments(answer)
