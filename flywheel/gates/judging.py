"""All gates over one body of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from flywheel.config.rules import GatesTable
from flywheel.errors import ConfigError
from flywheel.gates.compared import fresh, overall
from flywheel.gates.custom import CustomGate, ask
from flywheel.gates.evidence import Evidence, Judgement
from flywheel.gates.groups import out_of_scope, slices
from flywheel.gates.measures import calibration, latency
from flywheel.gates.per_intent import IntentsJudged, intents
from flywheel.gates.prerequisites import hygiene, must_pass
from flywheel.metrics import loss_e_value
from flywheel.records import GateResult

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
