"""Records as other tools write them, each made from a meaning that is known beforehand.

A meaning is a text and its calls, or a verdict on a target. It is spelled in one of the forms that
flywheel promises to read. Nothing here asks flywheel what a record says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.real_verdicts import VERDICTS, Verdict

Json = dict[str, Any]
Calls = tuple[tuple[str, Json], ...]
INTENTS = (
    "set_alarm", "set_timer", "play_music", "play_podcast", "send_message", "call_contact",
    "get_weather", "set_thermostat",
)  # fmt: skip
_ARGUMENT = {
    "set_alarm": "time", "set_timer": "duration", "send_message": "recipient",
    "call_contact": "contact", "get_weather": "place", "set_thermostat": "temperature",
}  # fmt: skip
_VALUES = ("six", "七点", "Zoë", 'a "quoted" word', "back\\slash", "a, b; c", "{curly}", "😀")
_TEXTS = (
    "wake me at six", "明早七点叫我", "weck mich um sechs, bitte", "say \"no\" to Ann",
    "what's 1/2 of it?", "rendez-vous à midi", "set_alarm or set_timer?", "C:\\temp, please",
    "play <b>jazz</b> & blues", "🎵 play it", "tell me a joke", "none", "a; b, c | d",
)  # fmt: skip
_WORDS = (
    "Sorry, I cannot do that.", "Which one do you mean?", "抱歉，我不能。",
    "I could call set_alarm, but will not.",
    "It is {warm}.", "No.",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a record means, and how much of that may be lost."""

    mark: str  # occurs in the text, or in the target, and nowhere else
    kind: str  # prediction, verdict, sample
    text: str = ""
    calls: Calls | None = ()  # (): says that there is no call; None: says nothing, not to be taken
    verdict: Verdict | None = None
    broken: bool = False  # its arguments cannot be read
    bare: bool = False  # the call's arguments were taken away
    held: bool = True  # damaged, so that it may be refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to be sent."""

    meaning: Meaning
    form: str
    event: Json
    line: bytes | None = None  # instead of the event's JSON: damaged
    damages: tuple[str, ...] = ()

    @property
    def raw(self) -> bytes:
        """The record as a line of a file."""
        if self.line is not None:
            return self.line
        return json.dumps(self.event, ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass(slots=True)
class Maker:
    """Makes meanings and spells them."""

    chance: random.Random
    count: int = 0
    _clock: int = field(default=1_795_000_000)

    def record(self) -> Record:
        """One undamaged record of any form."""
        self.count += 1
        self._clock += 1
        mark = f"k{self.count:06d}k"
        if self.chance.random() < 0.3:
            verdict, form, event = self.chance.choice(VERDICTS)(self.chance, mark)
            return Record(
                meaning=Meaning(mark=mark, kind="verdict", verdict=verdict), form=form, event=event
            )
        form = self.chance.choice(tuple(FORMS))
        several = form not in ONE_CALL
        meaning = Meaning(
            mark=mark,
            kind="sample" if form in SAMPLES else "prediction",
            text=f"{self.chance.choice(_TEXTS)} {mark}",
            calls=self._calls(several),
        )
        return Record(meaning=meaning, form=form, event=FORMS[form](self, meaning))

    def _calls(self, several: bool) -> Calls:
        chance = self.chance
        count = chance.choices((0, 1, 2 if several else 1), (2, 7, 1))[0]
        names = chance.sample(INTENTS, count)
        return tuple((name, self._arguments(name)) for name in names)

    def _arguments(self, intent: str) -> Json:
        name = _ARGUMENT.get(intent)
        if name is None or self.chance.random() < 0.2:
            return {}
        return {name: self.chance.choice(_VALUES)}

    # Parts that several forms share.

    def seconds(self) -> int:
        """A time, in seconds since 1970."""
        return self._clock

    def iso(self) -> str:
        """The same as text."""
        day, rest = divmod(self._clock - 1_793_491_200, 86_400)  # from 2026-11-01
        return f"2026-11-{day + 1:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}Z"

    def words(self) -> str:
        """An answer without a call."""
        return self.chance.choice(_WORDS)

    def as_json(self, value: Any) -> str:
        """JSON text."""
        return json.dumps(value, ensure_ascii=self.chance.random() < 0.5)

    def either(self, value: Any) -> Any:
        """The value, or its JSON text."""
        return self.as_json(value) if self.chance.random() < 0.5 else value

    def asked(self, text: str) -> list[Json]:
        """A conversation that ends with the text."""
        chance = self.chance
        content: Any = text
        if chance.random() < 0.4:
            content = [{"type": "text", "text": text}]
        messages = [{"role": "user", "content": content}]
        if chance.random() < 0.3:
            earlier = [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "Hello! What can I do?"},
            ]
            messages = earlier + messages
        if chance.random() < 0.5:
            messages = [{"role": "system", "content": "You call functions."}, *messages]
        return messages

    def openai_message(self, calls: Calls) -> Json:
        """An answer as OpenAI's Chat Completions writes it."""
        if not calls:
            return {"role": "assistant", "content": self.words()}
        tool_calls = [
            {"id": f"c{i}", "type": "function",
             "function": {"name": name, "arguments": self.either(given)}}
            for i, (name, given) in enumerate(calls)
        ]  # fmt: skip
        return {"role": "assistant", "content": None, "tool_calls": tool_calls}

    def completion(self, mark: str, message: Json) -> Json:
        """A response of Chat Completions."""
        return {
            "id": f"chatcmpl-{mark}", "created": self.seconds(), "model": "m-1",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }  # fmt: skip

    def reply(self, calls: Calls) -> Any:
        """An answer in any spelling of a call."""
        style = self.chance.choice(STYLES if len(calls) == 1 else SEVERAL)
        return style(self, calls) if calls else self.openai_message(())


# Spellings of an answer with calls.


def _json_mode(maker: Maker, calls: Calls) -> Any:
    (name, given), chance = calls[0], maker.chance
    said = {"intent": name, chance.choice(("slots", "arguments", "parameters")): given}
    if chance.random() < 0.3:
        said["confidence"] = 0.9
    text = maker.as_json(said)
    if chance.random() < 0.4:
        text = f"```json\n{text}\n```"
    content: Any = [{"type": "text", "text": text}] if chance.random() < 0.4 else text
    return chance.choice((content, {"role": "assistant", "content": content}))


def _entities(maker: Maker, calls: Calls) -> Any:
    name, given = calls[0]
    listed = [{"entity": key, "value": value} for key, value in given.items()]
    return {"role": "assistant", "content": maker.as_json({"intent": name, "entities": listed})}


def _parsed(maker: Maker, calls: Calls) -> Any:
    name, given = calls[0]
    said = {"intent": name, "arguments": given}
    return {"role": "assistant", "content": maker.as_json(said), "parsed": said}


def _legacy(maker: Maker, calls: Calls) -> Any:
    name, given = calls[0]
    call = {"name": name, "arguments": maker.as_json(given)}
    return {"role": "assistant", "content": None, "function_call": call}


def _langchain(maker: Maker, calls: Calls) -> Any:
    listed = [
        {"name": n, "args": a, "id": f"c{i}", "type": "tool_call"} for i, (n, a) in enumerate(calls)
    ]
    return {"type": "ai", "content": "", "tool_calls": listed}


def _langchain_more(maker: Maker, calls: Calls) -> Any:
    listed = maker.openai_message(calls)["tool_calls"]
    return {"type": "ai", "content": "", "additional_kwargs": {"tool_calls": listed}}


def _vercel(maker: Maker, calls: Calls) -> Any:
    key = maker.chance.choice(("input", "args"))
    blocks = [
        {"type": "tool-call", "toolCallId": f"c{i}", "toolName": n, key: a}
        for i, (n, a) in enumerate(calls)
    ]
    return {"role": "assistant", "content": blocks}


def _gemini(maker: Maker, calls: Calls) -> Any:
    key = maker.chance.choice(("functionCall", "function_call"))
    return {"role": "model", "parts": [{key: {"name": n, "args": a}} for n, a in calls]}


def _bedrock(maker: Maker, calls: Calls) -> Any:
    uses = [{"toolUse": {"toolUseId": "t", "name": n, "input": a}} for n, a in calls]
    return {"role": "assistant", "content": uses}


def _anthropic(maker: Maker, calls: Calls) -> Any:
    kind = maker.chance.choice(("tool_use", "mcp_tool_use"))
    uses = [{"type": kind, "id": f"t{i}", "name": n, "input": a} for i, (n, a) in enumerate(calls)]
    return {"role": "assistant", "content": [{"type": "text", "text": "I will."}, *uses]}


def _hermes(maker: Maker, calls: Calls) -> Any:
    tags = [
        f"<tool_call>\n{maker.as_json({'name': n, 'arguments': a})}\n</tool_call>" for n, a in calls
    ]
    return {"role": "assistant", "content": "\n".join(tags)}


def _responses_items(maker: Maker, calls: Calls) -> Any:
    return [
        {"type": "function_call", "call_id": f"c{i}", "name": n, "arguments": maker.as_json(a)}
        for i, (n, a) in enumerate(calls)
    ]


def _openai(maker: Maker, calls: Calls) -> Any:
    return maker.openai_message(calls)


def _text_of(maker: Maker, calls: Calls) -> Any:
    return maker.as_json(maker.openai_message(calls))


def _label(maker: Maker, calls: Calls) -> Any:
    name, given = calls[0]
    return name if not given else _openai(maker, calls)


SEVERAL = (
    _openai, _langchain, _langchain_more, _vercel, _gemini, _bedrock, _anthropic, _hermes,
    _responses_items, _text_of,
)  # fmt: skip
STYLES = (*SEVERAL, _json_mode, _entities, _parsed, _legacy, _label)


# Forms of predictions and samples.


def _native(maker: Maker, meaning: Meaning) -> Json:
    event: Json = {"id": f"p-{meaning.mark}", "ts": maker.iso()}
    if maker.chance.random() < 0.3:
        event["messages"] = maker.asked(meaning.text)
    else:
        event["text"] = meaning.text
    return event | _native_call(maker, meaning) | {"confidence": 0.5}


def _native_call(maker: Maker, meaning: Meaning) -> Json:
    calls = meaning.calls or ()
    if not calls:
        return {"intent": maker.chance.choice((None, "none"))}
    if len(calls) > 1:
        return {"calls": [{"intent": name, "arguments": given} for name, given in calls]}
    name, given = calls[0]
    return {"intent": name, "arguments": maker.either(given)}


def _native_sample(maker: Maker, meaning: Meaning) -> Json:
    return {"text": meaning.text, **_native_call(maker, meaning), "split": "train"}


def _sft(maker: Maker, meaning: Meaning) -> Json:
    answer = maker.openai_message(meaning.calls or ())
    return {"messages": [*maker.asked(meaning.text), answer], "tools": []}


def _openai_log(maker: Maker, meaning: Meaning) -> Json:
    return {
        "timestamp": maker.seconds(), "workload_id": "w", "client_id": "c",
        "request": {"model": "m", "messages": maker.asked(meaning.text)},
        "response": maker.completion(meaning.mark, maker.openai_message(meaning.calls or ())),
    }  # fmt: skip


def _tensorzero(maker: Maker, meaning: Meaning) -> Json:
    blocks: list[Json] = [
        {"type": "tool_call", "id": f"t{i}", "name": n, "arguments": a, "raw_name": n,
         "raw_arguments": maker.as_json(a)}
        for i, (n, a) in enumerate(meaning.calls or ())
    ] or [{"type": "text", "text": maker.words()}]  # fmt: skip
    return {
        maker.chance.choice(("id", "inference_id")): f"019ab9a1-{meaning.mark}",
        "function_name": "router", "variant_name": "v", "episode_id": f"e-{meaning.mark}",
        "input": maker.either({"messages": [
            {"role": "user", "content": [{"type": "text", "text": meaning.text}]}]}),
        "output": maker.either(blocks), "timestamp": maker.iso(), "tags": {},
    }  # fmt: skip


def _tensorzero_json(maker: Maker, meaning: Meaning) -> Json:
    calls = meaning.calls or ()
    said = {"intent": calls[0][0], "arguments": calls[0][1]} if calls else {"intent": None}
    event = _tensorzero(maker, meaning)
    return event | {"output": {"parsed": said, "raw": maker.as_json(said)}, "output_schema": {}}


def _langfuse(maker: Maker, meaning: Meaning) -> Json:
    names = maker.chance.choice((
        ("traceId", "startTime", "endTime"), ("trace_id", "start_time", "end_time"),
    ))  # fmt: skip
    trace, start, end = names
    inputs = maker.chance.choice((
        maker.asked(meaning.text), {"messages": maker.asked(meaning.text)}, meaning.text,
        {"args": [], "kwargs": {"text": meaning.text}}, [maker.asked(meaning.text)],
        [{"type": "human", "content": meaning.text}],
        [{"role": "user", "parts": [{"text": meaning.text}]}],
    ))  # fmt: skip
    return {
        "id": f"o-{meaning.mark}", trace: f"t-{meaning.mark}", "type": "GENERATION", "name": "r",
        start: maker.iso(), end: maker.iso(), "model": "m", "input": inputs,
        "output": maker.reply(meaning.calls or ()), "metadata": {},
    }  # fmt: skip


def _litellm(maker: Maker, meaning: Meaning) -> Json:
    message = maker.openai_message(meaning.calls or ())
    return {
        maker.chance.choice(("id", "request_id")): f"chatcmpl-{meaning.mark}",
        "trace_id": f"t-{meaning.mark}", "call_type": "acompletion", "status": "success",
        "startTime": maker.seconds(), "endTime": maker.seconds() + 0.5, "model": "m",
        "messages": maker.asked(meaning.text), "metadata": {},
        "response": maker.completion(meaning.mark, message),
    }  # fmt: skip


def _rasa(maker: Maker, meaning: Meaning) -> Json:
    calls = meaning.calls or ()
    name, given = calls[0] if calls else (maker.chance.choice((None, "nlu_fallback")), {})
    entities = [{"entity": key, "value": value} for key, value in given.items()]
    return {
        "sender_id": f"s-{meaning.mark}", "timestamp": maker.seconds() + 0.25, "event": "user",
        "text": meaning.text, "metadata": {},
        "parse_data": {"text": meaning.text, "intent": {"name": name, "confidence": 0.9},
                       "intent_ranking": [], "entities": entities},
    }  # fmt: skip


def _anthropic_log(maker: Maker, meaning: Meaning) -> Json:
    calls = meaning.calls or ()
    blocks = [
        {"type": "tool_use", "id": f"u{i}-{meaning.mark}", "name": n, "input": a}
        for i, (n, a) in enumerate(calls)
    ]
    words = [{"type": "text", "text": maker.words()}]
    asked = [one for one in maker.asked(meaning.text) if one["role"] != "system"]
    return {
        "timestamp": maker.iso(),
        "request": {"model": "claude", "max_tokens": 9, "messages": asked, "system": "route"},
        "response": {"id": f"msg_{meaning.mark}", "type": "message", "role": "assistant",
                     "model": "claude", "content": words + blocks if calls else words,
                     "stop_reason": "end_turn"},
    }  # fmt: skip


def _gemini_log(maker: Maker, meaning: Meaning) -> Json:
    parts = [{"functionCall": {"name": n, "args": a}} for n, a in meaning.calls or ()]
    return {
        "timestamp": maker.iso(),
        "request": {"contents": [{"role": "user", "parts": [{"text": meaning.text}]}]},
        "response": {"responseId": f"g-{meaning.mark}", "modelVersion": "g", "candidates": [
            {"content": {"role": "model", "parts": parts or [{"text": maker.words()}]}}]},
    }  # fmt: skip


def _responses_log(maker: Maker, meaning: Meaning) -> Json:
    items: list[Json] = [
        {"type": "function_call", "id": f"f{i}-{meaning.mark}", "call_id": f"c{i}-{meaning.mark}",
         "name": n, "arguments": maker.as_json(a)}
        for i, (n, a) in enumerate(meaning.calls or ())
    ] or [
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": maker.words()}]}
    ]  # fmt: skip
    block = [{"role": "user", "content": [{"type": "input_text", "text": meaning.text}]}]
    return {
        "request": {"model": "m", "input": maker.chance.choice((meaning.text, block))},
        "response": {"id": f"resp_{meaning.mark}", "object": "response", "model": "m",
                     "created_at": maker.seconds(), "status": "completed", "output": items},
    }  # fmt: skip


def _parts(maker: Maker, calls: Calls) -> list[Json]:
    return [
        {"type": "tool_call", "id": f"c{i}", "name": n, "arguments": maker.either(a)}
        for i, (n, a) in enumerate(calls)
    ] or [{"type": "text", "content": maker.words()}]


def _otel_event(maker: Maker, meaning: Meaning) -> Json:
    asked = [{"role": "user", "parts": [{"type": "text", "content": meaning.text}]}]
    said = [{"role": "assistant", "parts": _parts(maker, meaning.calls or ()),
             "finish_reason": "stop"}]  # fmt: skip
    return {
        "name": "gen_ai.client.inference.operation.details", "timestamp": maker.iso(),
        "attributes": {
            "gen_ai.operation.name": "chat", "gen_ai.response.id": f"r-{meaning.mark}",
            "gen_ai.request.model": "m", "gen_ai.input.messages": maker.either(asked),
            "gen_ai.output.messages": maker.either(said),
        },
    }  # fmt: skip


def _otel_span(maker: Maker, meaning: Meaning) -> Json:
    event = _otel_event(maker, meaning)
    attributes = [
        {"key": key, "value": {"stringValue": value if isinstance(value, str) else
                               maker.as_json(value)}}
        for key, value in event["attributes"].items()
    ]  # fmt: skip
    span = {
        "traceId": f"{meaning.mark}", "spanId": f"a{meaning.mark}", "name": "chat m",
        "startTimeUnixNano": str(maker.seconds() * 10**9),
        "endTimeUnixNano": str(maker.seconds() * 10**9 + 1), "attributes": attributes,
    }  # fmt: skip
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def _otel_flat(maker: Maker, meaning: Meaning) -> Json:
    attributes: Json = {
        "gen_ai.system": "OpenAI", "llm.request.type": "chat", "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": meaning.text,
    }  # fmt: skip
    for i, (name, given) in enumerate(meaning.calls or ()):
        head = f"gen_ai.completion.0.tool_calls.{i}"
        attributes |= {f"{head}.name": name, f"{head}.arguments": maker.as_json(given)}
    if not meaning.calls:
        attributes |= {"gen_ai.completion.0.content": maker.words()}
    return {
        "traceId": meaning.mark, "spanId": f"b{meaning.mark}", "name": "openai.chat",
        "startTimeUnixNano": str(maker.seconds() * 10**9),
        "attributes": {**attributes, "gen_ai.completion.0.role": "assistant"},
    }  # fmt: skip


def _openinference(maker: Maker, meaning: Meaning) -> Json:
    attributes: Json = {"openinference.span.kind": "LLM", "llm.model_name": "m"}
    messages = [one for one in maker.asked(meaning.text) if isinstance(one["content"], str)]
    messages = messages if messages and messages[-1]["role"] == "user" else []
    for i, one in enumerate(messages or [{"role": "user", "content": meaning.text}]):
        attributes[f"llm.input_messages.{i}.message.role"] = one["role"]
        attributes[f"llm.input_messages.{i}.message.content"] = one["content"]
    attributes["llm.output_messages.0.message.role"] = "assistant"
    for i, (name, given) in enumerate(meaning.calls or ()):
        head = f"llm.output_messages.0.message.tool_calls.{i}.tool_call.function"
        attributes |= {f"{head}.name": name, f"{head}.arguments": maker.as_json(given)}
    if not meaning.calls:
        attributes["llm.output_messages.0.message.content"] = maker.words()
    return {
        "context": {"trace_id": f"t-{meaning.mark}", "span_id": f"s-{meaning.mark}"},
        "name": "ChatCompletion", "start_time": maker.iso(), "end_time": maker.iso(),
        "status_code": "OK", "attributes": attributes,
    }  # fmt: skip


def _mlflow(maker: Maker, meaning: Meaning) -> Json:
    calls = meaning.calls or ()
    said = maker.completion(meaning.mark, maker.openai_message(calls))
    return {
        "trace_id": f"tr-{meaning.mark}", "request_time": maker.iso(), "state": "OK", "spans": [],
        "request": maker.as_json({"messages": maker.asked(meaning.text)}),
        "response": maker.as_json(said), "execution_duration": 90, "trace_metadata": {}, "tags": {},
    }  # fmt: skip


FORMS: Mapping[str, Callable[[Maker, Meaning], Json]] = {
    "native": _native, "native sample": _native_sample, "sft": _sft, "openai": _openai_log,
    "tensorzero": _tensorzero, "tensorzero json": _tensorzero_json, "langfuse": _langfuse,
    "langfuse again": _langfuse, "litellm": _litellm, "rasa": _rasa, "anthropic": _anthropic_log,
    "gemini": _gemini_log, "openai-responses": _responses_log, "otel event": _otel_event,
    "otel span": _otel_span, "otel flat": _otel_flat, "openinference": _openinference,
    "mlflow": _mlflow,
}  # fmt: skip
SAMPLES = ("native sample", "sft")
ONE_CALL = ("tensorzero json", "rasa", *SAMPLES)
