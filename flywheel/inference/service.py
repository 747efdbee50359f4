"""The one way to an answer, whatever form it was asked in: queue, adapter, log, counts."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request

from flywheel import __version__
from flywheel.inference.answer_events import AskedText, event_of
from flywheel.inference.batching import Engine, GivenAnswer, Limits, Question
from flywheel.inference.loaded import LoadedAdapter, LoadedAdapters
from flywheel.inference.recording import Recorder
from flywheel.inference.refused import NoChampion
from flywheel.inference.serve_metrics import ServeMetrics
from flywheel.inference.upstream import Upstream
from flywheel.records import ArmName
from flywheel.web.peer import GONE

log = logging.getLogger(__name__)

SLICES = frozenset({"channel", "locale"})
"""Names in free metadata that are slices, as at ingest."""


class AnswerService:
    """What the handlers share; used in one event loop.

    Args:
        adapters: what answers.
        limits: of the engine.
        recorder: keeps the answers.
        threads: of the engine.
        context_turns: earlier user messages put before the last one.
        slices: names in a request's metadata that are slices; others may hold anything.
        max_body: bytes of a request.
        max_line: bytes of one event of a batch.
    """

    def __init__(
        self,
        adapters: LoadedAdapters,
        limits: Limits,
        recorder: Recorder,
        *,
        threads: int = 1,
        context_turns: int = 0,
        slices: frozenset[str] = SLICES,
        max_body: int = 32 << 20,
        max_line: int = 256 << 10,
    ) -> None:
        self.adapters = adapters
        self.recorder = recorder
        self.context_turns = context_turns
        self.slices = slices
        self.max_body = max_body
        self.max_line = max_line
        self.upstream: Upstream | None = None  # set once it is known
        self.delivery: Callable[[], Mapping[str, Any]] = dict  # how the daemon takes answers
        self.look_at_arms: Callable[[], Awaitable[None]] = _no_arms  # follows the daemon's plan
        self.metrics = ServeMetrics()
        self.engine = Engine(limits, recorder.record, self.metrics.batch, threads)
        self.instance = secrets.token_hex(8)
        self.problems: dict[str, str] = {}  # by their kind, in words

    @property
    def former_models(self) -> tuple[str, ...]:
        """Names that clients may go on to send when the champion answers."""
        return (self.upstream.table.model,) if self.upstream else ()

    def passed_on(self) -> Upstream | None:
        """The upstream model, where it answers now."""
        if self.upstream and self.upstream.answers(champion=self.adapters.current is not None):
            return self.upstream
        return None

    @property
    def ready(self) -> bool:
        """Whether questions are answered."""
        return self.adapters.current is not None or self.upstream is not None

    def champion(self) -> LoadedAdapter:
        """The adapter that answers traffic.

        Raises:
            NoChampion: there is none yet.
        """
        if self.adapters.current is None:
            raise NoChampion(
                "there is no champion yet",
                hint="promote an adapter (`flywheel review list`), or name a model in "
                "[serving.upstream] that answers until then",
            )
        return self.adapters.current

    def routed(self, champion: LoadedAdapter, key: str) -> tuple[LoadedAdapter, ArmName]:
        """What answers a key that asks the champion, and its arm; see `promotion.key_of`."""
        if champion is not self.adapters.current:
            return champion, ""  # switched since the request came: it goes on as it began
        return self.adapters.routed(key)

    async def answer(
        self,
        request: Request,
        asked: Sequence[AskedText],
        loaded: LoadedAdapter,
        *,
        logged: bool = True,
    ) -> Sequence[GivenAnswer]:
        """Return one answer a text, all of them by this adapter, and logged.

        Raises:
            QueueFull, DeadlinePassed, EngineFailed: there is none.
        """
        began, ts = time.perf_counter(), time.time()

        def events(answers: Sequence[GivenAnswer]) -> Sequence[dict[str, Any]]:
            latency_ms = 1000 * (time.perf_counter() - began)
            pairs = zip(asked, answers, strict=True)
            return [event_of(each, answer, ts, latency_ms) for each, answer in pairs]

        question = Question(
            texts=[each.text for each in asked],
            answerer=loaded.router,
            done=asyncio.get_running_loop().create_future(),
            events=events if logged else None,
            gone=request.scope.get(GONE, _never),
        )
        with loaded.in_use():
            answers = await self.engine.ask(question)
        self.adapters.sweep()
        self.metrics.took(time.perf_counter() - began)
        for answer in answers:
            self.metrics.answered(answer.intent)
        if log.isEnabledFor(logging.DEBUG):
            _tell(request, asked, loaded)
        return answers

    def state(self) -> dict[str, Any]:
        """What serves now, as `GET /v1/serving` answers."""
        current = self.adapters.current
        return {
            "adapter": current.id if current else None,
            "loaded": self.adapters.ids(),
            "engine": current.router.engine if current else "",
            "arms": None
            if (plan := self.adapters.arms) is None
            else {"champion": plan.champion, "earlier": plan.earlier, "share": plan.share},
            "upstream": upstream.adapter if (upstream := self.passed_on()) else "",
            "instance": self.instance,
            "since": self.adapters.since,
            "queue": self.engine.depth,
            "log": {**self.recorder.log.state(), **self.delivery()},
            "problems": list(self.problems.values()),
            "version": __version__,
        }


def _tell(request: Request, asked: Sequence[AskedText], loaded: LoadedAdapter) -> None:
    """A line for each answer; ids, and no text."""
    named = request.headers.get("x-request-id", "")[:100]
    for each in asked:
        extra = {"event": "serve.answered", "prediction": each.id, "request": named}
        log.debug("answered %s by %s", each.id, loaded.id, extra=extra)


async def _no_arms() -> None:
    """Nothing is planned."""


def _never() -> bool:
    return False


def headers_of(answer: GivenAnswer) -> dict[str, str]:
    """Which adapter answered, and how sure it was."""
    return {
        "x-flywheel-adapter": answer.adapter,
        "x-flywheel-confidence": f"{answer.confidence:.6f}",
    }
