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
from flywheel.protocols import Answer, AnswerStore, Blind, Draft
from flywheel.records import Brief, Intent
from flywheel.teacher import parsing, prompts, redaction

log = logging.getLogger(__name__)

_COPIED = 0.9  # share of a text's words in one failed text: it is not asked about
_WRITING = 0.7  # of the budget; the rest is for the blind questions


@dataclass(frozen=True, slots=True)
class OpenAITeacher:
    """Asks a large model for samples; implements `protocols.Teacher`.

    Attributes:
        table: endpoint, limits and prices.
        synthesis: what may be spent in a turn, and whether answers are verified.
        intents: what may be called; the blind question offers all of them.
    """

    table: TeacherTable
    synthesis: SynthesisTable
    intents: tuple[Intent, ...] = ()

    def write(self, briefs: Sequence[Brief], kept: AnswerStore) -> Mapping[str, tuple[Answer, ...]]:
        """Return answers by brief id; a brief whose requests all failed has none.

        Requests run concurrently; each answer is stored before it is read, and a stored one is
        not bought again. Above `synthesis.max_usd` or `max_tokens` no further request is started.
        With `synthesis.verify` a second question asks what the written texts ask for.

        Raises:
            TeacherUnavailable: no request could be answered; what was paid for is kept.
        """
        try:
            return asyncio.run(self._write(briefs, kept))
        except EndpointUnusable as error:
            raise TeacherUnavailable(error.message, hint=error.hint) from error

    async def _write(
        self, briefs: Sequence[Brief], kept: AnswerStore
    ) -> Mapping[str, tuple[Answer, ...]]:
        people = redaction.finder(self.table.names_model) if self.table.redact else None
        asked = (
            (brief, request)
            for brief in briefs
            for request in prompts.requests(
                brief, self.synthesis.per_request, redact=self.table.redact, names=people
            )
        )
        async with self._client(kept) as client:
            share = _WRITING if self.synthesis.verify else 1.0
            given, count = await _all(client, asked, share, _answer)
            _refuse_silence(count)
            answers: dict[str, tuple[Answer, ...]] = {}
            for brief, answer in given:
                answers[brief.id] = (*answers.get(brief.id, ()), answer)
            if not self.synthesis.verify:
                return answers
            return await self._verified(client, briefs, answers)

    async def _verified(
        self, client: Client, briefs: Sequence[Brief], answers: Mapping[str, tuple[Answer, ...]]
    ) -> Mapping[str, tuple[Answer, ...]]:
        """Ask what each written text asks for; what the question costs is one more answer.

        What got another label, or none that can be read, is asked about once more, in other
        company: one slip of the reader refuses no good sample.

        Texts that repeat what production said are not asked about: an instruction that was
        quoted in a brief must not reach this question.
        """
        first: dict[str, str] = {}  # text -> a brief that it was written for
        wanted: dict[str, set[str]] = {}  # text -> intents that it was written for
        for brief in briefs:
            for answer in answers.get(brief.id, ()):
                for draft in answer.drafts:
                    if curation.stands_in(draft.text, brief.failed_texts) < _COPIED:
                        first.setdefault(draft.text, brief.id)
                        wanted.setdefault(draft.text, set()).add(draft.intent)
        found = dict(answers)
        labels: dict[str, Blind] = {}
        for again in (False, True):
            asked = [text for text in first if not _agreed(labels.get(text), wanted[text])]
            for texts, (read, paid) in await self._blind(client, asked, again=again):
                for text, label in read.items():
                    if text not in labels or _agreed(label, wanted[text]):
                        labels[text] = label
                found[first[texts[0]]] = (*found[first[texts[0]]], paid)
        return {
            name: tuple(_labelled(one, labels) for one in given) for name, given in found.items()
        }

    async def _blind(
        self, client: Client, texts: Sequence[str], *, again: bool
    ) -> list[tuple[tuple[str, ...], tuple[Mapping[str, Blind], Answer]]]:
        """What was asked together, what it was called, and what that cost."""
        asked = (
            (each, prompts.question(each, self.intents, again=again))
            for each in prompts.batches(texts, prompts.TOGETHER)
        )

        def read(reply: Reply, each: tuple[str, ...]) -> tuple[Mapping[str, Blind], Answer]:
            labels = prompts.read(reply.text, each, self.intents)
            return labels, _cost(reply, drafts=(), problems=())

        given, _ = await _all(client, asked, 1.0, read)
        return given

    def _client(self, kept: AnswerStore) -> Client:
        return Client(
            self.table,
            kept,
            max_usd=self.synthesis.max_usd,
            max_tokens=self.synthesis.max_tokens or math.inf,
        )


_About = TypeVar("_About")
_Read = TypeVar("_Read")


@dataclass(slots=True)
class _Count:
    """How requests ended."""

    requests: int = 0
    answered: int = 0
    bought: int = 0
    usd: float = 0.0  # of what was bought now
    over_budget: int = 0
    failed: RequestFailed | None = None  # the first that did

    def add(self, ended: Reply | RequestFailed | BudgetSpent) -> None:
        self.requests += 1
        if isinstance(ended, Reply):
            self.answered += 1
            self.bought += ended.bought
            self.usd += ended.usd if ended.bought else 0.0
        elif isinstance(ended, BudgetSpent):
            self.over_budget += 1
        else:
            self.failed = self.failed or ended


async def _all(
    client: Client,
    asked: Iterable[tuple[_About, prompts.Request]],
    share: float,
    read: Callable[[Reply, _About], _Read],
) -> tuple[list[tuple[_About, _Read]], _Count]:
    """What each request was about and what was read of its reply, in order, where there is one.

    A request is written when a place is free for it, and a reply is read as it comes: of ten
    thousand requests as many are in memory as are under way. What else fails ends all of them.
    """
    found: dict[int, tuple[_About, _Read]] = {}
    waiting = iter(enumerate(asked))
    count = _Count()

    async def work() -> None:
        for number, (about, request) in waiting:
            ended = await _reply(client, request, share)
            count.add(ended)
            if isinstance(ended, Reply):
                found[number] = (about, read(ended, about))

    tasks = [asyncio.create_task(work()) for _ in range(client.places)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    _report(count)
    return [found[number] for number in sorted(found)], count


async def _reply(
    client: Client, request: prompts.Request, share: float
) -> Reply | RequestFailed | BudgetSpent:
    try:
        return await client.ask(request.messages, request.schema, share=share)
    except (RequestFailed, BudgetSpent) as reason:
        return reason


def _agreed(label: Blind | None, wanted: Collection[str]) -> bool:
    return label is not None and label.intent in wanted


def _answer(reply: Reply, brief: Brief) -> Answer:
    parsed = parsing.read(reply.text, brief.intent)
    problems = list(parsed.problems)
    if reply.refusal or reply.finish == "content_filter":
        problems.insert(0, "the model declined to answer")
    if reply.finish == "length":
        problems.insert(0, "cut off at the model's length limit")
    return _cost(reply, parsed.drafts, tuple(problems))


def _cost(reply: Reply, drafts: tuple[Draft, ...], problems: tuple[str, ...]) -> Answer:
    return Answer(
        request=reply.key,
        drafts=drafts,
        problems=problems,
        usd=reply.usd,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        bought=reply.bought,
    )


def _labelled(answer: Answer, labels: Mapping[str, Blind]) -> Answer:
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
    """Nothing answered, and not because the money is spent: the teacher is down."""
    if count.failed and not count.answered:
        raise TeacherUnavailable(count.failed.message, hint=count.failed.hint) from count.failed
