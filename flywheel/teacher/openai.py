"""A teacher behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from flywheel import curation
from flywheel.config import SynthesisTable, TeacherTable
from flywheel.errors import TeacherUnavailable
from flywheel.llm import BudgetSpent, Client, EndpointUnusable, Reply, RequestFailed
from flywheel.protocols import AnswerStore, Blind, Draft, TeacherAnswer
from flywheel.records import Brief, Intent
from flywheel.teacher import parsing, prompts, redaction

log = logging.getLogger(__name__)

_COPIED_SHARE = 0.9  # share of a text's words in one failed text, from which it is not verified
_WRITING_SHARE = 0.7  # share of the budget for writing; the rest is for the blind questions


@dataclass(frozen=True, slots=True)
class OpenAITeacher:
    """Asks a large model for samples; implements `protocols.Teacher`.

    Attributes:
        table: endpoint, limits and prices.
        synthesis: budget of a turn, and whether samples are verified.
        intents: as configured; the blind question offers all of them.
    """

    table: TeacherTable
    synthesis: SynthesisTable
    intents: tuple[Intent, ...] = ()

    def write(
        self, briefs: Sequence[Brief], kept: AnswerStore
    ) -> Mapping[str, tuple[TeacherAnswer, ...]]:
        """Return answers by brief id; a brief whose requests all failed has none.

        Requests run concurrently. Each answer is stored before it is parsed, and a stored answer
        is not bought again. Above `synthesis.max_usd` or `max_tokens` no further request starts.
        With `synthesis.verify`, the blind question labels the written texts a second time.

        Raises:
            TeacherUnavailable: no request was answered; paid answers stay stored.
        """
        try:
            return asyncio.run(self._write(briefs, kept))
        except EndpointUnusable as error:
            raise TeacherUnavailable(error.message, hint=error.hint) from error

    async def _write(
        self, briefs: Sequence[Brief], store: AnswerStore
    ) -> Mapping[str, tuple[TeacherAnswer, ...]]:
        people = redaction.finder(self.table.names_model) if self.table.redact else None
        requests = (
            (brief, request)
            for brief in briefs
            for request in prompts.requests(
                brief, self.synthesis.per_request, redact=self.table.redact, names=people
            )
        )
        async with self._client(store) as client:
            budget_share = _WRITING_SHARE if self.synthesis.verify else 1.0
            replies, count = await _ask_all(client, requests, budget_share, _answer)
            _refuse_silence(count)
            answers: dict[str, tuple[TeacherAnswer, ...]] = {}
            for brief, answer in replies:
                answers[brief.id] = (*answers.get(brief.id, ()), answer)
            if not self.synthesis.verify:
                return answers
            return await self._verified(client, briefs, answers)

    async def _verified(
        self,
        client: Client,
        briefs: Sequence[Brief],
        answers: Mapping[str, tuple[TeacherAnswer, ...]],
    ) -> Mapping[str, tuple[TeacherAnswer, ...]]:
        """Label each written text by the blind question; its cost is added as one more answer.

        A text with another label, or without a readable one, is asked about once more, in another
        batch: one error of the reader must not refuse a good sample.

        Texts that repeat production text are not asked about: an instruction quoted in a brief
        must not reach this question.
        """
        brief_of: dict[str, str] = {}  # text -> a brief that it was written for
        intents_of: dict[str, set[str]] = {}  # text -> intents that it was written for
        for brief in briefs:
            for answer in answers.get(brief.id, ()):
                for draft in answer.drafts:
                    if curation.stands_in(draft.text, brief.failed_texts) < _COPIED_SHARE:
                        brief_of.setdefault(draft.text, brief.id)
                        intents_of.setdefault(draft.text, set()).add(draft.intent)
        all_answers = dict(answers)
        labels: dict[str, Blind] = {}
        for again in (False, True):
            unconfirmed = [
                text for text in brief_of if not _confirms(labels.get(text), intents_of[text])
            ]
            for texts, (read_labels, paid) in await self._blind(client, unconfirmed, again=again):
                for text, label in read_labels.items():
                    if text not in labels or _confirms(label, intents_of[text]):
                        labels[text] = label
                all_answers[brief_of[texts[0]]] = (*all_answers[brief_of[texts[0]]], paid)
        return {
            name: tuple(_labelled(answer, labels) for answer in brief_answers)
            for name, brief_answers in all_answers.items()
        }

    async def _blind(
        self, client: Client, texts: Sequence[str], *, again: bool
    ) -> list[tuple[tuple[str, ...], tuple[Mapping[str, Blind], TeacherAnswer]]]:
        """(texts of one question, (their labels, its cost)) for each answered question."""
        questions = (
            (batch, prompts.question(batch, self.intents, again=again))
            for batch in prompts.batches(texts, prompts.TOGETHER)
        )

        def read(reply: Reply, batch: tuple[str, ...]) -> tuple[Mapping[str, Blind], TeacherAnswer]:
            labels = prompts.read(reply.text, batch, self.intents)
            return labels, _cost(reply, drafts=(), problems=())

        labelled, _ = await _ask_all(client, questions, 1.0, read)
        return labelled

    def _client(self, store: AnswerStore) -> Client:
        return Client(
            self.table,
            store,
            max_usd=self.synthesis.max_usd,
            max_tokens=self.synthesis.max_tokens or math.inf,
        )


_Subject = TypeVar("_Subject")
_Parsed = TypeVar("_Parsed")


@dataclass(slots=True)
class _Count:
    """Outcomes of requests, counted."""

    requests: int = 0
    answered: int = 0
    bought: int = 0
    usd: float = 0.0  # cost of the answers bought now
    over_budget: int = 0
    failed: RequestFailed | None = None  # the first failure

    def add(self, outcome: Reply | RequestFailed | BudgetSpent) -> None:
        self.requests += 1
        if isinstance(outcome, Reply):
            self.answered += 1
            self.bought += outcome.bought
            self.usd += outcome.usd if outcome.bought else 0.0
        elif isinstance(outcome, BudgetSpent):
            self.over_budget += 1
        else:
            self.failed = self.failed or outcome


async def _ask_all(
    client: Client,
    requests: Iterable[tuple[_Subject, prompts.Request]],
    share: float,
    parse: Callable[[Reply, _Subject], _Parsed],
) -> tuple[list[tuple[_Subject, _Parsed]], _Count]:
    """Return (subject, parsed reply) of each answered request, in order, and the counts.

    A request is built when a worker is free for it, and a reply is parsed as it arrives: of ten
    thousand requests only those under way are in memory. Any other exception cancels all workers.
    """
    results: dict[int, tuple[_Subject, _Parsed]] = {}
    waiting = iter(enumerate(requests))
    count = _Count()

    async def worker() -> None:
        for number, (about, request) in waiting:
            outcome = await _reply(client, request, share)
            count.add(outcome)
            if isinstance(outcome, Reply):
                results[number] = (about, parse(outcome, about))

    tasks = [asyncio.create_task(worker()) for _ in range(client.places)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    _report(count)
    return [results[number] for number in sorted(results)], count


async def _reply(
    client: Client, request: prompts.Request, share: float
) -> Reply | RequestFailed | BudgetSpent:
    try:
        return await client.ask(request.messages, request.schema, share=share)
    except (RequestFailed, BudgetSpent) as reason:
        return reason


def _confirms(label: Blind | None, intents: Collection[str]) -> bool:
    return label is not None and label.intent in intents


def _answer(reply: Reply, brief: Brief) -> TeacherAnswer:
    parsed = parsing.read(reply.text, brief.intent)
    problems = list(parsed.problems)
    if reply.refusal or reply.finish == "content_filter":
        problems.insert(0, "the model declined to answer")
    if reply.finish == "length":
        problems.insert(0, "cut off at the model's length limit")
    return _cost(reply, parsed.drafts, tuple(problems))


def _cost(reply: Reply, drafts: tuple[Draft, ...], problems: tuple[str, ...]) -> TeacherAnswer:
    return TeacherAnswer(
        request=reply.key,
        drafts=drafts,
        problems=problems,
        usd=reply.usd,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        bought=reply.bought,
    )


def _labelled(answer: TeacherAnswer, labels: Mapping[str, Blind]) -> TeacherAnswer:
    unknown = Blind(intent=None)
    return replace(
        answer,
        drafts=tuple(
            replace(draft, blind=labels.get(draft.text, unknown)) for draft in answer.drafts
        ),
    )


def _report(count: _Count) -> None:
    log.info(
        "teacher answered %d of %d requests, %d of them bought now for $%.4f",
        count.answered,
        count.requests,
        count.bought,
        count.usd,
        extra={
            "event": "teacher.answered",
            "requests": count.requests,
            "answered": count.answered,
            "bought": count.bought,
            "usd": count.usd,
            "over_budget": count.over_budget,
        },
    )


def _refuse_silence(count: _Count) -> None:
    """Raise TeacherUnavailable when requests failed and none was answered."""
    if count.failed and not count.answered:
        raise TeacherUnavailable(count.failed.message, hint=count.failed.hint) from count.failed
