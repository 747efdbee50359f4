"""The gates of a decision as a table, the same on the screen and in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.cli.table import Column
from flywheel.cli.text import clean, number, signed

GATES = (
    Column(title="gate"),
    Column(title="verdict"),
    Column(title="effect", right=True),
    Column(title="at least", right=True),
    Column(title="value", right=True),
    Column(title="limit", right=True),
    Column(title="n", right=True),
    Column(title="labels", right=True),
)


def gate_cells(gate: Mapping[str, Any]) -> list[str]:
    """A gate's line, cell by cell, without its note."""
    return [
        clean(gate["gate"]),
        clean(gate["verdict"]),
        signed(gate.get("effect")),
        signed(gate.get("low")),
        number(gate.get("value")),
        number(gate.get("threshold")),
        number(gate.get("n") or None),
        number(gate.get("labels_needed") or None),
    ]


_P_VALUE = "p-value, which passes at or below its limit"
_E_VALUE = (
    "e-value (the lowest of its parts), which passes at or above its limit: where the margin was "
    "lost, chance reaches 20 at most once in 20 times"
)
_MEASURES = {
    "overall": _P_VALUE,
    "latency": _P_VALUE,
    "intents": _E_VALUE,
    "slices": _E_VALUE,
    "out_of_scope": _E_VALUE,
    "fresh": "number of gains less losses, which passes at or above its limit",
    "calibration": "rise of the Brier score, which passes at or below its limit",
}


def legend(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the column `value` measures, a sentence for each kind that occurs.

    >>> legend([{"gate": "overall", "value": 0.01}, {"gate": "hygiene", "value": None}])
    ['The value of overall is a p-value, which passes at or below its limit.']
    """
    named: dict[str, list[str]] = {}
    for gate in gates:
        measure = _MEASURES.get(gate["gate"])
        if measure and gate.get("value") is not None:
            named.setdefault(measure, []).append(clean(gate["gate"]))
    return [
        f"The value of {', '.join(names)} is {'an' if measure[0] == 'e' else 'a'} {measure}."
        for measure, names in named.items()
    ]
