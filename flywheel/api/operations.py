"""What an operator asks of a running daemon: reload, check, backup, restore."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from flywheel.api.control import asked_for, caught_up
from flywheel.api.personal import View
from flywheel.api.prometheus import ProcessStatus
from flywheel.api.requests import Erasure
from flywheel.errors import Refused
from flywheel.loader import Loader
from flywheel.store import restoring, turns
from flywheel.store.erasure import Person
from flywheel.turn import Runtime, backups, control, integrity, proof
from flywheel.turn import erase as removal
from flywheel.turn.control import record_act
from flywheel.web import peer
from flywheel.web.http import BadRequest, answer, save_body
from flywheel.web.peer import CALLER

log = logging.getLogger(__name__)

_LOOK_S = 0.2  # between looks whether the caller is still there

OUTGOING = "outgoing"
"""Folder under the state folder for copies on their way out; emptied when the daemon starts."""


class DecisionLogView(View):
    """The chain of decision events."""

    events: int
    tip: str


class SpoolView(View):
    """Events in the spool, and those of them that are in no table."""

    events: int
    waiting: int


class IntegrityView(View):
    """Tables, spool and files, held against each other."""

    rows: dict[str, int]  # by table
    decision_log: DecisionLogView
    spool: SpoolView
    problems: list[str]


class RestoredView(View):
    """A backup that replaces the database after the restart."""

    kept: list[str]  # where the database of before is
    rows: dict[str, int]
    decision_log: DecisionLogView
    replaced: str  # tip of the decision log that was there
    own_history: bool  # the backup's log is a part of that one
    problems: list[str]


class ErasedView(View):
    """What was removed of one person, and where data is found still."""

    removed: dict[str, int]  # rows by table
    files: list[str]
    adapters: list[str]  # trained on it
    left: dict[str, int]
    turn: str | None = None  # learns anew without the data
    not_retrained: str = ""  # why no turn was opened though one was asked for
    stays: tuple[str, ...] = ()  # what an erasure cannot take back, in words


class ReloadedView(View):
    """Keys of the configuration that changed."""

    changed: list[str]
    waits_for: str | None  # the turn after which they are applied
    at_once: list[str]
    restart: list[str]  # keys that need a restart


async def reload(request: Request) -> Response:
    """Read config.toml and intents.toml anew; what cannot change live is named."""
    process_status: ProcessStatus = request.app.state.process_status
    told = await run_in_threadpool(process_status.reload)
    changed = ", ".join((*told["changed"], *told["restart"]))
    runtime, by = request.app.state.runtime, str(request.scope[CALLER])
    if changed:
        await run_in_threadpool(record_act, runtime, "config.reloaded", by, f"changed: {changed}")
    peer.record(request, "the configuration was read anew")
    return answer(told)


async def check(request: Request) -> Response:
    """Read every table whole, and hold tables, sums, spool and files together."""
    return answer(await run_in_threadpool(_check, request))


async def backup(request: Request) -> Response:
    """The database as one file, as of one moment; events may arrive meanwhile."""
    await run_in_threadpool(caught_up, request)
    copy = await run_in_threadpool(_copy, request.app.state.runtime, str(request.scope[CALLER]))
    return FileResponse(
        copy, media_type="application/octet-stream", background=BackgroundTask(copy.unlink)
    )


async def restore(request: Request) -> Response:
    """Prove a backup, then start anew with it in the place of the database, which is kept."""
    process_status: ProcessStatus = request.app.state.process_status
    runtime: Runtime = request.app.state.runtime
    if process_status.restart is None:
        raise Refused("this daemon cannot start anew by itself", hint="stop it, then restore")
    database, now = runtime.store.path, runtime.clock()
    copy = restoring.arriving(database)
    if restoring.staged(database) or copy.exists():
        raise Refused("a backup is being restored already", hint="wait for its end")
    with copy.open("xb") as file:
        try:
            await save_body(request, file)
            await _refuse_gone(request)  # and from here on it is noticed when the caller goes
            found = await _proven(request, copy, now)
            await run_in_threadpool(caught_up, request)
            await _refuse_gone(request)
            kept = await run_in_threadpool(
                restoring.stage, database, now, integrity.OF_ITS_TURNS, found.pop("digest")
            )
        finally:
            restoring.discard(database)
    said = {"event": "database.restoring", "by": str(request.scope[CALLER])}
    log.warning("starting anew with the backup of %s", said["by"], extra=said)
    process_status.restart()
    return answer({"kept": list(map(str, kept)), **found}, 202)


async def erase(request: Request) -> Response:
    """Remove one person's data everywhere, and search for it again."""
    asked = await asked_for(request, Erasure)
    person = Person(session=asked.session, rater=asked.rater, prediction=asked.prediction)
    if sum(map(bool, (asked.session, asked.rater, asked.prediction))) != 1:
        raise BadRequest("whose data?", hint="name one of session, rater, prediction")
    by = str(request.scope[CALLER])
    told = await run_in_threadpool(_erase, request, person, by, again=asked.and_retrain)
    peer.record(request, "one person's data was erased")
    return answer(told)


async def _proven(request: Request, copy: Path, now: datetime) -> dict[str, Any]:
    """What `proof.examine` finds; a caller who goes away ends it."""
    runtime: Runtime = request.app.state.runtime
    by, gone = str(request.scope[CALLER]), threading.Event()

    def examined() -> dict[str, Any]:
        with runtime.store.read() as con:
            replaced = backups.Replaced.of(con)
        return proof.examine(copy, runtime.config.state_dir, now, by, replaced, gone.is_set)

    reading = asyncio.create_task(run_in_threadpool(examined))
    try:
        while not (await asyncio.wait({reading}, timeout=_LOOK_S))[0]:
            await _refuse_gone(request)
        return await reading
    finally:
        gone.set()
        await asyncio.wait({reading})


async def _refuse_gone(request: Request) -> None:
    if await request.is_disconnected():
        raise BadRequest("the caller went away", hint="nothing was changed")


_STAYS = (
    "the log of decisions, which is a chain: who decided, why, and by which figures",
    "sums by day, without the session",
    "adapters that learned from the data, until others take their place",
    "samples of a teacher that no text of the person was shown to; a diagnosis that counted the "
    "person may have chosen for which intents it wrote",
    "which golden rows were learned or retired, by counts that had the person's rows in them",
)


def _erase(request: Request, person: Person, by: str, *, again: bool) -> dict[str, Any]:
    loader: Loader | None = request.app.state.loader
    emptied = loader is None or loader.empty()
    said = removal.erase(request.app.state.runtime, person, by)
    if not emptied:
        said["left"]["spool"] = 1
    told = {**said, "turn": None, "not_retrained": "", "stays": _STAYS}
    return {**told, **_learned_anew(request, said)} if again else told


def _learned_anew(request: Request, said: Mapping[str, Any]) -> dict[str, str]:
    """Open a turn that learns without what was erased; or say why none was opened."""
    if not (said["removed"] or said["files"]):
        return {"not_retrained": "nothing was stored"}
    if "spool" in said["left"]:
        return {"not_retrained": "events of the spool are not in the tables yet; erase again"}
    try:
        return {"turn": control.request(request.app.state.runtime, turns.ERASURE).id}
    except Refused as refused:
        return {"not_retrained": "; ".join(filter(None, (refused.message, refused.hint)))}


def _check(request: Request) -> dict[str, Any]:
    runtime: Runtime = request.app.state.runtime
    runtime.store.probe()
    return integrity.check(runtime.store, runtime.config.state_dir, lambda: caught_up(request))


def _copy(runtime: Runtime, by: str) -> Path:
    folder = runtime.config.state_dir / OUTGOING
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / f"{uuid.uuid4().hex}.duckdb"
    backups.back_up(runtime.store, place, by, runtime.clock())
    return place
