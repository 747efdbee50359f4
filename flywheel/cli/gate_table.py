"""The gates of a decision as a table, the same on the screen and in a report."""

from __future__ import annotations

from collections.abc import Mapping
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
