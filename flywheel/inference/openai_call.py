"""One request of OpenAI's protocol, whichever of its two forms: read, refused or answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.inference.answer_events import new_id
from flywheel.inference.batching import GivenAnswer
from flywheel.inference.conversation import asked_text, identities, spoken
from flywheel.inference.loaded import LoadedAdapter
from flywheel.inference.offered import call_of, chosen, offered
from flywheel.inference.refused import NotServable
from flywheel.inference.service import AnswerService, headers_of
from flywheel.promotion import key_of
from flywheel.records import ArmName

CHAMPION = "champion"
"""The name of whichever adapter answers."""
NO_CALL = "No function fits this message."
"""What is said in the place of a call."""
ANSWERED = "The call was made; there is nothing else to call."
"""What is said to a conversation that ends with a tool's result."""

_BYTES_A_TOKEN = 4

_bodies = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode = msgspec.json.decode
_encode = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class OpenAIBody:
    """A request's body: its fields but `tools`, and all of them as they were sent."""

    fields: Mapping[str, Any]
    raw: Mapping[str, msgspec.Raw]

    @property
    def tools(self) -> bytes:
        """As sent; b"" where there are none."""
        return bytes(self.raw.get("tools", b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What is answered, in no form yet."""

    id: str  # of the answer, and of the prediction
    call_id: str
    adapter: str
    function: str  # "": none is called
    arguments: str  # JSON
    words: str  # what is said where none is called
    headers: Mapping[str, str]
    prompt_tokens: int = 0  # that the adapter read of the judged text; 0: it was not asked

    @property
    def completion_tokens(self) -> int:
        """Of what is answered: none is generated one by one, so a token for each four bytes."""
        written = f"{self.function}{self.arguments}{self.words}".encode()
        return math.ceil(len(written) / _BYTES_A_TOKEN)


def read_openai(body: bytes) -> OpenAIBody:
    """Read a body.

    Raises:
        NotServable: it is not a JSON object; the message names the place.
    """
    try:
        raw = _bodies.decode(body)
        fields = {name: _decode(value) for name, value in raw.items() if name != "tools"}
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotServable(f"the body is not JSON: {error}", code="invalid_json") from error
    return OpenAIBody(fields, raw)


def refuse_unsupported(
    fields: Mapping[str, Any], rules: Mapping[str, tuple[Callable[[Any], bool], str]]
) -> None:
    """Refuse what cannot be served as asked.

    Args:
        fields: of the request.
        rules: by field, whether a value can be served, and what to do where it cannot.

    Raises:
        NotServable: one of them cannot; the message names it.
    """
    for name, (servable, hint) in rules.items():
        value = fields.get(name)
        if value is not None and not servable(value):
            shown = _encode(value).decode()[:80]
            raise NotServable(f"`{name}` = {shown} cannot be served", hint=hint, param=name)


def streams(fields: Mapping[str, Any]) -> bool:
    """Whether the answer is asked for as a stream.

    Raises:
        NotServable: `stream` is neither true nor false.
    """
    value = fields.get("stream")
    if value is not None and not isinstance(value, bool):
        raise NotServable(
            f"`stream` is {_encode(value).decode()[:80]}", hint="true or false", param="stream"
        )
    return bool(value)


def named_model(service: AnswerService, name: Any) -> LoadedAdapter:
    """The adapter that a request's `model` names.

    Raises:
        NotServable: it names none, or another one than answers.
        NoChampion: there is none yet.
    """
    loaded = service.champion()
    _refuse_other(name, (loaded.id, CHAMPION, *service.former_models))
    return loaded


def _refuse_other(name: Any, known: Sequence[str]) -> None:
    if not isinstance(name, str) or not name:
        raise NotServable(
            "`model` is missing" if name is None else "`model` is not a name",
            hint=f'write "{CHAMPION}"',
            param="model",
            code="missing_required_parameter",
        )
    if name not in known:
        raise NotServable(
            f"the model `{name[:100]}` is not served here",
            hint=f'`{known[0]}` is, and "{CHAMPION}" is whichever answers',
            param="model",
            code="model_not_found",
            status=404,
        )


async def passed_on(request: Request, body: OpenAIBody, path: str) -> Response | None:
    """The answer of the upstream model; None where the champion answers.

    Raises:
        NotServable: the request names another model.
        UpstreamFailed: there is no answer.
    """
    service: AnswerService = request.app.state.service
    upstream = service.passed_on()
    if upstream is None:
        return None
    _refuse_other(body.fields.get("model"), (upstream.table.model, CHAMPION))
    streamed = streams(body.fields)
    return await upstream.pass_on(request, path, body.raw, streamed=streamed)


async def called(
    request: Request, body: OpenAIBody, messages: str, prefix: str, pinned: LoadedAdapter
) -> Called:
    """Ask the adapter, and return what is called.

    Args:
        request: for who asks.
        body: read and not refused.
        messages: the field that holds the conversation.
        prefix: of the answer's id.
        pinned: the champion as the request came; it or, by lot, the earlier one answers, whatever
            is switched meanwhile.

    Raises:
        NotServable: the conversation or the tools cannot be served as asked.
        QueueFull, DeadlinePassed, EngineFailed: there is no answer.
    """
    service: AnswerService = request.app.state.service
    fields = body.fields
    name, call_id = new_id(prefix), new_id("call")
    pinned, arm = _routed(service, fields, pinned, name)
    listed = offered(body.tools, pinned)
    choice = chosen(fields.get("tool_choice"), listed, pinned)
    said = spoken(fields.get(messages), messages, service.context_turns, pinned.max_length)
    if said.continues:
        return _said(name, call_id, pinned.id, ANSWERED, {"x-flywheel-adapter": pinned.id})
    asked = asked_text(
        fields,
        name,
        said.text,
        service.slices,
        aliases=(call_id,),
        tools=listed.fingerprint,
        arm=arm,
    )
    answer = (await service.answer(request, [asked], pinned))[0]
    function = call_of(answer.intent, listed, choice)
    if not function:
        refusal = _said(name, call_id, answer.adapter, NO_CALL, headers_of(answer))
        return replace(refusal, prompt_tokens=answer.tokens)
    return _made(name, call_id, function, answer)


def _routed(
    service: AnswerService, fields: Mapping[str, Any], champion: LoadedAdapter, name: str
) -> tuple[LoadedAdapter, ArmName]:
    """What answers who asks; a request that names the champion's id gets no other adapter."""
    if fields.get("model") == champion.id:
        return champion, ""
    session, rater = identities(fields)
    return service.routed(champion, key_of(rater, session, name))


def _said(name: str, call_id: str, adapter: str, words: str, headers: Mapping[str, str]) -> Called:
    return Called(
        id=name,
        call_id=call_id,
        adapter=adapter,
        function="",
        arguments="",
        words=words,
        headers={**headers, "x-request-id": name},
    )


def _made(name: str, call_id: str, function: str, answer: GivenAnswer) -> Called:
    return Called(
        id=name,
        call_id=call_id,
        adapter=answer.adapter,
        function=function,
        arguments=_encode(answer.arguments).decode(),
        words="",
        headers={**headers_of(answer), "x-request-id": name},
        prompt_tokens=answer.tokens,
    )


def event(value: Mapping[str, Any], name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + _encode(value) + b"\n\n"
