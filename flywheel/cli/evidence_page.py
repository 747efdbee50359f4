"""What the evidence of a decision lacks: pools, labels, turns, ways out, what is unproven."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel.cli.screen import Column, heading, prose, table
from flywheel.cli.text import clean, counted, number, plural

_INDENT = "  "

_POOLS = (
    Column(title="judged together", least=14),
    Column(title="lost/won", right=True),
    Column(title="n", right=True),
    Column(title="E", right=True),
    Column(title="verdict"),
    Column(title="labels", right=True, spare=1),
)


def evidence(decision: Mapping[str, Any]) -> list[str]:
    """What deciding takes: pools and what they do not show, labels, turns, and the ways out."""
    ahead = decision.get("ahead")
    if not ahead:
        return []
    lines: list[str] = []
    if pools := ahead.get("pools"):
        cells = [
            [
                clean(pool["pool"]),
                f"{pool['losses']}/{pool['gains']}",
                number(pool["n"]),
                number(pool["e_value"]),
                clean(pool["verdict"]),
                number(pool["labels_needed"] or None),
            ]
            for pool in pools
        ]
        named = [", ".join(map(clean, pool["intents"])) for pool in pools]
        lines += table(_POOLS, cells, notes=named, indent=_INDENT)
        lines += prose(clean(ahead["not_shown"]), _INDENT)
    if decision.get("status") == "pending" and ahead["labels"]:
        lines += prose(expected(ahead), _INDENT)
    if decision.get("status") == "pending" and ahead.get("beyond"):
        lines += _ways_out(decision, ahead)
    return [heading("Evidence"), *lines] if lines else []


def expected(ahead: Mapping[str, Any]) -> str:
    """The labels and turns that deciding is expected to take, in a sentence.

    >>> expected({"labels": 485, "offered": 36, "turns": None}).partition(". ")[0]
    'About 485 more labels decide it; traffic has texts for 36 of them'
    """
    labels = f"About {plural(ahead['labels'], 'more label')} decide it"
    told = f"{labels}; traffic has texts for {number(ahead['offered'] or 0)} of them."
    if ahead["turns"] is None:
        return f"{told} It cannot be decided by what there is."
    return f"{told} A harmless challenger passes after about {plural(ahead['turns'], 'turn')}."


def _ways_out(decision: Mapping[str, Any], ahead: Mapping[str, Any]) -> list[str]:
    """The three things that a person may do where traffic cannot decide."""
    needs = counted(ahead["beyond"])
    lines = [
        f"{_INDENT}ways out:",
        *prose(f"1. import golden rows: {needs}", _INDENT * 2),
        f"{_INDENT * 2}   flywheel samples import FILE --split golden",
        f"{_INDENT * 2}2. approve it this time, with that unproven (below)",
    ]
    if ahead.get("group"):
        lines.append(f"{_INDENT * 2}3. judge these as one group from now on, in config.toml:")
        lines.append(f"{_INDENT * 2}   {clean(ahead['group'])}")
    return lines


def pooled(decision: Mapping[str, Any]) -> frozenset[str]:
    """The intents that were judged in a pool."""
    pools = (decision.get("ahead") or {}).get("pools") or ()
    return frozenset(name for pool in pools for name in pool["intents"])


def on_trust(decision: Mapping[str, Any]) -> list[str]:
    """What an approval would take on trust: it is recorded with it."""
    names = [
        clean(gate)
        for offer in decision.get("offers") or []
        if offer["do"] == "approve"
        for gate in offer.get("unproven") or ()
    ]
    if not names:
        return []
    told = f"An approval takes on trust what is unproven, and records it: {', '.join(names)}."
    return prose(told, _INDENT)
