"""Parts of a conversation: who speaks in a message, and what a block or an item is.

The names are those of Chat Completions, Responses, Anthropic, Gemini, Bedrock, LangChain and the
Vercel AI SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.formats.call_shapes import is_call, kind_of

_SPEAKING = frozenset(
    {"assistant", "model", "ai", "bot", "agent", "chatbot", "aimessage", "message"}
)
_ASKING = frozenset({"user", "human", "humanmessage"})
_RESULTS = frozenset({"tool", "function", "toolmessage", "functionmessage"})
WORDS = frozenset({"text", "input_text", "output_text", "refusal", "string", "markdown"})
_SILENT = frozenset(
    {
        "reasoning",
        "thinking",
        "redacted_thinking",
        "reasoning_content",
        "summary_text",
        "step-start",
        "mcp_list_tools",
        "compaction",
        "item_reference",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "computer_call",
        "image_generation_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "source",
        "citation",
    }
)
_SILENT_KEYS = frozenset(
    {"functionResponse", "function_response", "toolResult", "reasoningContent", "cachePoint"}
)


def asks(message: Mapping[str, Any]) -> bool:
    """Whether a message is a user's."""
    return role(message) in _ASKING


def speaks(message: Mapping[str, Any]) -> bool:
    """Whether a message or item is the model's."""
    return role(message) in _SPEAKING or is_call(message)


def is_result(item: Mapping[str, Any]) -> bool:
    """Whether a message, block or item is the result of a call."""
    if kind_of(item).endswith(("_result", "-result", "_output", "_response")):
        return True
    return role(item) in _RESULTS or bool({"functionResponse", "toolResult"} & item.keys())


def returns_results(message: Mapping[str, Any]) -> bool:
    """Whether a message brings results of calls back to the model, whoever's name it bears."""
    content = message.get("content") or message.get("parts")
    blocks = content if isinstance(content, (list, tuple)) else ()
    return is_result(message) or (
        asks(message) and any(isinstance(block, Mapping) and is_result(block) for block in blocks)
    )


def is_message(value: Mapping[str, Any]) -> bool:
    """Whether an object is a message of somebody."""
    return isinstance(value.get("role"), str) or role(value) in _SPEAKING | _ASKING | _RESULTS


def role(message: Mapping[str, Any]) -> str:
    """Return who speaks in a message, in lower case: its `role`, or its `type` in LangChain's."""
    said = message.get("role")
    if isinstance(said, str):
        return said.casefold()
    kind = kind_of(message).casefold()
    return "" if kind in ("tool", "function") and "content" not in message else kind


def is_silent(block: Mapping[str, Any]) -> bool:
    """Whether a block is known to say nothing: thoughts, results, what the host does itself."""
    kind = kind_of(block)
    if kind:
        return kind in _SILENT or kind in WORDS
    return block.get("thought") is True or "text" in block or bool(_SILENT_KEYS & block.keys())


def block_words(block: Mapping[str, Any]) -> str:
    """Return the words of a block; "" for one without."""
    if (kind_of(block) or "text") not in WORDS or block.get("thought") is True or "role" in block:
        return ""
    for name in ("text", "content", "value", "refusal"):
        if isinstance(block.get(name), str):
            return str(block[name])
    return ""


def message_words(item: Mapping[str, Any]) -> list[str]:
    """Return the words of a message's blocks, and of its refusal."""
    content = item.get("content") or item.get("parts")
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, (list, tuple)) else [content]
    said = [
        b if isinstance(b, str) else block_words(b) for b in blocks if isinstance(b, (str, Mapping))
    ]
    refusal = item.get("refusal")
    return [*said, refusal] if isinstance(refusal, str) else said


def says_something(item: Mapping[str, Any]) -> bool:
    """Whether anything is in a message."""
    return any(
        item.get(name) not in (None, "", [], ()) for name in ("content", "parts", "tool_calls")
    )
