"""`POST /v1/predict`: a text, a conversation, or a batch of either; what would be called, out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from flywheel.formats.calls import asked as asked_in
from flywheel.formats.reading import BadEvent, Fields, unicode
from flywheel.inference.answer_events import AskedText, new_id
from flywheel.inference.batching import GivenAnswer
from flywheel.inference.concurrency import all_or_none, while_asked
from flywheel.inference.conversation import CHARACTERS_A_TOKEN
from flywheel.inference.exchanges import PricedAnswer
from flywheel.inference.loaded import LoadedAdapter
from flywheel.inference.service import AnswerService, headers_of
from flywheel.inference.upstream import Upstream
from flywheel.promotion import key_of
from flywheel.web.guard import demand
from flywheel.web.http import BadRequest, read_plain_body

ADAPTER = "x-flywheel-adapter"
"""Header of a request that asks a loaded adapter, which need not answer traffic.

What such an adapter says was approved by nobody and is not logged: it takes the role `prove`."""


class PredictInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One text or conversation."""

    text: str | None = None
    messages: list[dict[str, Any]] | None = None  # judged on the last user message
    id: str = ""  # of the prediction; made where it is missing
    session: str = ""  # whose conversation
    rater: str = ""  # who asks
    slices: dict[str, str] = {}


class PredictRequest(PredictInput, forbid_unknown_fields=True, kw_only=True):
    """One text, one conversation, or `inputs` of them."""

    inputs: list[str | PredictInput] | None = None


class PredictionView(msgspec.Struct, kw_only=True):
    """What would be called."""

    id: str  # of the prediction: feedback names it
    intent: str  # "none": no function fits
    arguments: dict[str, Any]
    confidence: float | None  # None of a model that says none
    adapter: str  # that answered


class PredictedView(msgspec.Struct, kw_only=True):
    """A prediction; to a request with `inputs`, one for each in their order."""

    id: str | UnsetType = UNSET
    intent: str | UnsetType = UNSET
    arguments: dict[str, Any] | UnsetType = UNSET
    confidence: float | UnsetType | None = UNSET
    adapter: str | UnsetType = UNSET
    predictions: list[PredictionView] | UnsetType = UNSET


_AT_ONCE = 8  # texts of one request that the upstream model is asked
_decoder = msgspec.json.Decoder(PredictRequest)


async def predict(request: Request) -> Response:
    """Say what would be called for a text, a conversation, or each of a batch."""
    service: AnswerService = request.app.state.service
    body = await read_plain_body(request, service.max_body)
    try:
        wanted = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(f"the body cannot be read: {error}", hint=_EXAMPLE) from error
    named = request.headers.get(ADAPTER)
    demand(
        request,
        "ask" if named is None else "prove",
        "asking the champion" if named is None else f"asking the adapter that {ADAPTER} names",
    )
    upstream = None if named else service.passed_on()
    if upstream is not None:
        asked = _asked(wanted, service.context_turns, None)
        views = await while_asked(request, _from_upstream(upstream, asked))
        return _reply(wanted, views, {ADAPTER: upstream.adapter})
    loaded = service.champion() if named is None else service.adapters.get(named)
    limit = None if named else loaded.max_length * CHARACTERS_A_TOKEN
    asked = _asked(wanted, service.context_turns, limit)
    if named is None:
        answers = await _by_arms(request, service, asked, loaded)
    else:
        answers = await service.answer(request, asked, loaded, logged=False)
    headers = headers_of(answers[0]) if wanted.inputs is None else {ADAPTER: loaded.id}
    views = [_view(one, answer) for one, answer in zip(asked, answers, strict=True)]
    return _reply(wanted, views, headers)


async def _by_arms(
    request: Request, service: AnswerService, asked: Sequence[AskedText], champion: LoadedAdapter
) -> Sequence[GivenAnswer]:
    """One answer a text, each by the adapter that the lot gives its key."""
    parts: dict[str, tuple[LoadedAdapter, list[int]]] = {}
    marked = list(asked)
    for place, one in enumerate(asked):
        loaded, arm = service.routed(champion, key_of(one.rater, one.session, one.id))
        marked[place] = dataclasses.replace(one, arm=arm)
        parts.setdefault(loaded.id, (loaded, []))[1].append(place)
    answers: dict[int, GivenAnswer] = {}
    for loaded, places in parts.values():
        given = await service.answer(request, [marked[place] for place in places], loaded)
        answers.update(zip(places, given, strict=True))
    return [answers[place] for place in range(len(asked))]


def _reply(
    wanted: PredictRequest, views: Sequence[Mapping[str, Any]], headers: Mapping[str, str]
) -> Response:
    value = views[0] if wanted.inputs is None else {"predictions": views}
    return Response(msgspec.json.encode(value), 200, headers, media_type="application/json")


async def _from_upstream(
    upstream: Upstream, asked: Sequence[AskedText]
) -> Sequence[Mapping[str, Any]]:
    """What the upstream model says to each text, recorded."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(each: AskedText) -> Mapping[str, Any]:
        async with places:
            made, cost = await upstream.call(each.text)
        made = replace(
            made,
            id=each.id,
            text=each.text,
            session=each.session,
            rater=each.rater,
            slices=dict(each.slices),
            aliases=tuple(dict.fromkeys((made.id, *made.aliases))),
        )
        upstream.keep(PricedAnswer(made, cost))
        return {
            "id": made.id,
            "intent": made.intent,
            "arguments": made.arguments,
            "confidence": None,
            "adapter": made.adapter,
        }

    return await all_or_none(one, asked)


_EXAMPLE = 'for example {"text": "wake me at seven"}, or {"inputs": ["…", {"text": "…"}]}'


def _asked(wanted: PredictRequest, context_turns: int, limit: int | None) -> list[AskedText]:
    if wanted.inputs is None:
        return [_one(wanted, "", context_turns, limit)]
    if wanted.text is not None or wanted.messages is not None:
        raise BadRequest("`inputs` stands beside `text` or `messages`", hint=_EXAMPLE)
    if not wanted.inputs:
        raise BadRequest("`inputs` is empty", hint=_EXAMPLE)
    return [
        _one(
            PredictInput(text=each) if isinstance(each, str) else each,
            f"inputs[{number}].",
            context_turns,
            limit,
        )
        for number, each in enumerate(wanted.inputs)
    ]


def _one(wanted: PredictInput, at: str, context_turns: int, limit: int | None) -> AskedText:
    return AskedText(
        id=wanted.id or new_id("p"),
        text=_text(wanted, at, context_turns, limit),
        session=wanted.session,
        rater=wanted.rater,
        slices=wanted.slices,
    )


def _text(wanted: PredictInput, at: str, context_turns: int, limit: int | None) -> str:
    if (wanted.text is None) == (wanted.messages is None):
        raise BadRequest(f"`{at}text` or `{at}messages` must be there, and not both", hint=_EXAMPLE)
    try:
        if wanted.messages is not None:
            fields = Fields("predict", {})
            text = asked_in(wanted.messages, fields, f"{at}messages", context_turns).text
        else:
            text = unicode(wanted.text or "", "predict", f"{at}text")
    except BadEvent as error:
        raise BadRequest(f"`{error.field}` {error.why}", hint=_EXAMPLE) from error
    if not text.strip():
        raise BadRequest(f"`{at}text` is empty", hint=_EXAMPLE)
    if limit and len(text) > limit:
        raise BadRequest(
            f"`{at}text` has {len(text):,} characters, and the adapter reads few of them",
            hint=f"send {limit:,} characters at most",
        )
    return text


def _view(asked: AskedText, answer: GivenAnswer) -> Mapping[str, Any]:
    return {
        "id": asked.id,
        "intent": answer.intent,
        "arguments": answer.arguments,
        "confidence": answer.confidence,
        "adapter": answer.adapter,
    }
