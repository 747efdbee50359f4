"""Supervised fine-tuning lines: `messages` that end with the wanted answer, and `tools`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import exchange
from flywheel.formats.message_parts import speaks
from flywheel.formats.native import labelled
from flywheel.formats.reading import Context, Fields, Parsed
from flywheel.formats.replies import NO_CALL, Rule

NAME = "sft"


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a conversation and nothing that was logged."""
    return isinstance(event.get("messages"), list) and not {"id", "ts", "response"} & event.keys()


def read(event: Mapping[str, Any], context: Context) -> Parsed:
    """Return one sample a call of the answer to the last user message; a seed unless `split`
    says otherwise.

    Raises:
        BadEvent: `messages` is missing or does not end with an assistant's message.
    """
    fields = Fields(NAME, event)
    messages = fields.need("messages")
    rule = Rule(format=NAME, known=context.known, strict=True)
    if not isinstance(messages, (list, tuple)) or not messages or not _is_answer(messages[-1]):
        raise fields.bad("messages", "does not end with an assistant's message")
    said = exchange(messages, (), fields, "messages", context.context_turns, rule)
    if said.malformed:
        raise fields.bad("messages", "ends with a call whose arguments are not a JSON object")
    if len(said.calls) > 1:
        raise fields.bad("messages", "ends with several calls, and a sample has one")
    call = said.calls[0] if said.calls else NO_CALL
    sample = labelled(fields, said.text, call.intent, call.arguments, context.known, "seed")
    return Parsed(samples=(sample,))


def _is_answer(message: Any) -> bool:
    return isinstance(message, Mapping) and speaks(message)
