"""flywheel's own events: predictions, feedback and samples.

A prediction or sample may hold `messages` in place of `text`; it is then judged on the last user
message. Keys that are not known are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

from msgspec.structs import replace

from flywheel.content import content_id, sample_id
from flywheel.event_columns import EventColumn, columns_of
from flywheel.formats.call_shapes import arguments, read_call
from flywheel.formats.calls import asked, exchange, predictions, spoken_in
from flywheel.formats.native_words import kind_of_rater, texts_of, verdict_of
from flywheel.formats.reading import BadEvent, Choice, Context, Fields, Parsed, from_json, plain
from flywheel.formats.replies import NEAR_INTENT, Rule, Saying, nearest_key
from flywheel.lineage import nearest
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
)

NAME = "native"
OTHER_ARGUMENTS = ("slots", "parameters", "params", "args", "entities")
"""Names under which routers keep the arguments of their answer."""
SPLITS = ("seed", "train", "dev", "golden", "fresh")  # a seed is of split train

_ALONE = Context()
_NEAR_TEXT = (
    "utterance", "query", "input", "message", "question", "prompt", "sentence", "content",
    "transcript", "user_input", "user_message", "input_text", "user_text", "utt", "request", "q",
)  # fmt: skip
_ORIGINS = get_args(Origin)
_FROM_THE_CALL = ("text", "intent", "arguments", "calls")  # of a prediction
_FROM_THE_VERDICT = ("id", "ts", "verdict", "intent", "arguments", "calls")  # of feedback
_PREDICTION_COLUMNS = tuple(
    column for column in columns_of(Prediction) if column.name not in _FROM_THE_CALL
)
_FEEDBACK_COLUMNS = tuple(
    column for column in columns_of(Feedback) if column.name not in _FROM_THE_VERDICT
)


ReadOrNot = tuple[dict[str, Any] | None, bool]


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether the event has the whole shape of a native one."""
    if "prediction_id" in event and {"verdict", "ts"} & event.keys():
        return True
    spoken = "text" in event or "messages" in event
    if {"id", "ts", "intent"} <= event.keys():
        return True
    return spoken and ({"id", "ts"} <= event.keys() or {"intent", "split"} <= event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return the one event as records.

    Raises:
        BadEvent: a field is missing or wrong.
    """
    kind = context.kind
    judges = "verdict" in event or ("prediction_id" in event and "text" not in event)
    if kind == "feedback" or (kind is None and judges):
        return Parsed(feedback=(feedback(event, context),))
    if kind == "samples" or (kind is None and "split" in event):
        kept, answer = sample(event, context.known, context.context_turns)
        return Parsed(samples=(kept,), answers={kept.id: answer} if answer else {})
    return Parsed(predictions=(prediction(event, context),))


def prediction(event: Mapping[str, Any], context: Context = _ALONE) -> Prediction:
    """Return a prediction.

    Raises:
        BadEvent: `id`, `ts`, `text` or `intent` is missing, or a field is wrong.
    """
    fields = Fields(NAME, event)
    values = {column.name: _value(fields, column, context) for column in _PREDICTION_COLUMNS}
    text = _text(fields, context.context_turns)
    reply = _answered(fields, context)
    if values["confidence"] is None and isinstance(event.get("intent"), Mapping):
        values["confidence"] = fields.inner("intent").confidence("confidence")
    made = Prediction(text=text, intent=NONE, **values)
    return predictions(made, reply.calls, reply.malformed)[0]


def feedback(event: Mapping[str, Any], context: Context = _ALONE) -> Feedback:
    """Return a verdict on a prediction.

    One without an id is named by its content, one without a time has that of its receipt.

    Raises:
        BadEvent: `prediction_id` or `verdict` is missing, `intent` is where the verdict is
            corrected, or a field is wrong.
    """
    fields = Fields(NAME, event)
    verdict = verdict_of(fields)
    if verdict == "corrected" and not {"intent", "calls"} & event.keys():
        near = nearest_key(fields.value, ("intent",), NEAR_INTENT)
        hint = f"; `{near}` is there: name it `intent`" if near else ""
        raise fields.bad("intent", f"is missing: the verdict is corrected{hint}")
    calls, broken = _calls(fields)
    if broken or _maybe_arguments(fields)[1]:
        raise fields.bad("arguments", "are broken: not a JSON object")
    first = calls[0] if calls else _right(fields, verdict)
    values = {column.name: _value(fields, column, context) for column in _FEEDBACK_COLUMNS}
    made = Feedback(
        id=fields.maybe_identity("id"),
        ts=fields.moment_or(context.received, "ts", zone=context.zone),
        verdict=verdict,
        intent=first.intent or None,
        arguments=first.arguments,
        calls=calls if len(calls) > 1 else (),
        **values,
    )
    return made if made.id else replace(made, id=_name_of(made))


def _right(fields: Fields, verdict: str) -> Call:
    """The right call of a correction; an empty name where none is given."""
    if "intent" not in fields.value or fields.value["intent"] is None:
        return Call(NONE if verdict == "corrected" else "", _maybe_arguments(fields)[0])
    if fields.value["intent"] == "" and verdict != "corrected":
        return Call("", _maybe_arguments(fields)[0])
    return Call(_named(fields), _maybe_arguments(fields)[0])


def _name_of(made: Feedback) -> str:
    """The id of a verdict that has none: the same verdict at another time is another one."""
    said = [made.prediction_id, made.ts.isoformat(), made.verdict, made.intent, made.rater]
    calls = [[call.intent, call.arguments] for call in made.calls]
    return content_id("f", [NAME, *said, made.arguments, calls])


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
    text = _text(fields, context_turns)
    context = Context(known=known, context_turns=context_turns)
    reply = _answered(fields, context, strict=True)
    if len(reply.calls) > 1:
        raise fields.bad("calls", "are several, and a sample has one")
    if reply.malformed:
        raise fields.bad("arguments", "are broken: not a JSON object")
    call = reply.calls[0] if reply.calls else Call(NONE, _maybe_arguments(fields)[0])
    return labelled(fields, text, call.intent, call.arguments, known), _answer(fields)


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
        near = nearest(intent, list(known))
        raise fields.bad("intent", f"`{intent}` is not known" + (f"; `{near}`?" if near else ""))
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
        slices=texts_of(fields, "slices"),
        provenance=plain(fields.maybe_inner("provenance").value, NAME, "provenance"),
        weight=1.0 if weight is None else weight,
    )


def _refuse_misfit(fields: Fields, intent: Intent, given: Mapping[str, Any] | None) -> None:
    problems = argument_problems(intent, given, complete=False)
    if problems:
        first, more = problems[0], len(problems) - 1
        also = f", and {more} more that does not fit" if more else ""
        raise fields.bad(first.path, f"{first.why} (parameters of {intent.name}{also})")


def _value(fields: Fields, column: EventColumn, context: Context) -> Any:
    """The value of a column that is read from the field of its name.

    Raises:
        BadEvent: the field is missing or wrong.
    """
    name = column.name
    match column.type:
        case "text" if name == "rater_kind":
            return kind_of_rater(fields)
        case "text" if name == "score":
            return fields.maybe_text(name) if isinstance(fields.get(name), str) else ""
        case "text":
            read = fields.identity if column.required else fields.maybe_identity
            return read(name) or column.default
        case "time":
            return fields.moment(name, zone=context.zone, received=context.received)
        case "flag":
            return fields.flag(name)
        case "number" | "whole":
            value = _number(fields, column)
            return column.default if value is None else value
        case "list":
            return _listed(fields, name)
        case "texts":
            return texts_of(fields, name)
        case "json":
            return _maybe_arguments(fields, name)[0]


def _number(fields: Fields, column: EventColumn) -> float | None:
    """A number, None where it is not there; of a column with bounds within them.

    Raises:
        BadEvent: it is out of its bounds, or not whole: counts and costs are summed.
    """
    if column.least is None:
        return fields.confidence(column.name) if column.fraction else fields.duration(column.name)
    value = fields.number(column.name)
    if value is None:
        return None
    if column.type == "whole" and value != int(value):
        raise fields.bad(column.name, f"is {value:g}, not a whole number")
    if value < column.least:
        raise fields.bad(column.name, f"is {value:g}, not {column.least:g} or more")
    if column.most is not None and value > column.most:
        raise fields.bad(column.name, f"is {value:g}, over {column.most:,}")
    return int(value) if column.type == "whole" else value


def _text(fields: Fields, context_turns: int) -> str:
    """What a person said."""
    if fields.get("messages") is not None:
        return asked(spoken_in(fields.get("messages")), fields, "messages", context_turns).text
    if fields.get("text") is None:
        near = nearest_key(fields.value, ("text",), _NEAR_TEXT)
        hint = f"; `{near}` is there: name it `text`" if near else ""
        raise fields.bad("text", f"is missing{hint}")
    return fields.text("text")


def _answered(fields: Fields, context: Context, *, strict: bool = False) -> Saying:
    """What the event says was called, or should be: `intent`, `calls`, or an answer in `messages`.

    Raises:
        BadEvent: none of them is there.
    """
    calls, malformed = _calls(fields)
    if fields.get("intent") is not None:
        named = _named(fields)
        if calls and calls[0].intent != named:
            raise fields.bad("calls", f"begin with `{calls[0].intent}`, but `intent` is `{named}`")
        given, broken = _maybe_arguments(fields)
        return Saying(calls, malformed) if calls else Saying((Call(named, given),), broken)
    if calls:
        return Saying(calls, malformed)
    if fields.get("messages") is not None:
        said = asked(spoken_in(fields.get("messages")), fields, "messages")
        if said.after:
            rule = Rule(format=NAME, known=context.known, strict=strict)
            found = exchange(spoken_in(fields.get("messages")), (), fields, "messages", rule=rule)
            return Saying(found.calls, found.malformed)
    if "intent" in fields.value:
        return Saying()
    near = nearest_key(fields.value, ("intent",), NEAR_INTENT)
    hint = f"; `{near}` is there: name it `intent`" if near else ": null or `none` says no call"
    raise fields.bad("intent", f"is missing{hint}")


def _named(fields: Fields) -> str:
    """The name in `intent`, which may be {name, confidence}."""
    value = fields.get("intent")
    if isinstance(value, Mapping):
        return fields.inner("intent").text("name", "intent")
    if isinstance(value, (list, tuple)):
        raise fields.bad("intent", "is a list; several calls of one answer stand under `calls`")
    return fields.text("intent")


def _maybe_arguments(fields: Fields, name: str = "arguments") -> ReadOrNot:
    """Arguments, None where they are not given; and whether they were broken.

    An object under another usual name is read; anything else there is refused, not passed over.
    """
    value = fields.get(name)
    if value is not None:
        return arguments(value, NAME, fields.path(name))
    if name != "arguments":
        return None, False
    for other in OTHER_ARGUMENTS:
        value = fields.get(other)
        if isinstance(value, Mapping):
            return arguments(value, NAME, fields.path(other))
        if value:
            raise fields.bad(name, f"is missing; `{other}` is there: name it `arguments`")
    near = "" if name in fields.value else nearest_key(fields.value, (name,), ())
    if near and isinstance(fields.value[near], (Mapping, str)) and fields.value[near]:
        raise fields.bad(name, f"is missing; `{near}` is there: name it `arguments`")
    return None, False


def _listed(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of ids; () where it is not there."""
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise fields.bad(name, "is not a list of texts")
    items = Fields(NAME, {f"{name}[{number}]": item for number, item in enumerate(value)})
    return tuple(items.identity(key) for key in items.value)


def _calls(fields: Fields) -> tuple[tuple[Call, ...], bool]:
    """Calls as [{intent, arguments}], () without the field; and whether any is broken."""
    value = fields.get("calls")
    if value is None or (value in ([], ()) and "intent" in fields.value):
        return (), False
    if isinstance(value, str):  # as a table keeps it
        value = from_json(value, NAME, fields.path("calls"))
    if not isinstance(value, (list, tuple)) or not value:
        raise fields.bad("calls", "is not a list of {intent, arguments}")
    read = [read_call(item, NAME, fields.path(f"calls[{i}]")) for i, item in enumerate(value)]
    return tuple(Call(one.call.intent, one.call.arguments or {}) for one in read), any(
        one.malformed for one in read
    )


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
    return answer.maybe_text("intent", "name", default=NONE), _maybe_arguments(answer)[0]
