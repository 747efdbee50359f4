"""`POST /v1/feedback`: kept here, and passed on to the daemon behind the answers it judges.

It is read as native feedback and written anew, so nothing else goes to the daemon by this way. It
is in the log of answers when the reply leaves: the daemon may be away.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flywheel.event_columns import json_form
from flywheel.formats import LineTally, body_records, native
from flywheel.formats.dispatch import parsed_records
from flywheel.inference.refused import LogFull
from flywheel.inference.service import AnswerService
from flywheel.records import Feedback
from flywheel.web.http import answer, read_plain_body

ServedFeedback = json_form(
    Feedback,
    "ServedFeedback",
    doc="A verdict on an answer, by the answer's id or that of its call.",
)


class NotTaken(msgspec.Struct, kw_only=True):
    """A line that is no feedback, and why."""

    line: int  # of the batch, from 1
    field: str
    why: str


class KeptView(msgspec.Struct, kw_only=True):
    """What became of the lines: kept for the daemon, or not."""

    accepted: int
    duplicates: int  # repeats within the batch
    rejected: list[NotTaken]


async def feedback(request: Request) -> Response:
    """Keep verdicts on answers, and pass them on to the daemon."""
    service: AnswerService = request.app.state.service
    body = await read_plain_body(request, service.max_body)
    tally, lines = LineTally(), []
    records = parsed_records(
        body_records(body),
        "feedback",
        format=native.NAME,
        received=datetime.now(UTC),
        max_line_bytes=service.max_line,
    )
    for number, parsed in records:
        tally.read(number, parsed)
        lines += [_line(each) for each in parsed.feedback]
    if lines and not service.recorder.log.write(lines, "feedback"):
        raise LogFull(
            "feedback cannot be kept now", hint="GET /v1/serving says why; send it again later"
        )
    reply = {
        "accepted": tally.accepted,
        "duplicates": tally.repeated,
        "rejected": [
            {"line": bad.line, "field": bad.field, "why": bad.why} for bad in tally.rejected
        ],
    }
    return answer(reply, 202 if tally.accepted or not tally.rejected else 422)


def _line(given: Feedback) -> bytes:
    values: Mapping[str, Any] = msgspec.structs.asdict(given)
    defaults = {field.name: field.default for field in msgspec.structs.fields(Feedback)}
    kept = {name: value for name, value in values.items() if value != defaults.get(name)}
    return msgspec.json.encode(kept)
