"""A teacher behind any OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.config import SynthesisTable, TeacherTable
from flywheel.errors import FlywheelError, TeacherUnavailable
from flywheel.llm import BudgetSpent, Client, EndpointUnusable, Reply, RequestFailed
from flywheel.protocols import Answer, AnswerStore
from flywheel.records import Brief
from flywheel.teacher import parsing, prompts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OpenAITeacher:
    """Asks a large model for samples; implements `protocols.Teacher`."""

    table: TeacherTable
    synthesis: SynthesisTable

    def write(self, briefs: Sequence[Brief], kept: AnswerStore) -> Mapping[str, tuple[Answer, ...]]:
        """Return answers by brief id; a brief whose requests all failed has none.

        Requests run concurrently; each answer is stored before it is read, and a stored one is
        not bought again. Above `synthesis.max_usd` no further request is started.

        Raises:
            TeacherUnavailable: no request could be answered; what was paid for is kept.
        """
        asked = [
            (brief, request)
            for brief in briefs
            for request in prompts.requests(brief, self.synthesis.per_request)
        ]
        try:
            replies = asyncio.run(self._replies([request for _, request in asked], kept))
        except EndpointUnusable as error:
            raise TeacherUnavailable(error.message, hint=error.hint) from error
        answers: dict[str, tuple[Answer, ...]] = {}
        for (brief, _), reply in zip(asked, replies, strict=True):
            if isinstance(reply, Reply):
                answers[brief.id] = (*answers.get(brief.id, ()), _answer(reply, brief))
        _report(replies)
        _refuse_silence(replies)
        return answers

    async def _replies(
        self, requests: Sequence[prompts.Request], kept: AnswerStore
    ) -> list[Reply | FlywheelError]:
        """One reply or reason a request, in order. Anything else that fails ends all of them."""
        async with Client(self.table, kept, max_usd=self.synthesis.max_usd) as client:
            tasks = [asyncio.create_task(_reply(client, request)) for request in requests]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _reply(client: Client, request: prompts.Request) -> Reply | FlywheelError:
    try:
        return await client.ask(request.messages, request.schema)
    except (RequestFailed, BudgetSpent) as reason:
        return reason


def _answer(reply: Reply, brief: Brief) -> Answer:
    parsed = parsing.read(reply.text, brief.intent, brief.neighbour)
    problems = list(parsed.problems)
    if reply.refusal or reply.finish == "content_filter":
        problems.insert(0, "the model declined to answer")
    if reply.finish == "length":
        problems.insert(0, "cut off at the model's length limit")
    return Answer(
        request=reply.key,
        drafts=parsed.drafts,
        problems=tuple(problems),
        usd=reply.usd,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        bought=reply.bought,
    )


def _report(replies: Sequence[Reply | FlywheelError]) -> None:
    answered = [reply for reply in replies if isinstance(reply, Reply)]
    bought = [reply for reply in answered if reply.bought]
    usd = sum(reply.usd for reply in bought)
    log.info(
        "teacher answered %d of %d requests, %d of them bought now for $%.4f",
        len(answered),
        len(replies),
        len(bought),
        usd,
        extra={
            "event": "teacher.answered",
            "requests": len(replies),
            "answered": len(answered),
            "bought": len(bought),
            "usd": usd,
            "over_budget": sum(isinstance(reply, BudgetSpent) for reply in replies),
        },
    )


def _refuse_silence(replies: Sequence[Reply | FlywheelError]) -> None:
    """Nothing answered, and not because the money is spent: the teacher is down."""
    failed = [reply for reply in replies if isinstance(reply, RequestFailed)]
    if failed and not any(isinstance(reply, Reply) for reply in replies):
        raise TeacherUnavailable(failed[0].message, hint=failed[0].hint) from failed[0]
