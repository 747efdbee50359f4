"""Integrity checks of the state folder, and verification of decisions from stored evidence.

`check` and `examine` compare the tables with each other and with the files that they name.
`verify` recomputes one decision and compares it byte by byte.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel import content, datasets, formats, gates, promotion
from flywheel.errors import Refused
from flywheel.records import Report
from flywheel.spool import segments
from flywheel.store import (
    Connection,
    Settings,
    Store,
    adapters,
    archive,
    catalog,
    championship,
    consistency,
    decisions,
    golden_set,
    redo,
    restoring,
    samples,
    schema,
    seal,
    turns,
)
from flywheel.turn import adapter_files, backups, evidence
from flywheel.turn.backups import Replaced
from flywheel.turn.runtime import Runtime

_EVERY = 1 << 31  # decisions
_RULED = ("verdict", "status", "actor", "because")


def verify(runtime: Runtime, decision_id: str) -> dict[str, Any]:
    """Recompute a decision from its stored outcomes with the rules of its time.

    Returns:
        {"id", "same", "evidence" (current digest), "checks": [{"what", "ok", "detail"}]}; a check
        without stored grounds is not ok.

    Raises:
        NotFound: there is no such decision.
    """
    with runtime.store.read() as con:
        as_written = decisions.as_written(con, decision_id)
        stored = decisions.grounds(con, decision_id)
        report = adapters.load_report(con, stored[0], stored[1]) if stored else None
    if stored is None or report is None:
        missing = "nobody judged it: a person's own act, or made before grounds were kept"
        if stored is not None:
            missing = "its outcomes are no longer stored"
        checks = [_check("grounds", ok=False, detail=missing)]
        return {"id": decision_id, "same": False, "evidence": None, "checks": checks}
    _, _, grounds = stored
    digest = evidence.digest(grounds, report)
    claimed = str(json.loads(as_written["rests_on"]).get("evidence", ""))
    checks = [
        _check(
            "evidence", ok=digest == claimed, detail=f"{claimed} was written, {digest} is stored"
        ),
        *_judged_again(runtime, grounds, report, as_written),
    ]
    same = all(check["ok"] for check in checks)
    return {"id": decision_id, "same": same, "evidence": digest, "checks": checks}


def _judged_again(
    runtime: Runtime, grounds: dict[str, Any], report: Report, as_written: dict[str, Any]
) -> list[dict[str, Any]]:
    sources = {gate.name: gate.source for gate in runtime.custom_gates}
    changed = [name for name, source in grounds["plugins"].items() if sources.get(name) != source]
    if changed:
        detail = f"the code of {', '.join(changed)} is not the one that judged"
        return [_check("plugins", ok=False, detail=detail)]
    stored = evidence.EVIDENCE.validate_python(grounds["evidence"])
    custom_gates = tuple(gate for gate in runtime.custom_gates if gate.name in grounds["plugins"])
    judgement = gates.judge(
        evidence.with_outcomes(stored, report),
        evidence.RULES.validate_python(grounds["gates"]),
        custom_gates,
    )
    ruling = promotion.decide(
        judgement,
        evidence.PROMOTION.validate_python(grounds["promotion"]),
        evidence.SITUATION.validate_python(grounds["situation"]),
    )
    ruled = (ruling.verdict, ruling.status, ruling.by, ruling.because)
    return [
        _same("gates", [asdict(line) for line in judgement.gates], json.loads(as_written["gates"])),
        _same(
            "intents",
            [asdict(line) for line in judgement.intents],
            json.loads(as_written["intents"]),
        ),
        _same("ruling", list(ruled), [as_written[name] for name in _RULED]),
    ]


def _same(name: str, recomputed: Any, stored: Any) -> dict[str, Any]:
    new_json, old_json = content.canonical(recomputed), content.canonical(stored)
    if new_json == old_json:
        return _check(name, ok=True, detail=f"the same {len(old_json.encode())} bytes")
    start = next((i for i, (a, b) in enumerate(zip(new_json, old_json, strict=False)) if a != b), 0)
    return _check(
        name,
        ok=False,
        detail=f"differs: {old_json[start:][:60]} now {new_json[start:][:60]}",
    )


def _check(name: str, *, ok: bool, detail: str) -> dict[str, Any]:
    return {"what": name, "ok": ok, "detail": detail}


OF_ITS_TURNS = ("jobs", redo.FOLDER)
"""Folders that belong to one database: their entries are named after its turns."""


def check(store: Store, state_dir: Path, load: Callable[[], None] | None = None) -> dict[str, Any]:
    """Read every table completely and compare tables, sums, spool, archive and folders.

    Args:
        store: the open database.
        state_dir: the folder of `spool/`, `archive/`, `adapters/` and `datasets/`.
        load: loads the spool into the tables; None: the spool is left for a daemon.

    Returns:
        `rows`: number by table; `decision_log`: number of events and the hash of the last;
        `spool`: number of events, and of those in no table; `problems`: sentences, empty when the
        state is consistent.
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
        problems += [*championship.problems(con), *_golden(con)]
        problems += map(str, catalog.differences(con))
        problems += consistency.differences(con)
    if waiting and load is not None:
        problems.append(
            f"{len(waiting)} acknowledged events of the spool are in no table, such as {waiting[0]}"
        )
    decision_log = {"events": log.events, "tip": log.tip}
    spool = {"events": sum(map(len, spooled.values())), "waiting": len(waiting)}
    return {"rows": rows, "decision_log": decision_log, "spool": spool, "problems": problems}


def examine(
    copy: Path,
    state_dir: Path,
    now: datetime,
    by: str = "restore",
    replaced: Replaced | None = None,
    limits: Settings | None = None,
) -> dict[str, Any]:
    """Validate a copy as the database of this state folder, by reading every row.

    The copy is migrated. Turns that were open when it was made are cancelled in it: a restore must
    bring back the champion of that time, not a later promotion, and their job folders belonged to
    the replaced database. The restore is an event of its log. Its rows are then written to a new
    file, `restoring.proved`, which is what `restoring.stage` takes.

    Args:
        copy: the file that arrived; it is changed.
        state_dir: of the daemon.
        now, by: when, UTC, and who restores.
        replaced: the database that it will replace; None: there is none that can be read.
        limits: settings of DuckDB's that are narrower than a daemon's.

    Returns:
        `rows`, `decision_log`, `problems` as from `check`; `own_history`: whether its log is a part
        of the replaced one; `replaced`: the tip of that; `digest`: SHA-256 of the file for `stage`.

    Raises:
        Refused: the copy is unusable, or its champion is not the one that was decided.
    """
    arrived, known = seal.file_digest(copy), replaced or Replaced()
    with restoring.opened(copy, limits) as (store, sealed):
        with store.read() as con:
            origin = backups.origin(con, known)
            problems = backups.not_vouched(con, sealed, origin, known, arrived)
            foreign = [str(one) for one in catalog.differences(con)]
            _refuse_forged(con)
        with store.write() as con:
            _end_open_turns(con, now)
            backups.record_restore(con, origin, known, sealed, by, now)
        result = check(store, state_dir)
        restoring.write_anew(store, restoring.proved(copy), limits)
    problems += [f"{words}, and is not taken over" for words in foreign]
    problems += [line for line in result["problems"] if line not in foreign]
    return {
        **{name: result[name] for name in ("rows", "decision_log")},
        "problems": problems,
        "own_history": origin.own,
        "replaced": known.tip,
        "digest": seal.file_digest(restoring.proved(copy)),
    }


def forged(con: Connection) -> str:
    """What of the champion or of the decisions was changed since it was written; "" for nothing."""
    return next(iter((*championship.problems(con), *decisions.check_chain(con).problems)), "")


def _refuse_forged(con: Connection) -> None:
    if wrong := forged(con):
        raise Refused(
            f"the backup cannot be used: {wrong}",
            hint="somebody changed its champion or its decisions; nothing was changed here",
        )


def _end_open_turns(con: Connection, now: datetime) -> None:
    why = "it was open when this backup was made"
    if (decision := decisions.applying(con)) is not None:  # it was not in service at that time
        because = "it was being applied when this backup was made"
        decisions.set_status(con, decision.id, "expired", "restore", because, now)
    for turn in turns.open_turns(con):
        for decision in decisions.list_decisions(con, status="pending"):
            if decision.turn == turn.id:
                because = f"{turn.id} was cancelled: {why}"
                decisions.set_status(con, decision.id, "expired", "restore", because, now)
        turns.close(con, turn.id, now, state="cancelled", error=f"cancelled by a restore: {why}")


def _spooled(folder: Path) -> dict[str, list[str]]:
    """Ids of the events in the spool, by kind."""
    ids: dict[str, list[str]] = {kind: [] for kind in archive.KINDS}
    for path in segments(folder):
        with contextlib.suppress(FileNotFoundError):  # loaded meanwhile
            for row in formats.rows_of(path.read_bytes())[0]:
                if isinstance(row, formats.PredictionLine):
                    ids["predictions"].append(row.id)
                elif isinstance(row, formats.FeedbackLine):
                    ids["feedback"].append(row.id)
    return ids


def _turns(con: Connection) -> list[str]:
    running = [turn.id for turn in turns.open_turns(con)]
    return [f"several turns are open at once: {', '.join(running)}"] if len(running) > 1 else []


def _registry(con: Connection, state_dir: Path) -> list[str]:
    problems = []
    champion = adapters.champion(con)
    for adapter in adapters.list_adapters(con):
        role = "the champion " if adapter.id == champion else ""
        whole = (state_dir / "adapters" / adapter.id / "flywheel.json").is_file()
        if not whole and adapter.state != "external":
            problems.append(
                f"{role}{adapter.id} ({adapter.state}) has no whole folder in adapters/"
            )
        elif adapter.files:  # those of an earlier version are recorded at the next start
            changed = adapter_files.problem(state_dir / "adapters", adapter)
            changed = changed or adapter_files.not_as_judged(con, adapter)
            problems += [f"{role}{changed}"] if changed else []
    return problems


def _golden(con: Connection) -> list[str]:
    """Whether the golden set is the one that was sealed; labels that were bought came later."""
    generation = golden_set.current_generation(con)
    if generation is None or not generation.sealed:
        return []
    rows = [row.sample for row in samples.golden(con) if not row.bought]
    if (datasets.seal(rows), len(rows)) == (generation.seal, generation.rows):
        return []
    return [f"golden generation {generation.number} is not as it was sealed, with {len(rows)} rows"]


def _decisions(con: Connection) -> list[str]:
    registered = {adapter.id for adapter in adapters.list_adapters(con)}
    return [
        f"{decision.id} speaks of {decision.challenger}, which is not in the registry"
        for decision in decisions.list_decisions(con, limit=_EVERY)
        if decision.challenger not in registered
    ]
