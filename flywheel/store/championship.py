"""Is the champion the one that the decisions made? The table `champions` against the decision log.

Each row of `champions` is an applied decision for that adapter, in the order of the log, or the
adoption of production's own model where nothing served. The log is a chain of hashes; `champions`
and the states of `adapters` are not, so they are held against it.
"""

from __future__ import annotations

from collections.abc import Iterator

from flywheel.store.columns import Connection, Row, records

_CHAMPIONS = """
    SELECT c.number, c.adapter, c.decision, c.since, a.state FROM champions AS c
    LEFT JOIN adapters AS a ON a.id = c.adapter ORDER BY c.number
"""
_APPLIED = """
    SELECT e.decision, e.happened_at, d.challenger, d.champion
    FROM decision_events AS e JOIN decisions AS d ON d.id = e.decision
    WHERE e.status = 'applied' ORDER BY e.number
"""
_ADAPTERS = "SELECT id, state, count(*) AS times FROM adapters GROUP BY ALL ORDER BY id, state"
_TRAINED = "a-"  # how the id of an adapter begins that was trained here


MENDED = "`flywheel db check` names all that was changed; `flywheel db restore` a backup"
"""The way out of a champion that nobody decided."""


def problems(con: Connection) -> list[str]:
    """Return each difference as a sentence; empty when the log made this champion."""
    reigns = records(con, _CHAMPIONS)
    return [*_reigns(reigns, records(con, _APPLIED)), *_states(con, reigns)]


def _reigns(reigns: list[Row], applied: list[Row]) -> Iterator[str]:
    """Go through log and table side by side; behind the first difference nothing is compared."""
    serving, place = None, 0
    for event in [*applied, None]:
        if serving is None and place < len(reigns) and _adopted(reigns[place]):
            serving, place = reigns[place]["adapter"], place + 1
        if event is None or event["challenger"] == serving:
            continue
        row = reigns[place] if place < len(reigns) else None
        decision, challenger = event["decision"], event["challenger"]
        if event["champion"] != serving:
            was, served = event["champion"] or "nothing", serving or "nothing"
            yield f"{decision} was decided against {was}, and {served} served when it was applied"
            return
        if row is None or (row["adapter"], row["decision"]) != (challenger, decision):
            there = _words(row) if row else "no champion"
            yield f"{decision} made {challenger} the champion, and champions has {there} instead"
            return
        if row["number"] != place + 1 or row["since"] != event["happened_at"]:
            yield f"champions has {challenger} by {decision} in another place or at another time"
            return
        serving, place = challenger, place + 1
    for row in reigns[place:]:
        yield f"champions has {_words(row)}, and no decision was applied for it"


def _adopted(row: Row) -> bool:
    """Whether a row is the adoption of production's own model, which no decision makes."""
    return row["decision"] is None and row["state"] == "external"


def _words(row: Row) -> str:
    return f"{row['adapter'] or 'nothing'} by {row['decision'] or 'no decision'}"


def _states(con: Connection, reigns: list[Row]) -> Iterator[str]:
    champion = reigns[-1]["adapter"] if reigns else None
    served = {row["adapter"] for row in reigns}
    found = records(con, _ADAPTERS)
    names = {row["id"] for row in found}
    for name in sorted(served - names - {None}):
        yield f"{name} was champion, and is not in the registry"
    for row in found:
        name, state = row["id"], row["state"]
        if row["times"] > 1:
            yield f"{name} is {row['times']} times in the registry"
        if state == "external" and name.startswith(_TRAINED):
            yield f"{name} is called external, and was trained here"
        elif name == champion and state not in ("champion", "external"):
            yield f"{name} is {state} in the registry, and is the champion"
        elif name != champion and state == "champion":
            yield f"{name} is champion in the registry, and {champion or 'nothing'} serves"
        elif state == "retired" and name not in served:
            yield f"{name} is retired, and never was champion"
