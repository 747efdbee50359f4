"""TensorZero: chat and JSON inferences, as they are stored or listed, and feedback as it is posted
or as its tables keep it.

Posted feedback has neither id nor time. Its time is when it was received, otherwise that of the
UUIDv7; it is named by its content and that time. Feedback on an episode names its answers by the
episode's id.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from flywheel.formats.calls import asked, predictions
from flywheel.formats.reading import Context, Fields, Parsed, from_json, plain, skip
from flywheel.formats.replies import Rule, read_reply
from flywheel.formats.verdicts import Given, correction_score, score, scored
from flywheel.records import NONE, Prediction

NAME = "tensorzero"

_EVALUATOR = "tensorzero::evaluator_inference_id"  # a tag: a model gave the verdict
_USERS = ("user", "user_id", "userId", "rater", "annotator")
_SESSIONS = ("session", "session_id", "sessionId", "conversation_id")
_COUNTED = "metric_name"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is an inference, or feedback on one."""
    if {"function_name", "variant_name"} <= event.keys():
        return True
    if _COUNTED in event:
        return bool({"inference_id", "episode_id", "target_id"} & event.keys())
    return "value" in event and bool({"inference_id", "target_id"} & event.keys())


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return an inference as a prediction, feedback as a score; dry runs are skipped.

    Raises:
        BadEvent: `id`, `input`, `output`, `inference_id` or `value` is missing or unreadable.
    """
    fields = Fields(NAME, event)
    if "function_name" in event:
        return _inference(fields, context)
    return _feedback(fields, context)


def _inference(fields: Fields, context: Context) -> Parsed:
    identity = fields.text("id", "inference_id")
    given = Fields(NAME, {}, "input")
    said = asked(_messages(fields), given, "messages", context.context_turns)
    if said.continues:
        return skip(f"continues a turn: {said.continues}")
    output = fields.need("output")
    if isinstance(output, str) and output.lstrip()[:1] in ("{", "["):
        output = from_json(output, NAME, "output")
    reply = read_reply(output, "output", Rule(format=NAME, known=context.known))
    tags = fields.maybe_inner("tags")
    episode = fields.maybe_text("episode_id")
    answer = Prediction(
        id=identity,
        ts=_inferred_at(fields, identity, context.received),
        adapter=fields.maybe_text("variant_name"),
        latency_ms=fields.duration("processing_time_ms"),
        slices={
            str(key): value
            for key, value in tags.value.items()
            if isinstance(value, str)
            and not str(key).startswith("tensorzero::")
            and key not in (*_USERS, *_SESSIONS)
        },
        aliases=(episode,) if episode else (),
        session=_tag(tags, _SESSIONS),
        rater=_tag(tags, _USERS),
        text=said.text,
        intent=NONE,
    )
    return Parsed(predictions=predictions(answer, reply.calls, reply.malformed))


def _messages(fields: Fields) -> list[Any]:
    """The conversation of an input, templated messages as their text."""
    value = fields.need("input")
    if isinstance(value, str) and value.lstrip()[:1] not in ("{", "["):
        return [{"role": "user", "content": value}]
    listed = value if isinstance(value, (list, tuple)) else fields.inner("input").need("messages")
    if not isinstance(listed, (list, tuple)):
        raise fields.bad("input.messages", "is not a list of messages")
    return [_untemplated(message) for message in listed]


def _untemplated(message: Any) -> Any:
    """The message with the arguments of its template as its text."""
    if not isinstance(message, Mapping) or isinstance(message.get("content"), str):
        return message
    content = message.get("content")
    blocks = [content] if isinstance(content, Mapping) else content
    if not isinstance(blocks, (list, tuple)):
        return message
    return {**message, "content": [_as_text(block) for block in blocks]}


def _as_text(block: Any) -> Any:
    """A block of a template, or of arguments, as a block of text; any other as it is."""
    if not isinstance(block, Mapping) or block.get("type", "text") not in ("template", "text"):
        return block
    given = block.get("arguments")
    if not isinstance(given, Mapping):
        given = block.get("value")
    if not isinstance(given, Mapping):
        return block
    texts = [given[key] for key in sorted(given, key=str) if isinstance(given[key], str)]
    return {"type": "text", "text": "\n".join(text for text in texts if text.strip())}


def _feedback(fields: Fields, context: Context) -> Parsed:
    metric = fields.maybe_text(_COUNTED)
    if fields.flag("dryrun"):
        return skip("is a dry run")
    target = fields.text("inference_id", "target_id", "episode_id")
    value = fields.need("value")
    tags = fields.maybe_inner("tags")
    by_a_model = _EVALUATOR in tags.value
    given = Given(
        id=fields.maybe_text("id") or None,
        prediction_id=target,
        ts=_time(fields, fields.maybe_text("id") or target, context.received),
        rater=_tag(tags, _USERS),
        rater_kind="model" if by_a_model else "user",
        person=not by_a_model,
    )
    if metric == "comment" or fields.get("target_type") is not None:
        comment = value if isinstance(value, str) else str(plain(value, NAME, "value"))
        return scored(score(given, NAME, metric or "comment", label=comment, kind="text"), context)
    misspelt = get_close_matches(_COUNTED, [*map(str, fields.value)], 1, 0.7)
    if not metric and (misspelt or "inference_id" not in fields.value):
        raise fields.bad(_COUNTED, "is missing")  # only the table of demonstrations has none
    if metric in ("", "demonstration"):
        reply = read_reply(value, "value", Rule(format=NAME, known=context.known))
        if reply.malformed:
            raise fields.bad("value", "has a call whose arguments are broken")
        name = metric or "demonstration"
        return scored(correction_score(given, NAME, name, reply.calls), context)
    return scored(score(given, NAME, metric, value), context)


def _tag(tags: Fields, names: tuple[str, ...]) -> str:
    """The first of these tags that is a text or a whole number; "" for none."""
    for name in names:
        value = tags.get(name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip():
            return str(value)
    return ""


def _inferred_at(fields: Fields, identity: str, received: datetime | None) -> datetime:
    """The row's own time, otherwise that inside its UUIDv7."""
    if fields.get("timestamp") is not None:
        return _time(fields, identity, received)
    return _time(fields, identity, None)


def _time(fields: Fields, identity: str, received: datetime | None) -> datetime:
    """The row's own time, otherwise that inside its own UUIDv7, when it was received, or that
    inside the UUIDv7 of what it judges."""
    if fields.get("timestamp") is not None:
        return fields.moment("timestamp", naive_is_utc=True, received=received)
    own = fields.get("id")
    if received is not None and (own is None or _made_at(own) is None):
        return received
    made = _made_at(identity)
    if made is None:
        raise fields.bad("timestamp", "is missing, and the id is no UUIDv7")
    return made


def _made_at(identity: Any) -> datetime | None:
    """The time inside a UUIDv7; None for any other id."""
    try:
        found = uuid.UUID(identity)
    except (ValueError, AttributeError, TypeError):
        return None
    if found.version != 7:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found.int >> 80)
