"""All gates over one body of evidence: the table of shipped gates, and gates of the user's own.

A shipped gate is a function and a row of `GATES`, with its rule in `config.tables`. A gate of
the user's own is `[gates.NAME] plugin = "…"`: a file `plugins/NAME.py` or an entry point in
`flywheel.gates` that offers `judge(evidence, options) -> GateResult`. It must be pure, so that a
decision can be recomputed. Its answer is held to the rule of every gate: an error, a wrong type,
no number where one is needed, or a PASS over nothing is INCONCLUSIVE.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from flywheel.config.tables import GatesTable, IntentsRule
from flywheel.errors import ConfigError
from flywheel.gates.changed_answers import changed_answers
from flywheel.gates.evidence import Evidence, Judgement
from flywheel.gates.groups import out_of_scope, slices
from flywheel.gates.measures import calibration, latency
from flywheel.gates.overall import fresh, overall
from flywheel.gates.per_intent import IntentsJudged, intents
from flywheel.gates.pools import group_line
from flywheel.gates.prerequisites import hygiene, must_pass
from flywheel.metrics import loss_e_value
from flywheel.plugin import find_plugin, plugin_name
from flywheel.records import GateResult

_NAMED = 5  # pairs of contradicting samples
_P_VALUE = "p-value, which passes at or below its limit"
_E_VALUE = (
    "e-value (the lowest of its parts), which passes at or above its limit: where the margin was "
    "lost, chance reaches 20 at most once in 20 times"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A shipped gate: how it is asked, and what is said where it is not."""

    name: str  # of its result, of its table [gates.NAME], and of the field in `GatesTable`
    ask: Callable[[Evidence, Any], GateResult | IntentsJudged | None]
    # of the evidence and its rule; None: there was nothing to judge
    measures: str = ""  # what `value` of its result is, and when it passes
    compares: bool = True  # it needs a champion
    disputed: bool = False  # it is shown rows that are set aside, too
    labels: Literal["after PASS", "unless FAIL"] = "unless FAIL"  # when labels are worth buying
    on: Callable[[GatesTable], bool] = lambda table: True
    off: str = ""  # note where it is not on
    nothing: str = ""  # note where there was nothing to judge


GATES: tuple[Gate, ...] = (
    Gate(
        name="hygiene",
        ask=lambda shown, rule: hygiene(shown.hygiene, shown.outcomes, first=shown.first),
        compares=False,
        disputed=True,
        labels="after PASS",
    ),
    Gate(
        name="must_pass",
        on=lambda table: table.must_pass.required,
        ask=lambda shown, rule: must_pass(shown.outcomes),
        compares=False,
        disputed=True,
        labels="after PASS",
        off="must_pass was off",
        nothing="must_pass: no example is marked",
    ),
    Gate(
        name="overall",
        ask=lambda shown, rule: overall(
            (row for row in shown.outcomes if not row.bought), rule, shown.ledger, shown.dev
        ),
        measures=_P_VALUE,
        labels="after PASS",
    ),
    Gate(
        name="fresh",
        on=lambda table: table.fresh.required,
        ask=lambda shown, rule: fresh(shown.fresh, rule, shown.fresh_waiting),
        measures="number of gains less losses, which passes at or above its limit",
        labels="after PASS",
        off="fresh was off: no production sample confirmed the golden set",
    ),
    Gate(
        name="intents",
        ask=lambda shown, rule: _intents(shown, rule),
        measures=_E_VALUE,
    ),
    Gate(
        name="slices",
        ask=lambda shown, rule: slices(shown.outcomes, rule),
        measures=_E_VALUE,
    ),
    Gate(
        name="out_of_scope",
        on=lambda table: table.out_of_scope.required,
        ask=lambda shown, rule: out_of_scope(shown.outcomes, rule),
        measures=_E_VALUE,
    ),
    Gate(
        name="changed_answers",
        on=lambda table: table.changed_answers.required,
        ask=lambda shown, rule: changed_answers(shown.changed, rule),
        measures="highest share of other texts that a new wording turns; it passes below its limit",
        off="changed_answers was off: nobody looked at what few raters taught",
    ),
    Gate(
        name="calibration",
        on=lambda table: table.calibration.required,
        ask=lambda shown, rule: calibration(shown.outcomes, rule),
        measures="rise of the Brier score, which passes at or below its limit",
    ),
    Gate(
        name="latency",
        on=lambda table: table.latency.required,
        ask=lambda shown, rule: latency(shown.latency_ms, rule, first=shown.first),
        measures=_P_VALUE,
        compares=False,
    ),
)
"""The shipped gates, in the order in which they are asked and shown."""


def _intents(shown: Evidence, rule: IntentsRule) -> IntentsJudged:
    """The intents by all rows that neither model has learned."""
    more = shown.fresh if shown.fresh_judges else ()
    rows = (*shown.outcomes, *more)
    return intents(rows, shown.intents, rule, shown.asked, pools=shown.pools, offered=shown.offered)


def _group_line(judged: IntentsJudged, shown: Evidence, rule: IntentsRule) -> str:
    """The line of config.toml that judges together what traffic cannot decide; "" for nothing."""
    pools = {pool.name: pool.intents for pool in judged.pools}
    stuck = [member for name in judged.beyond for member in pools.get(name, (name,))]
    passing = [line for line in judged.lines if line.verdict != "FAIL"]
    rows = {line.intent: line.n for line in passing}
    return group_line(stuck, rows, shown.offered or {}, shown.intents, rule)


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
    found = find_plugin(plugin, plugins_dir, GROUP)
    if found is None:
        path = plugins_dir / f"{plugin_name(plugin)}.py"
        raise ConfigError(
            f"no gate is called `{plugin}`", hint=f"write {path}, or install what offers it"
        )
    offered = found.offered
    judge = offered if inspect.isroutine(offered) else _offered(offered, found.where)
    return cast(Judge, judge), hashlib.sha256(found.source(judge)).hexdigest()


def _offered(module: object, where: str) -> Judge:
    judge = getattr(module, "judge", None)
    if not callable(judge):
        raise ConfigError(
            f"{where} offers no `judge`", hint="define `def judge(evidence, options)` in it"
        )
    return cast(Judge, judge)


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
    clash = sorted(set(table.custom) & {gate.name for gate in GATES})
    if clash:
        raise ConfigError(
            f"[gates.{clash[0]}] is a gate of flywheel's and takes no plugin",
            hint="give yours another name",
        )
    if not 0 < table.changed_answers.turned <= 1:
        raise ConfigError(
            f"[gates.changed_answers] turned = {table.changed_answers.turned} is no share",
            hint="above 0 and up to 1; the default is 0.50",
        )
    rule = table.overall
    if not (0 < rule.alpha < 1 and 0 < rule.alpha_fast < 1 and rule.queries >= 1):
        raise ConfigError(
            "[gates.overall] needs alpha and alpha_fast between 0 and 1, queries of 1 or more",
            hint="the defaults are 0.10, 0.05 and 30",
        )


def judge(evidence: Evidence, table: GatesTable, custom: Sequence[CustomGate] = ()) -> Judgement:
    """Ask every gate that is on, of the evidence as it was before it was seen.

    Rows that came into doubt, or out of it, after they were asked change no gate's answer;
    `if_doubted` says what the verdict would be if they did.
    """
    judgement = _judge(evidence, table, custom)
    if evidence.doubted is None or set(evidence.doubted) == set(evidence.disputed):
        return judgement
    ledger = evidence.ledger and replace(evidence.ledger, earlier_overall=None)
    shown = replace(evidence, disputed=evidence.doubted, ledger=ledger)
    return replace(judgement, if_doubted=_judge(shown, table, custom).verdict)


def _judge(evidence: Evidence, table: GatesTable, custom: Sequence[CustomGate]) -> Judgement:
    """Ask every gate that is on.

    Labels are wanted only of a challenger that every earlier gate passed and none failed.
    A gate that is off, or has nothing to judge, is left out and leaves a note, for a gate
    that looked at nothing must not read as passed. Rows whose label a person disputes, and those
    that the champion has learned, are judged by no gate but hygiene and must-pass.
    """
    undisputed, notes = _without_disputed(evidence)
    undisputed, told = _without_contradicting(undisputed)
    notes += told
    undisputed, told = _without_learned(undisputed)
    notes += told
    results: list[GateResult] = []
    by_intent: IntentsJudged | None = None
    for gate in GATES:
        if gate.compares and evidence.first:
            continue
        if not gate.on(table):
            notes += [gate.off] if gate.off else []
            continue
        rule = getattr(table, gate.name)
        answer = gate.ask(evidence if gate.disputed else undisputed, rule)
        if isinstance(answer, IntentsJudged):
            by_intent, answer = answer, answer.result
        if answer is not None:
            results.append(answer)
        elif gate.nothing:
            notes.append(gate.nothing)
    if by_intent is None:
        by_intent = _without_comparison(
            intents(undisputed.outcomes, evidence.intents, table.intents, evidence.asked)
        )
        notes.append("there is no champion: nothing was compared")
    results += [ask(gate, undisputed) for gate in custom]
    worth = _worth_labels(results)
    return Judgement(
        gates=tuple(results),
        intents=by_intent.lines,
        labels_wanted=by_intent.labels_wanted if worth else {},
        capped=by_intent.capped if worth else (),
        notes=tuple(notes),
        pools=by_intent.pools,
        beyond=by_intent.beyond if worth else {},
        group=_group_line(by_intent, undisputed, table.intents) if worth else "",
    )


def measures(gate: str) -> str:
    """What the value of a shipped gate's result is, and when it passes; "" of any other."""
    return next((row.measures for row in GATES if row.name == gate), "")


def _without_disputed(evidence: Evidence) -> tuple[Evidence, list[str]]:
    """The evidence without the rows whose label a person disputes, and the note on them."""
    if not evidence.disputed:
        return evidence, []
    disputed = frozenset(evidence.disputed)
    rows = tuple(row for row in evidence.outcomes if row.sample not in disputed)
    count = len(evidence.outcomes) - len(rows)
    return replace(evidence, outcomes=rows), [f"{count} golden rows are disputed and set aside"]


def _without_contradicting(evidence: Evidence) -> tuple[Evidence, list[str]]:
    """The evidence without golden rows of one text and two labels, and the notes that name them."""
    if not evidence.contradicting:
        return evidence, []
    pairs = evidence.contradicting
    gone = frozenset(name for pair in pairs for name in pair)
    rows = tuple(row for row in evidence.outcomes if row.sample not in gone)
    named = ", ".join(f"{one} and {other}" for one, other in pairs[:_NAMED])
    named += f" and {len(pairs) - _NAMED} pairs more" if len(pairs) > _NAMED else ""
    return replace(evidence, outcomes=rows), [
        f"golden samples with one text and two labels are set aside: {named}"
    ]


def _without_learned(evidence: Evidence) -> tuple[Evidence, list[str]]:
    """The evidence without rows that the champion has learned, and the note on them."""
    if not evidence.learned:
        return evidence, []
    learned = frozenset(evidence.learned)
    rows = tuple(row for row in evidence.outcomes if row.sample not in learned)
    count = len(evidence.outcomes) - len(rows)
    return replace(evidence, outcomes=rows), [
        f"{count} golden rows compare nothing: the champion has learned them, or rows near them"
    ]


def _without_comparison(by_intent: IntentsJudged) -> IntentsJudged:
    """The intents' lines with the challenger's recall and no verdict to speak of."""
    lines = tuple(
        replace(line, e_value=None, f_value=None, verdict="INCONCLUSIVE", labels_needed=0)
        for line in by_intent.lines
    )
    return replace(by_intent, lines=lines, labels_wanted={}, capped=())


def _worth_labels(results: Sequence[GateResult]) -> bool:
    must_have_passed = {gate.name for gate in GATES if gate.labels == "after PASS"}
    return all(
        result.verdict == "PASS" if result.gate in must_have_passed else result.verdict != "FAIL"
        for result in results
    )
