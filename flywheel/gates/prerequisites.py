"""G0 and G1: nothing of the golden set reached training, and what must pass passes."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.gates.evidence import HygieneFacts
from flywheel.records import GateResult, Outcome

_SHOWN = 3


def hygiene(
    facts: HygieneFacts | None, rows: Sequence[Outcome], *, first: bool = False
) -> GateResult:
    """Fail on any sign that golden text reached training, the prompts or the choice of model.

    It fails closed: a hash that is not known is a hash that does not match. The one thing
    that leaves it undecided is a champion that has not answered every row yet.

    Args:
        facts: None when nobody gathered them, which fails.
        rows: the golden rows judged.
        first: there is no champion, so its rows are not missed.
    """
    if facts is None:
        return GateResult(gate="hygiene", verdict="FAIL", detail="nobody checked for leaks")
    broken = _broken(facts, rows)
    if broken:
        return GateResult(gate="hygiene", verdict="FAIL", n=len(rows), detail="; ".join(broken))
    if not first and facts.champion_rows < facts.challenger_rows:
        detail = (
            f"the champion answered {facts.champion_rows} rows, "
            f"the challenger {facts.challenger_rows}"
        )
        return GateResult(gate="hygiene", verdict="INCONCLUSIVE", n=len(rows), detail=detail)
    detail = f"no golden text in training or prompts, {len(rows)} sealed rows, chosen on dev"
    if facts.champion_unknown:
        detail += "; the champion's dataset is gone, so what it learned is known by records alone"
    return GateResult(gate="hygiene", verdict="PASS", n=len(rows), detail=detail)


def must_pass(rows: Sequence[Outcome]) -> GateResult | None:
    """Pass if the challenger is right on every row marked must-pass; None when none is."""
    marked = [row for row in rows if row.must_pass]
    if not marked:
        return None
    wrong = sorted({row.sample for row in marked if row.challenger_correct is False})
    silent = sum(row.challenger_correct not in (True, False) for row in marked)
    right = sum(row.challenger_correct is True for row in marked)
    detail = f"{right} of {len(marked)} must-pass examples are right"
    if wrong:
        detail += f"; wrong: {_some(wrong)}"
    elif silent:
        detail += f"; {silent} without an answer"
    return GateResult(
        gate="must_pass",
        verdict="FAIL" if wrong else "INCONCLUSIVE" if silent else "PASS",
        value=float(right),
        threshold=float(len(marked)),
        n=len(marked),
        detail=detail,
    )


def _broken(facts: HygieneFacts, rows: Sequence[Outcome]) -> list[str]:
    strays = sum(row.split != "golden" for row in rows)
    checks = (
        (bool(facts.leaks), f"{len(facts.leaks)} golden texts leaked: {_some(facts.leaks)}"),
        (
            facts.golden_in_prompts != 0,
            f"{facts.golden_in_prompts} golden texts in the teacher's prompts",
        ),
        (
            not facts.sealed_hash or facts.sealed_hash != facts.current_hash,
            "the golden set is not the one sealed "
            f"({facts.sealed_hash or 'unknown'} sealed, {facts.current_hash or 'unknown'} now)",
        ),
        (
            not facts.trained_hash or facts.trained_hash != facts.evaluated_hash,
            "the adapter evaluated is not the one trained "
            f"({facts.evaluated_hash or 'unknown'}, {facts.trained_hash or 'unknown'})",
        ),
        (
            facts.chosen_on != "dev",
            f"the checkpoint was chosen on {facts.chosen_on or '?'}, not dev",
        ),
        (not rows or facts.challenger_rows <= 0, "no golden row was judged"),
        (
            facts.challenger_rows < facts.champion_rows,
            f"the challenger answered {facts.challenger_rows} rows, "
            f"the champion {facts.champion_rows}",
        ),
        (strays > 0, f"{strays} of the rows judged are not golden"),
    )
    return [message for failed, message in checks if failed]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
