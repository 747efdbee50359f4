"""Questions that another model answered, recorded as predictions by the rules of ingest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from flywheel.config import UpstreamTable
from flywheel.formats import BadEvent, Parsed, parse
from flywheel.formats.streams import put_together
from flywheel.inference.recording import Recorder
from flywheel.inference.serve_metrics import ServeMetrics
from flywheel.records import Intent, Prediction

log = logging.getLogger(__name__)

_FORMATS = {"chat/completions": "openai", "responses": "openai-responses"}
_BYTES_A_TOKEN = 3.0  # where no counts are sent; overestimates English
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Prediction)}
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)


class Exchanged:
    """A request that was sent, and when."""

    def __init__(self, path: str, raw: Mapping[str, msgspec.Raw], adapter: str) -> None:
        self.path = path
        self.raw = raw
        self.adapter = adapter
        self.at = datetime.now(UTC)
        self._began = time.perf_counter()

    def seconds(self) -> float:
        """Since it was sent."""
        return time.perf_counter() - self._began


class PricedAnswer(NamedTuple):
    """An answer of another model, and what it cost."""

    prediction: Prediction
    cost_usd: float | None  # None where no price is known


class Exchanges:
    """Records what was asked and answered.

    Args:
        recorder: keeps predictions.
        metrics: counts them.
        table: prices.
        intents: that an answer may call.
        context_turns: earlier user messages put before the last one.
    """

    def __init__(
        self,
        recorder: Recorder,
        metrics: ServeMetrics,
        table: UpstreamTable,
        intents: Sequence[Intent],
        context_turns: int,
    ) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._table = table
        self._known = {intent.name: intent for intent in intents}
        self._context_turns = context_turns

    def record(self, exchanged: Exchanged, content: bytes, *, streamed: bool = False) -> None:
        """Record a request with its answer; one that cannot be read is counted, and passes.

        Args:
            exchanged: the request.
            content: the answer's body.
            streamed: it is of server-sent events.
        """
        for each in self.read(exchanged, content, streamed=streamed):
            self.keep(each)

    def read(
        self, exchanged: Exchanged, content: bytes, *, streamed: bool = False
    ) -> Sequence[PricedAnswer]:
        """Return what an answer says: one prediction, or none that ingest would keep."""
        seconds = exchanged.seconds()
        self._metrics.took(seconds, "upstream")
        try:
            request = {name: msgspec.json.decode(value) for name, value in exchanged.raw.items()}
            response = _streamed(content) if streamed else msgspec.json.decode(content)
            parsed = self._parsed(exchanged, request, response, seconds)
        except (BadEvent, *_BROKEN) as error:
            field = error.field if isinstance(error, BadEvent) else ""
            log.warning(
                "an answer of the upstream model cannot be recorded%s",
                f": {field}" if field else "",
                extra={"event": "upstream.unread", "field": field},
            )
            self._metrics.unread()
            return ()
        cost = self._cost(exchanged.raw, response)
        return [
            PricedAnswer(msgspec.structs.replace(each, adapter=exchanged.adapter), cost)
            for each in parsed
        ]

    def keep(self, answered: PricedAnswer) -> None:
        """Record one answer."""
        self._metrics.answered(answered.prediction.intent, answered.cost_usd or 0.0)
        event = as_event(answered.prediction)
        if answered.cost_usd is not None:
            event["cost_usd"] = answered.cost_usd
        self._recorder.record([event])

    def _parsed(
        self,
        exchanged: Exchanged,
        request: Mapping[str, Any],
        response: Mapping[str, Any],
        seconds: float,
    ) -> Sequence[Prediction]:
        event = {
            "request": request,
            "response": response,
            "timestamp": exchanged.at.isoformat(),
            "latency_ms": round(1000 * seconds, 3),
            "metadata": request.get("metadata"),
        }
        parsed: Parsed = parse(
            event,
            "predictions",
            _FORMATS[exchanged.path],
            self._context_turns,
            received=datetime.now(UTC),
            known=self._known,
        )
        return parsed.predictions

    def _cost(self, raw: Mapping[str, msgspec.Raw], response: Mapping[str, Any]) -> float | None:
        """US dollars; None where no price is configured. Tokens that are not told are estimated."""
        table = self._table
        if not table.usd_per_million_input and not table.usd_per_million_output:
            return None
        usage = response.get("usage")
        usage = usage if isinstance(usage, Mapping) else {}
        sent = usage.get("prompt_tokens", usage.get("input_tokens"))
        received = usage.get("completion_tokens", usage.get("output_tokens"))
        if not isinstance(sent, int):
            sent = sum(len(bytes(value)) for value in raw.values()) / _BYTES_A_TOKEN
        if not isinstance(received, int):
            received = len(msgspec.json.encode(_said(response))) / _BYTES_A_TOKEN
        usd = sent * table.usd_per_million_input + received * table.usd_per_million_output
        return float(usd) / 1e6


def as_event(made: Prediction) -> dict[str, Any]:
    """A prediction in the native form, without the fields that say nothing."""
    values = msgspec.structs.asdict(made)
    return {
        name: value
        for name, value in values.items()
        if name in ("id", "ts", "text", "intent") or value != _DEFAULTS[name]
    }


def _said(response: Mapping[str, Any]) -> Any:
    return response.get("choices") or response.get("output")


def _streamed(content: bytes) -> Mapping[str, Any]:
    """The answer of a whole stream, in the form of one that is not streamed.

    Raises:
        BadEvent: it ends before it says how.
    """
    text = content.decode()
    pieces = []
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data and data != "[DONE]":
            pieces.append(msgspec.json.decode(data))
    message = put_together(pieces, "openai", "response")
    if message.get("object") == "response":
        return message
    first = pieces[0] if pieces else {}
    usage = next((each["usage"] for each in reversed(pieces) if each.get("usage")), None)
    return {
        "id": first.get("id"),
        "model": first.get("model"),
        "choices": [{"index": 0, "message": message}],
        "usage": usage,
    }
