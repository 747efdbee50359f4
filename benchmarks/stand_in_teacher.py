"""A teacher without a language model: held-out real utterances over the OpenAI protocol.

It reads a request as a model would. The intent asked for decides whose utterances may come back;
the failed texts and the contrast decide which of them: nearest in wording to what failed, farthest
from the neighbour. A request without them gets random ones. The label-free question is answered
with what the utterances really are. Faults can be turned on, and an obedient mode that does what
it finds written inside the quoted production text.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flywheel.curation import normalise, word_set
from flywheel.records import NONE
from flywheel.teacher.prompts import DATA_CLOSE, DATA_OPEN

_DATA = re.compile(f"{DATA_OPEN}(.*?){DATA_CLOSE}(.*)", re.DOTALL)
_ORDER = re.compile(r"Write (\d+) sentences for `(.+?)`. This is part (\d+) of (\d+)")
_OFF_TOPIC = ("asdf qwer zxcv", "the weather is a state of mind", "lorem ipsum dolor sit amet")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong, each as a share of samples or of requests."""

    wrong_label: float = 0.0  # an utterance of another intent
    near_duplicate: float = 0.0  # the same utterance again, one word more
    golden_leak: float = 0.0  # a golden text, respelled
    off_topic: float = 0.0
    blind_error: float = 0.0  # the label-free question answered wrongly
    malformed: float = 0.0  # requests answered with cut-off JSON
    wrong_count: float = 0.0  # requests answered with half of what was asked
    refusal: float = 0.0
    storm: float = 0.0  # 429 with a short Retry-After
    stall: float = 0.0
    cut: float = 0.0


@dataclass
class StandIn:
    """What the server knows, and what it did."""

    pool: Mapping[str, Sequence[str]]  # utterances by intent, kept from everything else
    golden: Sequence[str] = ()
    faults: Faults = Faults()
    obeys: Any = None  # attacks.Obedience: what an instruction in production text makes it do
    seed: int = 0
    planted: dict[str, str] = field(default_factory=dict)  # normal form -> fault
    truth: dict[str, str] = field(default_factory=dict)  # normal form -> real intent
    requests: int = 0
    bodies: Counter[str] = field(default_factory=Counter)  # prompts answered, for repeat purchases
    tried: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.truth |= {normalise(t): name for name, texts in self.pool.items() for t in texts}
        words = Counter(w for texts in self.pool.values() for t in texts for w in word_set(t))
        total = sum(map(len, self.pool.values())) + 1
        self._weight = {word: math.log(total / count) for word, count in words.items()}
        self._rare = math.log(total)

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The content of one completion, as the JSON that it is made of."""
        prompt = str(body["messages"][-1]["content"])
        found = _DATA.search(prompt)
        if found is None:
            return {"samples": []}
        data = json.loads(found[1])
        chance = random.Random(f"{self.seed} {prompt}")
        if "sentences" in data:
            return {"labels": self._labels(data, chance)}
        order = _ORDER.search(found[2])
        if order is None:
            return {"samples": []}
        count, part = int(order[1]), int(order[3]) - 1
        if chance.random() < self.faults.wrong_count:
            count = max(1, count // 2)
        texts = self._ranked(data, order[2], chance)[part * count : (part + 1) * count]
        samples = [self._sample(text, order[2], data, chance) for text in texts]
        samples += self._extra(texts, chance)
        return {"samples": self.obeys.rewritten(samples, data, prompt) if self.obeys else samples}

    def _ranked(self, data: Mapping[str, Any], intent: str, chance: random.Random) -> Sequence[str]:
        texts = list(self.pool.get(intent, ()))
        random.Random(f"{self.seed} {intent}").shuffle(texts)
        failed, contrast = data.get("failed_texts", ()), data.get("contrast", ())
        if not failed:
            return texts
        known = data.get("examples", ())
        return sorted(texts, key=lambda text: -self._worth(text, failed, contrast, known))

    def _worth(
        self, text: str, failed: Sequence[str], contrast: Sequence[str], known: Sequence[str]
    ) -> float:
        """As the prompt asks: near what failed and near the border, unlike what is there."""
        border = self._near(text, contrast)
        return self._near(text, failed) + border - self._near(text, known)

    def _near(self, text: str, others: Sequence[str]) -> float:
        """TF-IDF cosine to the others, the mean over the three nearest."""
        own = self._vector(text)
        values = sorted((_cosine(own, self._vector(other)) for other in others), reverse=True)[:3]
        return sum(values) / len(values) if values else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        return {word: self._weight.get(word, self._rare) for word in word_set(text)}

    def _sample(
        self, text: str, intent: str, data: Mapping[str, Any], chance: random.Random
    ) -> dict[str, Any]:
        draw = chance.random()
        for share, fault in (
            (self.faults.wrong_label, "wrong_label"),
            (self.faults.golden_leak, "golden_leak"),
            (self.faults.off_topic, "off_topic"),
        ):
            if draw < share:
                text = self._faulty(fault, text, intent, data, chance)
                self.planted.setdefault(normalise(text), fault)
                break
            draw -= share
        return {"text": text, "arguments": {}}

    def _faulty(
        self,
        fault: str,
        text: str,
        intent: str,
        data: Mapping[str, Any],
        chance: random.Random,
    ) -> str:
        if fault == "off_topic":
            return f"{chance.choice(_OFF_TOPIC)} {chance.randrange(999)}"
        if fault == "golden_leak" and self.golden:
            return respelled(chance.choice(list(self.golden)), chance)
        neighbour = (data.get("confused_with") or {}).get("name")
        names = [name for name in self.pool if name not in (intent, NONE) and self.pool[name]]
        other = neighbour if neighbour in names and chance.random() < 0.5 else chance.choice(names)
        return chance.choice(list(self.pool[other]))

    def _extra(self, texts: Sequence[str], chance: random.Random) -> list[dict[str, Any]]:
        again = [text for text in texts if chance.random() < self.faults.near_duplicate]
        made = [text.upper() if chance.random() < 0.5 else f"{text}?!" for text in again]
        return [{"text": text, "arguments": {}} for text in made]

    def _labels(self, data: Mapping[str, Any], chance: random.Random) -> list[dict[str, Any]]:
        names = [function["name"] for function in data["functions"]]
        labels = []
        for sentence in data["sentences"]:
            name = self.truth.get(normalise(sentence["text"]), NONE)
            if chance.random() < self.faults.blind_error:
                name = chance.choice(names)
            if self.obeys:
                name = self.obeys.relabelled(name, sentence["text"], data)
            labels.append({"number": sentence["number"], "function": name, "arguments": {}})
        return labels


def respelled(text: str, chance: random.Random) -> str:
    """The same sentence as another would type it."""
    return chance.choice(
        (
            text,
            text.upper(),
            f"{text}!!",
            text.replace("'", "’").title(),
            " ".join(sorted(text.split(), key=lambda _: chance.random())),
        )
    )


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    shared = sum(one[word] * other[word] for word in one.keys() & other.keys())
    norms = math.hypot(*one.values()) * math.hypot(*other.values()) if one and other else 0.0
    return shared / norms if norms else 0.0


@contextmanager
def serving(stand_in: StandIn) -> Iterator[str]:
    """Serve on this machine until the block ends; yields the base URL."""
    ready, state = threading.Event(), {}

    async def main() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: _connection(stand_in, reader, writer), "127.0.0.1", 0
        )
        state["port"], state["loop"] = server.sockets[0].getsockname()[1], asyncio.get_event_loop()
        state["ended"] = asyncio.Event()
        ready.set()
        async with server:
            await state["ended"].wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="stand-in", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{state['port']}/v1"
    finally:
        state["loop"].call_soon_threadsafe(state["ended"].set)
        thread.join()


async def _connection(
    stand_in: StandIn, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])
            raw = await reader.readexactly(size)
            if not await _reply(stand_in, raw, writer):
                break
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def _reply(stand_in: StandIn, raw: bytes, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection may go on."""
    body = json.loads(raw)
    stand_in.requests += 1
    prompt = str(body["messages"][-1]["content"])
    stand_in.tried[prompt] += 1
    faults, chance = stand_in.faults, random.Random(f"{prompt} {stand_in.tried[prompt]}")
    draw = chance.random()
    if draw < faults.storm:
        await _send(writer, 429, {"error": {"message": "slow down"}}, "retry-after-ms: 20\r\n")
        return True
    if draw < faults.storm + faults.stall:
        await asyncio.sleep(30)
        return False
    if draw < faults.storm + faults.stall + faults.cut:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{")
        await writer.drain()
        return False
    content = json.dumps(stand_in.answer(body), ensure_ascii=False)
    if chance.random() < faults.malformed:
        content = content[: len(content) * 2 // 3]
    refused = "I cannot help with that" if chance.random() < faults.refusal else None
    stand_in.bodies[prompt] += 1
    message = {"role": "assistant", "content": None if refused else content, "refusal": refused}
    await _send(
        writer,
        200,
        {
            "id": "chatcmpl-stand-in",
            "object": "chat.completion",
            "created": 0,
            "model": "stand-in",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {
                "prompt_tokens": len(raw) // 4,
                "completion_tokens": len(content) // 4,
                "total_tokens": (len(raw) + len(content)) // 4,
            },
        },
    )
    return True


async def _send(
    writer: asyncio.StreamWriter, status: int, value: Mapping[str, Any], headers: str = ""
) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    writer.write(
        f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\n{headers}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    await writer.drain()
