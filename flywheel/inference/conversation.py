"""What a request of OpenAI's protocol asks: the text that is judged, and who asks.

The text is found by the rule of ingest (`formats.calls.asked`), so that what is served and what is
learned are the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from flywheel.formats.calls import asked as asked_in
from flywheel.formats.chat_log import RATERS, SESSIONS, identity_in, metadata_of
from flywheel.formats.reading import BadEvent, Fields
from flywheel.inference.answer_events import AskedText
from flywheel.inference.refused import NotServable

CHARACTERS_A_TOKEN = 32
"""A text with more of them than this for each token that the adapter reads is refused: most of it
would not be read. One that is longer than the adapter reads, but not so much, is cut as in training
and evaluation."""
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_WORDS = frozenset({"text", "input_text", "output_text", "refusal"})
_FORMAT = "openai"


class Spoken(NamedTuple):
    """What a person said last, and whether that was answered already."""

    text: str
    continues: str  # why the request goes on with an answered turn; "" where it does not


def spoken(messages: Any, param: str, context_turns: int, max_length: int) -> Spoken:
    """Return what is judged of a conversation.

    Args:
        messages: as sent: a list, or one text.
        param: field of the request that holds them.
        context_turns: earlier user messages put before the last one.
        max_length: tokens that the adapter reads; 0: no limit is known.

    Raises:
        NotServable: a message is none, the judged ones hold more than words, no person says
            anything, or the text is much too long.
    """
    if isinstance(messages, list):
        _refuse_unreadable(messages, param, context_turns)
    try:
        said = asked_in(messages, Fields(_FORMAT, {}), param, context_turns)
    except BadEvent as error:
        raise NotServable(
            f"`{error.field}` {error.why}",
            hint='a conversation is judged on its last message of role "user"',
            param=error.field,
            code="invalid_value",
        ) from error
    limit = max_length * CHARACTERS_A_TOKEN
    if limit and len(said.text) > limit:
        raise NotServable(
            f"the message has {len(said.text):,} characters, and the adapter reads {max_length} "
            "tokens",
            hint=f"send {limit:,} characters at most",
            param=param,
            code="context_length_exceeded",
        )
    return Spoken(said.text, said.continues)


def _refuse_unreadable(messages: Sequence[Any], param: str, context_turns: int) -> None:
    users = []
    for number, message in enumerate(messages):
        place = f"{param}[{number}]"
        if not isinstance(message, Mapping):
            raise NotServable(f"`{place}` is not a message", param=place, code="invalid_type")
        role = message.get("role")
        if role is None and isinstance(message.get("type"), str) and message["type"] != "message":
            continue  # an item of the Responses API: a call, its result, reasoning
        if role not in _ROLES:
            raise NotServable(
                f"`{place}.role` is {role!r}",
                hint=f"known are {', '.join(sorted(_ROLES))}",
                param=f"{place}.role",
                code="invalid_value",
            )
        if role == "user":
            users.append((place, message))
    for place, message in users[-1 - max(0, context_turns) :]:
        for at, kind in _unreadable(message.get("content"), f"{place}.content"):
            raise NotServable(
                f"`{at}` is of type `{kind}`: only words are read",
                hint="send the words as a text",
                param=at,
                code="unsupported_content",
            )


def _unreadable(content: Any, place: str) -> Iterator[tuple[str, str]]:
    """Parts that are no words, with their kinds."""
    for number, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, Mapping) else "text"
        if kind not in _WORDS:
            yield f"{place}[{number}]", str(kind)


def identities(request: Mapping[str, Any]) -> tuple[str, str]:
    """Whose conversation it is, and who asks; "" where the request does not say.

    Raises:
        NotServable: what says it is no text.
    """
    fields = Fields(_FORMAT, request)
    try:
        among = [fields, metadata_of(fields)]
        return identity_in(among, SESSIONS), identity_in(among, RATERS)
    except BadEvent as error:
        raise NotServable(
            f"`{error.field}` {error.why}", param=error.field, code="invalid_value"
        ) from error


def asked_text(
    request: Mapping[str, Any], name: str, text: str, slices: frozenset[str], **more: Any
) -> AskedText:
    """The text with what the request says of who asks, by the rule of ingest.

    Args:
        request: its body.
        name: id of the answer.
        text: that is judged.
        slices: names in the metadata that are slices.
        more: further fields of the `AskedText`.
    """
    metadata = metadata_of(Fields(_FORMAT, request))
    session, rater = identities(request)
    return AskedText(
        id=name,
        text=text,
        session=session,
        rater=rater,
        slices={
            key: value
            for key, value in metadata.value.items()
            if key in slices and isinstance(value, str) and value
        },
        **more,
    )
