"""Micro-batching: threads ask the router, and what arrives meanwhile is the next batch.

A question that finds a thread idle, and nobody else asking, is answered at once. A batch is of
one adapter, which its questions were bound to when they came: whatever is switched meanwhile, an
answer is wholly of it. What was answered is recorded before it leaves its thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flywheel.errors import FlywheelError

log = logging.getLogger(__name__)


class GivenAnswer(Protocol):
    """One answer of a router."""

    @property
    def intent(self) -> str: ...  # noqa: D102
    @property
    def arguments(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102
    @property
    def adapter(self) -> str: ...  # noqa: D102
    @property
    def tokens(self) -> int: ...  # noqa: D102


class TextAnswerer(Protocol):
    """What answers texts; called from any thread of the engine, from several at a time."""

    def answer_batch(self, texts: Sequence[str]) -> Sequence[GivenAnswer]:
        """One answer a text, in their order."""


class QueueFull(FlywheelError):
    """As many texts as may wait do so already."""


class DeadlinePassed(FlywheelError):
    """The texts were not answered within the time that a request has."""


class EngineFailed(FlywheelError):
    """The router failed on these texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is gathered, and how much may wait."""

    window_s: float  # that a batch waits for more, where several ask at a time
    max_batch: int  # texts
    queue: int  # texts that wait or are being answered
    deadline_s: float


@dataclass(slots=True, eq=False, kw_only=True)
class Question:
    """Texts of one request, and what becomes of their answers."""

    texts: Sequence[str]
    answerer: TextAnswerer
    done: asyncio.Future[Sequence[GivenAnswer]]
    events: Callable[[Sequence[GivenAnswer]], Sequence[dict[str, Any]]] | None = None  # to record
    gone: Callable[[], bool] = lambda: False  # whether nobody waits for the answer any more
    asked: float = 0.0  # of `time.monotonic`
    deadline: float = 0.0
    answers: list[GivenAnswer] = field(default_factory=list)  # of the first texts, so far
    error: Exception | None = None

    @property
    def left(self) -> int:
        """Texts that are not answered yet."""
        return len(self.texts) - len(self.answers)


class Engine:
    """The threads that ask routers; `ask` is called from one event loop.

    Args:
        limits: may be replaced while it runs.
        record: keeps what was answered; called in a thread of the engine before the answers leave.
        measure: called in a thread of the engine with the number of texts of each batch.
        threads: batches that are answered at a time.
    """

    def __init__(
        self,
        limits: Limits,
        record: Callable[[Sequence[dict[str, Any]]], object],
        measure: Callable[[int], None] = lambda texts: None,
        threads: int = 1,
    ) -> None:
        self.limits = limits
        self._record = record
        self._measure = measure
        self._arrived = threading.Condition()  # guards what follows, up to the event loop's own
        self._waiting: deque[Question] = deque()
        self._last = 0  # texts of the last batch
        self._ended = 0.0  # when it was handed back, of `time.monotonic`
        self._began: dict[int, float] = {}  # of each batch under way, by its thread
        self._stopping = False
        self._texts = 0  # submitted and not delivered; the event loop's own
        self._pending: deque[Question] = deque()  # the event loop's own, by deadline
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._run, name=f"engine {number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin; from the thread of the event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what was submitted before; blocks until then."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    @property
    def depth(self) -> int:
        """Texts that wait or are being answered."""
        return self._texts

    def hangs(self, seconds: float) -> bool:
        """Whether a batch has been under way for longer."""
        with self._arrived:
            return any(time.monotonic() - began > seconds for began in self._began.values())

    async def ask(self, question: Question) -> Sequence[GivenAnswer]:
        """Return one answer a text.

        Raises:
            QueueFull: too many texts wait.
            DeadlinePassed: they were not answered in time.
            EngineFailed: the router failed.
            asyncio.CancelledError: whoever asked went away.
        """
        many = len(question.texts)
        if self._texts + many > self.limits.queue:
            raise QueueFull(
                f"{self._texts} texts wait, and {many} more would be above [serving] queue = "
                f"{self.limits.queue}",
                hint="send it again in a second"
                if many <= self.limits.queue
                else "send fewer texts in one request",
            )
        question.asked = time.monotonic()
        question.deadline = question.asked + self.limits.deadline_s
        self._texts += many
        self._watch(question)
        with self._arrived:
            self._waiting.append(question)
            self._arrived.notify()
        return await question.done

    # In the event loop.

    def _watch(self, question: Question) -> None:
        """Have a deadline kept even where the engine's thread hangs."""
        while self._pending and self._pending[0].done.done():
            self._pending.popleft()
        self._pending.append(question)
        if self._timer is None:
            self._set_timer(self._pending[0].deadline)

    def _set_timer(self, deadline: float) -> None:
        assert self._loop is not None
        delay = max(0.0, deadline - time.monotonic())
        self._timer = self._loop.call_later(delay, self._expire)

    def _expire(self) -> None:
        now, self._timer = time.monotonic(), None
        while self._pending and (self._pending[0].done.done() or self._pending[0].deadline <= now):
            question = self._pending.popleft()
            if not question.done.done():
                question.done.set_exception(
                    DeadlinePassed(
                        f"not answered within [serving] deadline_s = {self.limits.deadline_s:g}",
                        hint="send it again later, or fewer texts at once",
                    )
                )
        if self._pending:
            self._set_timer(self._pending[0].deadline)

    def _deliver(self, questions: Sequence[Question]) -> None:
        for question in questions:
            self._texts -= len(question.texts)
            if question.done.done():
                continue
            if question.error is not None:
                question.done.set_exception(question.error)
            elif question.left:
                question.done.cancel()
            else:
                question.done.set_result(question.answers)

    # In a thread of the engine.

    def _run(self) -> None:
        while (batch := self._taken()) is not None:
            if batch:
                self._answer(batch)
            with self._arrived:
                self._began.pop(threading.get_ident(), None)

    def _taken(self) -> list[tuple[Question, Sequence[str]]] | None:
        """The next batch, once there is one; empty where nobody waits for it any more, None where
        the engine ends."""
        with self._arrived:
            while not self._waiting:
                if self._stopping:
                    return None
                self._arrived.wait()
            if self.limits.window_s and self._several_ask():
                self._wait_for_more()
            self._drop_unwanted()
            batch = self._next_batch() if self._waiting else []
            if batch:
                self._began[threading.get_ident()] = time.monotonic()
                self._last = sum(len(texts) for _, texts in batch)
            if self._waiting:
                self._arrived.notify()  # who was woken for these is the one that leaves them
            return batch

    def _several_ask(self) -> bool:
        """Whether more than one asks at a time: who asks alone comes after their last answer."""
        return self._last > 1 or any(each.asked < self._ended for each in self._waiting)

    def _wait_for_more(self) -> None:
        """Wait for those whose answers have just left: they ask again, and batches cost less."""
        until = time.monotonic() + self.limits.window_s
        wanted = min(self.limits.max_batch, self._last + self._gathered())
        while self._gathered() < wanted and not self._stopping:
            left = until - time.monotonic()
            if left <= 0 or not self._arrived.wait(left):
                return

    def _gathered(self) -> int:
        return sum(each.left for each in self._waiting)

    def _drop_unwanted(self) -> None:
        """Hand back questions whose asker or deadline is gone."""
        dropped = {each for each in self._waiting if each.done.done() or each.gone()}
        if dropped:
            self._waiting = deque(each for each in self._waiting if each not in dropped)
            self._hand_back(list(dropped))

    def _next_batch(self) -> list[tuple[Question, Sequence[str]]]:
        """The first question's texts, and those of others for the same adapter, in their order.

        A question with more texts than fit waits at the end of the queue for its next part, once
        this one is answered.
        """
        answerer, room = self._waiting[0].answerer, self.limits.max_batch
        batch: list[tuple[Question, Sequence[str]]] = []
        passed: list[Question] = []
        while self._waiting and room:
            question = self._waiting.popleft()
            if question.answerer is not answerer:
                passed.append(question)
                continue
            done = len(question.answers)
            texts = question.texts[done : done + room]
            batch.append((question, texts))
            room -= len(texts)
        self._waiting.extendleft(reversed(passed))
        return batch

    def _answer(self, batch: Sequence[tuple[Question, Sequence[str]]]) -> None:
        texts = [text for _, some in batch for text in some]
        self._measure(len(texts))
        answers = self._asked(batch[0][0].answerer, texts)
        if answers is None and len(batch) > 1:
            for each in batch:  # so that one question's text is not the failure of the others
                self._answer([each])
            return
        given = iter(answers or ())
        for question, some in batch:
            if answers is None:
                question.error = EngineFailed(
                    "the model failed on this text", hint="the server's log says more"
                )
            else:
                question.answers.extend(_next(given, len(some)))
        ended = [question for question, _ in batch if question.error or not question.left]
        self._keep(ended)
        with self._arrived:
            self._waiting.extend(each for each, _ in batch if each not in ended)
            self._ended = time.monotonic()
        self._hand_back(ended)

    def _asked(self, answerer: TextAnswerer, texts: Sequence[str]) -> Sequence[GivenAnswer] | None:
        """The answers; None where the router failed."""
        try:
            answers = answerer.answer_batch(texts) if texts else ()
        except Exception as error:  # whatever a model does, other requests go on
            log.error(  # noqa: TRY400  its message may quote a text
                "the model failed on a batch of %d: %s",
                len(texts),
                type(error).__name__,
                exc_info=error,
                extra={"event": "serve.engine_failed", "texts": len(texts)},
            )
            return None
        return answers

    def _keep(self, questions: Sequence[Question]) -> None:
        """Record what was answered. An answer that cannot be recorded is still an answer."""
        try:
            events = [
                event
                for question in questions
                if question.events is not None and question.error is None
                for event in question.events(question.answers)
            ]
            if events:
                self._record(events)
        except Exception:
            log.exception("answers were not logged", extra={"event": "serve.not_logged"})

    def _hand_back(self, questions: Sequence[Question]) -> None:
        if questions and self._loop is not None:
            self._loop.call_soon_threadsafe(self._deliver, questions)


def _next(answers: Iterator[GivenAnswer], many: int) -> Iterator[GivenAnswer]:
    for _ in range(many):
        yield next(answers)
