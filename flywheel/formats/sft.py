"""Supervised fine-tuning lines: `messages` that end with the wanted answer, and `tools`.

Of preference pairs (`preferred_output`) the preferred answer is the wanted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import exchange
from flywheel.formats.message_parts import speaks
from flywheel.formats.native import labelled
from flywheel.formats.reading import Context, Fields, Parsed
from flywheel.formats.replies import NO_CALL, Rule

NAME = "sft"

_LOGGED = {"id", "ts", "response", "call_type", "traceId", "trace_id"}


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a conversation and nothing that was logged."""
    if "preferred_output" in event:
        return True
    return isinstance(event.get("messages"), list) and not _LOGGED & event.keys()


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return one sample: the answer to the last user message; a seed unless `split` says
    otherwise.

    Raises:
        BadEvent: `messages` is missing, does not end with an assistant's message, or ends with one
            that names no single known call and does not say that there is none.
    """
    fields = Fields(NAME, event)
    name, messages = _conversation(fields)
    rule = Rule(format=NAME, known=context.known, strict=True)
    said = exchange(messages, (), fields, name, context.context_turns, rule)
    if said.malformed:
        raise fields.bad(name, "ends with a call whose arguments are not a JSON object")
    if len(said.calls) > 1:
        raise fields.bad(name, "ends with several calls, and a sample has one")
    call = said.calls[0] if said.calls else NO_CALL
    sample = labelled(fields, said.text, call.intent, call.arguments, context.known, "seed")
    return Parsed(samples=(sample,))


def _conversation(fields: Fields) -> tuple[str, list[Any]]:
    """Field and messages of the conversation, the wanted answer last."""
    if "preferred_output" in fields.value:
        asked = fields.inner("input").need("messages")
        preferred = fields.need("preferred_output")
        if not isinstance(asked, (list, tuple)) or not isinstance(preferred, (list, tuple)):
            raise fields.bad("preferred_output", "is not a list of messages")
        return "preferred_output", [*asked, *preferred]
    messages = fields.need("messages")
    ends = isinstance(messages, (list, tuple)) and messages and messages[-1]
    if not isinstance(ends, Mapping) or not speaks(ends):
        raise fields.bad("messages", "does not end with an assistant's message")
    return "messages", list(messages)
