"""What is shown of serving: the server of the champion, and what it was asked to prove it."""

from __future__ import annotations

from flywheel.api.personal import Text, View
from flywheel.content import canonical
from flywheel.records import Decision, EvaluatedAnswer, ServedAnswer
from flywheel.store import Connection, decisions, parity_checks
from flywheel.store.parity_checks import ParityCheck
from flywheel.turn import Runtime


class ParityLineView(View):
    """The last round in which the server was asked for evaluated answers."""

    at: str
    asked: int
    differing: int
    adapter: str


class ChampionServingView(View):
    """What answers with the champion, and what is not done yet."""

    kind: str
    adapter: str | None  # that serves, as far as is known
    engine: str  # "" where it is not known
    parity: ParityLineView | None  # None: nobody was asked
    applying: str | None  # the decision that is being applied
    waiting: str  # what waits for the server, and why; "" for nothing


class ParityAnswerView(View):
    """An answer that differs from another one."""

    adapter: str
    intent: str
    arguments: Text  # a JSON object: its values are words of the text
    confidence: float | None


class ParityExampleView(View):
    """The first text that the server answers otherwise."""

    sample: str
    text: Text  # "" where it was erased since
    what: str  # adapter, intent, arguments, confidence, missing
    evaluated: ParityAnswerView
    served: ParityAnswerView | None


class ParityView(ParityLineView):
    """What a decision's challenger was asked, and the first difference."""

    engine: str
    refused: str  # why the server could not load it
    first: ParityExampleView | None


def serving_view(runtime: Runtime, con: Connection) -> ChampionServingView:
    """What answers with the champion; the server is not asked for it."""
    seen, applying = runtime.rollout.server, decisions.applying(con)
    adapter = seen.adapter if seen else runtime.serving.serving()
    check = parity_checks.latest(con, adapter=adapter) if adapter else None
    return ChampionServingView(
        kind=runtime.config.serving.kind,
        adapter=adapter,
        engine=seen.engine if seen else "",
        parity=None
        if check is None
        else ParityLineView(
            at=check.at.isoformat(),
            asked=check.asked,
            differing=check.differing,
            adapter=check.adapter,
        ),
        applying=applying.id if applying else None,
        waiting=runtime.rollout.waiting,
    )


def parity_view(con: Connection, decision: Decision) -> ParityView | None:
    """The last round for a decision; None where its adapter was not asked."""
    check = parity_checks.latest(con, decision=decision.id)
    if check is None:
        return None
    return ParityView(
        at=check.at.isoformat(),
        asked=check.asked,
        differing=check.differing,
        adapter=check.adapter,
        engine=check.engine,
        refused=check.refused,
        first=_first(con, check),
    )


def waits_for_server(runtime: Runtime, decision: Decision) -> str:
    """Why a decision that is being applied is not applied yet."""
    waiting = runtime.rollout.waiting
    if waiting.startswith(f"{decision.id} "):
        return waiting
    return f"the server is asked for the answers of {decision.challenger}"


def _first(con: Connection, check: ParityCheck) -> ParityExampleView | None:
    if not check.differences:
        return None
    one = check.differences[0]
    return ParityExampleView(
        sample=one.sample,
        text=parity_checks.text_of(con, one.sample),
        what=one.what,
        evaluated=_answer(one.evaluated, check.adapter),
        served=None if one.served is None else _answer(one.served, one.served.adapter),
    )


def _answer(answer: EvaluatedAnswer | ServedAnswer, adapter: str) -> ParityAnswerView:
    return ParityAnswerView(
        adapter=adapter,
        intent=answer.intent,
        arguments=canonical(dict(answer.arguments)),
        confidence=answer.confidence,
    )
