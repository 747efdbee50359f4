"""The labelling queue: what its caller is asked, and what they answer.

Who a caller is, the socket or the token says; no request names a person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from flywheel import label_queue, labelling
from flywheel.api import requests
from flywheel.api.control import asked_for, caught_up
from flywheel.api.personal import View
from flywheel.errors import FlywheelError
from flywheel.records import NONE
from flywheel.turn import Runtime
from flywheel.web import peer
from flywheel.web.http import BadRequest, answer, read_plain_body
from flywheel.web.peer import CALLER

_INTERFACE = "labelstudio.xml"
_SHOWN, _EXPORTED = 50, 10_000  # items, where no limit is asked for


class AgreementView(View):
    """How far two people agree who labelled the same items."""

    n: int
    agreed: int
    raw: float | None
    kappa: float | None
    disputed: int
    people: int


class NamedIntentView(View):
    """An intent that a label may name."""

    name: str
    description: str


class ItemView(View):
    """An item of the labelling queue as its labeller sees it."""

    item: str
    kind: str
    text: str
    guesses: list[str]
    said: list[str]
    again: bool


class QueueView(View):
    """What one person is asked, the most valuable first."""

    person: str
    waiting: dict[str, int]  # items by kind
    wanted: int  # labels that gates want
    intents: list[NamedIntentView]
    agreement: AgreementView
    items: list[ItemView]


class EffectsView(View):
    """Labels that took effect, by what they became."""

    golden: int
    feedback: int
    train: int
    withdrawn: int
    unfit: int
    judging: int


class LabelledView(View):
    """An answer that was kept."""

    item: str
    state: str  # kept, repeated or skipped
    settled: EffectsView | None


class UndoneView(View):
    """An answer that was taken back."""

    item: str
    was: str | None
    asked: ItemView | None


class RejectedLabelView(View):
    """An answer of a labelling tool that was not kept."""

    line: int
    item: str
    why: str


class ImportedLabelsView(View):
    """Answers of a labelling tool."""

    accepted: int
    duplicates: int
    unanswered: int
    rejected: list[RejectedLabelView]


async def queue(request: Request) -> Response:
    """What you are asked, the most valuable first; `format` gives it as a labelling tool reads it.

    `limit` is how many items; `kind` only one kind of them.
    """
    form = request.query_params.get("format", "")
    if form and form not in (*labelling.FORMS, _INTERFACE):
        known = ", ".join((*labelling.FORMS, _INTERFACE))
        raise BadRequest(f"there is no form {form!r}", hint=f"one of {known}")
    runtime = _runtime(request)
    if form == _INTERFACE:
        names = [*(each.name for each in runtime.intents), NONE]
        return Response(labelling.interface(names), media_type="application/xml")
    await run_in_threadpool(caught_up, request)
    kind = request.query_params.get("kind", "")
    if kind and kind not in labelling.KINDS:
        raise BadRequest(f"there is no kind {kind!r}", hint=f"one of {', '.join(labelling.KINDS)}")
    most = _limit(request, _EXPORTED if form else _SHOWN)
    overview, items = await run_in_threadpool(label_queue.asked, runtime, _person(request), most)
    chosen = [item for item in items if item.kind == kind or not kind][:most]
    if form:
        return answer(labelling.FORMS[form].write(chosen))
    return answer({**overview, "items": [label_queue.shown(item) for item in chosen]})


async def agreement(request: Request) -> Response:
    """How far two people agree who labelled the same items by themselves."""
    return answer(await run_in_threadpool(label_queue.agreement_of, _runtime(request)))


async def give(request: Request) -> Response:
    """Answer one item of the queue; without an intent it is skipped."""
    said = await asked_for(request, requests.Label)
    given = label_queue.LabelAnswer(item=said.item, intent=said.intent, arguments=said.arguments)
    return answer(
        await run_in_threadpool(label_queue.give, _runtime(request), _person(request), given)
    )


async def undo(request: Request) -> Response:
    """Take your last answer back."""
    await asked_for(request, requests.Nothing)
    return answer(await run_in_threadpool(label_queue.undo, _runtime(request), _person(request)))


async def settle(request: Request) -> Response:
    """Let the answers take effect now."""
    await asked_for(request, requests.Nothing)
    return answer(await run_in_threadpool(label_queue.settle, _runtime(request)))


async def import_(request: Request) -> Response:
    """Take the answers that people gave in a labelling tool, as your word; they take effect."""
    runtime = _runtime(request)
    form = request.query_params.get("format", "")
    if form not in labelling.FORMS:
        raise BadRequest(
            f"there is no form {form!r}", hint=f"format=… is one of {', '.join(labelling.FORMS)}"
        )
    body = await read_plain_body(request, runtime.config.api.max_body_mb * 2**20)
    told = await run_in_threadpool(_import, runtime, _person(request), form, body)
    peer.record(request, f"{told['accepted']} labels imported")
    return answer(told)


def _import(runtime: Runtime, person: str, form: str, body: bytes) -> dict[str, Any]:
    """Returns {"accepted", "duplicates", "unanswered", "rejected": [{"line", "item", "why"}]}."""
    rows = _rows(body)
    read = [labelling.FORMS[form].read(row, place) for place, row in enumerate(rows, 1)]
    found = [each for each in read if each is not None]
    good = [each for each in found if not each.problem]
    answers = [
        label_queue.LabelAnswer(item=one.item, intent=one.label, text=one.text) for one in good
    ]
    states = label_queue.give_many(runtime, person, answers)
    rejected = [(one.place, one.item, one.problem) for one in found if one.problem]
    rejected += [
        (one.place, one.item, state.message)
        for one, state in zip(good, states, strict=True)
        if isinstance(state, FlywheelError)
    ]
    return {
        "accepted": states.count("kept"),
        "duplicates": states.count("repeated"),
        "unanswered": len(read) - len(found),
        "rejected": [
            {"line": place, "item": item, "why": why} for place, item, why in sorted(rejected)
        ],
    }


def _rows(body: bytes) -> list[Mapping[str, Any]]:
    """The objects of a JSON list, or of NDJSON."""
    try:
        try:
            value = json.loads(body)
        except json.JSONDecodeError:
            value = [json.loads(line) for line in body.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the file is not JSON: {error}", hint="export it as JSON") from error
    rows = value if isinstance(value, list) else [value]
    return [row if isinstance(row, Mapping) else {} for row in rows]


def _limit(request: Request, otherwise: int) -> int:
    given = request.query_params.get("limit", "")
    if given and not (given.isascii() and given.isdigit()):
        raise BadRequest(f"`limit` is {given!r}, not a number", hint="leave it out for the default")
    return min(int(given[:9]) if given else otherwise, _EXPORTED)


def _person(request: Request) -> str:
    return str(request.scope[CALLER])


def _runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime
