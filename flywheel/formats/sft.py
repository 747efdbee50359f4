"""Supervised fine-tuning lines: `messages` that end with the wanted answer, and `tools`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.calls import exchange
from flywheel.formats.native import labelled
from flywheel.formats.reading import Context, Fields, Parsed
from flywheel.records import NONE, Call

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
    said = exchange(messages, (), fields, "messages", context.context_turns)
    if isinstance(messages, str) or messages[-1].get("role") != "assistant":
        raise fields.bad("messages", "does not end with an assistant's message")
    return Parsed(
        samples=tuple(
            labelled(fields, said.text, call.intent, call.arguments, context.known, "seed")
            for call in said.calls or (Call(NONE, {}),)
        )
    )
