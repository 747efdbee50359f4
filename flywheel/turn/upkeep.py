"""Is what the database says whole, and are the files there that it names?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel.store import Connection, Store, adapters, chain, decisions, schema, turns


def check(store: Store, state_dir: Path) -> dict[str, Any]:
    """Read every table whole, and hold the registry against the folders.

    Args:
        store: the open database.
        state_dir: where `adapters/` and `datasets/` are.

    Returns:
        `rows`: of each table; `decision_log`: its events and the hash of the last; `problems`: in
        words, empty when all is well.
    """
    with store.read() as con:
        rows = {name: int(mark.split(":")[0]) for name, mark in schema.fingerprints(con).items()}
        log = chain.check(con)
        rewritten = [f"the decision log was changed: {problem}" for problem in log.problems]
        problems = [*_turns(con), *_registry(con, state_dir), *_decisions(con), *rewritten]
    told = {"events": log.events, "tip": log.tip}
    return {"rows": rows, "decision_log": told, "problems": problems}


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
