"""All gates over one body of evidence."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

from flywheel.config.tables import GatesTable
from flywheel.errors import ConfigError
from flywheel.gates.evidence import Evidence, Judgement
from flywheel.gates.groups import out_of_scope, slices
from flywheel.gates.measures import calibration, latency
from flywheel.gates.overall import fresh, overall
from flywheel.gates.per_intent import IntentsJudged, intents
from flywheel.gates.prerequisites import hygiene, must_pass
from flywheel.metrics import loss_e_value
from flywheel.plugin import import_file
from flywheel.records import GateResult

# Gates of the reader's own: `[gates.NAME] plugin = "…"`.
#
# A plug-in, `plugins/NAME.py` or an entry point in `flywheel.gates`, offers
# `judge(evidence, options) -> GateResult`: pure, so that a decision can be recomputed. What it
# answers is held to the rule of every gate: an error, a wrong type, no number where one is needed,
# or a PASS over nothing is INCONCLUSIVE.

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


_SHIPPED = frozenset(each.name for each in fields(GatesTable)) - {"custom"}
_BEFORE_LABELS = frozenset({"hygiene", "must_pass", "overall", "fresh"})


def check(table: GatesTable) -> None:
    """Refuse rules that no evidence could satisfy; called once at start.

    Raises:
        ConfigError: a margin is at or below the usual share of losses (.04), or not below 1,
            or a level or cap makes no sense; the message names the key.
    """
    margins = {
        "intents.margin": table.intents.margin,
        "intents.critical_margin": table.intents.critical_margin,
        "out_of_scope.margin": table.out_of_scope.margin,
        **{f'slices.margins."{name}"': margin for name, margin in table.slices.margins.items()},
    }
    for key, margin in margins.items():
        try:
            loss_e_value((), margin)
        except ValueError as error:
            raise ConfigError(
                f"[gates] {key} = {margin} cannot be shown",
                hint="margins are above 0.04 and below 1; 0.20 takes 23 examples an intent",
            ) from error
    for name in table.slices.margins:
        if not all(name.partition("=")):
            raise ConfigError(
                f"[gates.slices] margins: `{name}` is not written key=value",
                hint='for example "channel=voice" = 0.20',
            )
    clash = sorted(set(table.custom) & _SHIPPED)
    if clash:
        raise ConfigError(
            f"[gates.{clash[0]}] is a gate of flywheel's and takes no plugin",
            hint="give yours another name",
        )
    rule = table.overall
    if not (0 < rule.alpha < 1 and 0 < rule.alpha_fast < 1 and rule.queries >= 1):
        raise ConfigError(
            "[gates.overall] needs alpha and alpha_fast between 0 and 1, queries of 1 or more",
            hint="the defaults are 0.10, 0.05 and 30",
        )


def judge(evidence: Evidence, table: GatesTable, custom: Sequence[CustomGate] = ()) -> Judgement:
    """Ask every gate that is on.

    Labels are wanted only of a challenger that every earlier gate passed and none failed.
    A gate that is off, or has nothing to judge, is left out and leaves a note, for a gate
    that looked at nothing must not read as passed. Rows whose label a person disputes are
    judged by no gate but must-pass.
    """
    everything = evidence
    notes: list[str] = []
    if evidence.disputed:
        disputed = frozenset(evidence.disputed)
        rows = tuple(row for row in evidence.outcomes if row.sample not in disputed)
        notes.append(f"{len(evidence.outcomes) - len(rows)} golden rows are disputed and set aside")
        evidence = replace(evidence, outcomes=rows)
    rows = evidence.outcomes
    gates = [hygiene(evidence.hygiene, everything.outcomes, first=evidence.first)]
    _judge_must_pass(everything, table, gates, notes)
    by_intent = intents(rows, evidence.intents, table.intents, evidence.asked)
    if evidence.first:
        by_intent = _without_comparison(by_intent)
        notes.append("there is no champion: nothing was compared")
    else:
        _judge_compared(evidence, table, gates, notes, by_intent)
    if table.latency.required:
        gates.append(latency(evidence.latency_ms, table.latency, first=evidence.first))
    gates += [ask(gate, evidence) for gate in custom]
    asking = _worth_labels(gates)
    return Judgement(
        gates=tuple(gates),
        intents=by_intent.lines,
        labels_wanted=by_intent.labels_wanted if asking else {},
        capped=by_intent.capped if asking else (),
        notes=tuple(notes),
    )


def _judge_must_pass(
    evidence: Evidence, table: GatesTable, gates: list[GateResult], notes: list[str]
) -> None:
    if not table.must_pass.required:
        notes.append("must_pass was off")
    elif (marked := must_pass(evidence.outcomes)) is None:
        notes.append("must_pass: no example is marked")
    else:
        gates.append(marked)


def _judge_compared(
    evidence: Evidence,
    table: GatesTable,
    gates: list[GateResult],
    notes: list[str],
    by_intent: IntentsJudged,
) -> None:
    rows = evidence.outcomes
    sealed = (row for row in rows if not row.bought)
    gates.append(overall(sealed, table.overall, evidence.ledger, evidence.dev))
    if table.fresh.required:
        gates.append(fresh(evidence.fresh, table.fresh, evidence.fresh_waiting))
    else:
        notes.append("fresh was off: no production sample confirmed the golden set")
    gates.append(by_intent.result)
    if (cut := slices(rows, table.slices)) is not None:
        gates.append(cut)
    if table.out_of_scope.required:
        gates.append(out_of_scope(rows, table.out_of_scope))
    if table.calibration.required:
        gates.append(calibration(rows, table.calibration))


def _without_comparison(by_intent: IntentsJudged) -> IntentsJudged:
    """The intents' lines with the challenger's recall and no verdict to speak of."""
    lines = tuple(
        replace(line, e_value=None, f_value=None, verdict="INCONCLUSIVE", labels_needed=0)
        for line in by_intent.lines
    )
    return replace(by_intent, lines=lines, labels_wanted={}, capped=())


def _worth_labels(gates: Sequence[GateResult]) -> bool:
    return all(
        result.verdict == "PASS" if result.gate in _BEFORE_LABELS else result.verdict != "FAIL"
        for result in gates
    )
