"""Is the state on disk whole, and does each decision follow from its stored evidence?

`check` and `examine` compare the tables with one another and with the files they name; `verify`
recomputes one decision to the byte.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel import content, formats, gates, promotion
from flywheel.records import Report
from flywheel.store import (
    Connection,
    Store,
    adapters,
    archive,
    consistency,
    decisions,
    reports,
    restoring,
    schema,
    turns,
)
from flywheel.turn import evidence
from flywheel.turn.runtime import Runtime

_RULED = ("verdict", "status", "actor", "because")


def verify(runtime: Runtime, decision_id: str) -> dict[str, Any]:
    """Judge a decision again from its stored outcomes, by the rules that held then.

    Returns:
        {"id", "same", "evidence" (digest now), "checks": [{"what", "ok", "detail"}]}; a check
        whose ground is missing is not ok.

    Raises:
        NotFound: there is no such decision.
    """
    with runtime.store.read() as con:
        written = decisions.as_written(con, decision_id)
        stored = decisions.grounds(con, decision_id)
        report = reports.load(con, stored[0], stored[1]) if stored else None
    if stored is None or report is None:
        missing = "nobody judged it: a person's own act, or made before grounds were kept"
        if stored is not None:
            missing = "its outcomes are no longer stored"
        checks = [_check("grounds", ok=False, detail=missing)]
        return {"id": decision_id, "same": False, "evidence": None, "checks": checks}
    _, _, grounds = stored
    now = evidence.digest(grounds, report)
    claimed = str(json.loads(written["rests_on"]).get("evidence", ""))
    checks = [
        _check("evidence", ok=now == claimed, detail=f"{claimed} was written, {now} is stored"),
        *_judged_again(runtime, grounds, report, written),
    ]
    same = all(check["ok"] for check in checks)
    return {"id": decision_id, "same": same, "evidence": now, "checks": checks}


def _judged_again(
    runtime: Runtime, grounds: dict[str, Any], report: Report, written: dict[str, Any]
) -> list[dict[str, Any]]:
    known = {gate.name: gate.source for gate in runtime.custom_gates}
    changed = [name for name, source in grounds["plugins"].items() if known.get(name) != source]
    if changed:
        detail = f"the code of {', '.join(changed)} is not the one that judged"
        return [_check("plugins", ok=False, detail=detail)]
    shown = evidence.EVIDENCE.validate_python(grounds["evidence"])
    own = tuple(gate for gate in runtime.custom_gates if gate.name in grounds["plugins"])
    judgement = gates.judge(
        evidence.with_outcomes(shown, report), evidence.RULES.validate_python(grounds["gates"]), own
    )
    ruling = promotion.decide(
        judgement,
        evidence.PROMOTION.validate_python(grounds["promotion"]),
        evidence.SITUATION.validate_python(grounds["situation"]),
    )
    ruled = (ruling.verdict, ruling.status, ruling.by, ruling.because)
    return [
        _same("gates", [asdict(line) for line in judgement.gates], json.loads(written["gates"])),
        _same(
            "intents", [asdict(line) for line in judgement.intents], json.loads(written["intents"])
        ),
        _same("ruling", list(ruled), [written[name] for name in _RULED]),
    ]


def _same(what: str, now: Any, then: Any) -> dict[str, Any]:
    new, old = content.canonical(now), content.canonical(then)
    if new == old:
        return _check(what, ok=True, detail=f"the same {len(old.encode())} bytes")
    place = next((i for i, (a, b) in enumerate(zip(new, old, strict=False)) if a != b), 0)
    return _check(what, ok=False, detail=f"differs: {old[place:][:60]} now {new[place:][:60]}")


def _check(what: str, *, ok: bool, detail: str) -> dict[str, Any]:
    return {"what": what, "ok": ok, "detail": detail}


# Is what the database says whole, and are the files there that it names?

OF_ITS_TURNS = ("jobs",)
"""Folders of the state folder that go with one database alone: they are named by its turns."""


def check(store: Store, state_dir: Path, load: Callable[[], None] | None = None) -> dict[str, Any]:
    """Read every table whole, and hold tables, sums, spool, archive and folders against each other.

    Args:
        store: the open database.
        state_dir: where `spool/`, `archive/`, `adapters/` and `datasets/` are.
        load: puts what the spool holds into the tables; None: the spool waits for a daemon.

    Returns:
        `rows`: of each table; `decision_log`: its events and the hash of the last; `spool`: how
        many of its events are in no table; `problems`: in words, empty when all is well.
    """
    spooled = _spooled(state_dir / "spool")
    if load is not None:
        load()
    with store.read() as con:
        waiting = [
            key for kind in archive.KINDS for key in consistency.missing(con, kind, spooled[kind])
        ]
        rows = {name: int(mark.split(":")[0]) for name, mark in schema.fingerprints(con).items()}
        log = decisions.check_chain(con)
        rewritten = [f"the decision log was changed: {problem}" for problem in log.problems]
        problems = [*_turns(con), *_registry(con, state_dir), *_decisions(con), *rewritten]
        problems += consistency.differences(con)
    if waiting and load is not None:
        problems.append(
            f"{len(waiting)} acknowledged events of the spool are in no table, such as {waiting[0]}"
        )
    told = {"events": log.events, "tip": log.tip}
    spool = {"events": sum(map(len, spooled.values())), "waiting": len(waiting)}
    return {"rows": rows, "decision_log": told, "spool": spool, "problems": problems}


def examine(copy: Path, state_dir: Path, now: datetime) -> dict[str, Any]:
    """Prove that a copy can be the database of this state folder, reading it to its last row.

    It is brought to this version's tables, and is one file afterwards. A turn that was open when
    the copy was made is ended there: who restores wants what served then, and not what that turn
    would have promoted. Its job folders went with the database that is replaced.

    Returns:
        `rows`, `decision_log` and `problems`, as `check` has them.

    Raises:
        Refused: it cannot; nothing but the copy was touched.
    """
    with restoring.opened(copy) as store:
        with store.write() as con:
            _end_open_turns(con, now)
        found = check(store, state_dir)
    return {name: found[name] for name in ("rows", "decision_log", "problems")}


def _end_open_turns(con: Connection, now: datetime) -> None:
    why = "it was open when this backup was made"
    for turn in turns.open_turns(con):
        for decision in decisions.list_decisions(con, status="pending"):
            if decision.turn == turn.id:
                said = f"{turn.id} was cancelled: {why}"
                decisions.set_status(con, decision.id, "expired", "restore", said, now)
        turns.close(con, turn.id, now, state="cancelled", error=f"cancelled by a restore: {why}")


def _spooled(folder: Path) -> dict[str, list[str]]:
    """Ids of the events that the spool holds, by kind."""
    found: dict[str, list[str]] = {kind: [] for kind in archive.KINDS}
    for path in sorted(folder.glob("*.ndjson")):
        with contextlib.suppress(FileNotFoundError):  # loaded meanwhile
            for row in formats.rows_of(path.read_bytes())[0]:
                if isinstance(row, formats.PredictionLine):
                    found["predictions"].append(row.id)
                elif isinstance(row, formats.FeedbackLine):
                    found["feedback"].append(row.id)
    return found


def _turns(con: Connection) -> list[str]:
    running = [turn.id for turn in turns.open_turns(con)]
    return [f"several turns are open at once: {', '.join(running)}"] if len(running) > 1 else []


def _registry(con: Connection, state_dir: Path) -> list[str]:
    found = []
    champion = adapters.champion(con)
    for adapter in adapters.list_adapters(con):
        whole = (state_dir / "adapters" / adapter.id / "flywheel.json").is_file()
        if not whole and adapter.state != "external":
            what = "the champion " if adapter.id == champion else ""
            found.append(f"{what}{adapter.id} ({adapter.state}) has no whole folder in adapters/")
    return found


def _decisions(con: Connection) -> list[str]:
    known = {adapter.id for adapter in adapters.list_adapters(con)}
    return [
        f"{decision.id} speaks of {decision.challenger}, which is not in the registry"
        for decision in decisions.list_decisions(con)
        if decision.challenger not in known
    ]
