"""Gates of the reader's own: `[gates.NAME] plugin = "…"`.

A plug-in, `plugins/NAME.py` or an entry point in `flywheel.gates`, offers
`judge(evidence, options) -> GateResult`: pure, so that a decision can be recomputed. What it
answers is held to the rule of every gate: an error, a wrong type, no number where one is needed,
or a PASS over nothing is INCONCLUSIVE.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from flywheel.config.rules import GatesTable
from flywheel.errors import ConfigError
from flywheel.gates.evidence import Evidence
from flywheel.plugin import import_file
from flywheel.records import GateResult

GROUP = "flywheel.gates"
Judge = Callable[[Evidence, Mapping[str, Any]], GateResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomGate:
    """One configured gate of the reader's own."""

    name: str  # as in [gates.NAME]
    judge: Judge
    source: str  # hash of its code
    options: Mapping[str, Any] = field(default_factory=dict)


def custom_gates(table: GatesTable, plugins_dir: Path) -> tuple[CustomGate, ...]:
    """Load what the configuration names, ordered by name.

    Raises:
        ConfigError: nothing has that name, it cannot be imported, or it offers no `judge`.
    """
    found = []
    for name, rule in sorted(table.custom.items()):
        judge, source = _load(rule.plugin, plugins_dir)
        found.append(CustomGate(name=name, judge=judge, source=source, options=rule.options))
    return tuple(found)


def ask(gate: CustomGate, evidence: Evidence) -> GateResult:
    """The gate's word, or why it cannot be taken."""
    try:
        said = gate.judge(evidence, gate.options)
    except Exception as error:  # noqa: BLE001  a stranger's code may raise anything
        return _undecided(gate.name, f"it broke: {type(error).__name__}: {error}")
    if not isinstance(said, GateResult) or said.verdict not in ("PASS", "FAIL", "INCONCLUSIVE"):
        return _undecided(gate.name, "it answered no verdict")
    numbers = (said.effect, said.low, said.value, said.threshold)
    if any(number is not None and not math.isfinite(number) for number in numbers):
        return _undecided(gate.name, "one of its figures is no number")
    if said.verdict == "PASS" and said.n <= 0:
        return _undecided(gate.name, "it passed without judging anything")
    return replace(said, gate=gate.name)


def _undecided(name: str, why: str) -> GateResult:
    return GateResult(gate=name, verdict="INCONCLUSIVE", detail=why)


def _load(plugin: str, plugins_dir: Path) -> tuple[Judge, str]:
    name = plugin.removeprefix("plugins/").removesuffix(".py")
    path = plugins_dir / f"{name}.py"
    if Path(name).name == name and path.is_file():
        source = path.read_bytes()
        return _offered(import_file(path), str(path)), hashlib.sha256(source).hexdigest()
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            offered = entry.load()
            judge = offered if inspect.isroutine(offered) else _offered(offered, entry.value)
            module = inspect.getsource(inspect.getmodule(judge) or judge)
            return cast(Judge, judge), hashlib.sha256(module.encode()).hexdigest()
    raise ConfigError(
        f"no gate is called `{plugin}`", hint=f"write {path}, or install what offers it"
    )


def _offered(module: object, where: str) -> Judge:
    judge = getattr(module, "judge", None)
    if not callable(judge):
        raise ConfigError(
            f"{where} offers no `judge`", hint="define `def judge(evidence, options)` in it"
        )
    return cast(Judge, judge)
