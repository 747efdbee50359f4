"""Would the same evidence give the same decision, to the byte?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from flywheel import content, gates, promotion
from flywheel.records import Report
from flywheel.store import decisions, reports
from flywheel.turn import evidence
from flywheel.turn.wheel import Wheel

_RULED = ("verdict", "status", "actor", "because")


def verify(wheel: Wheel, decision_id: str) -> dict[str, Any]:
    """Judge a decision again from its stored outcomes, by the rules that held then.

    Returns:
        {"id", "same", "evidence" (digest now), "checks": [{"what", "ok", "detail"}]}; a check
        whose ground is missing is not ok.

    Raises:
        NotFound: there is no such decision.
    """
    with wheel.store.read() as con:
        written = decisions.as_written(con, decision_id)
        stored = decisions.grounds(con, decision_id)
        report = reports.load(con, stored[0], stored[1]) if stored else None
    if stored is None or report is None:
        missing = "nobody judged it: a person's own act, or made before grounds were kept"
        if stored is not None:
            missing = "its outcomes are no longer stored"
        checks = [_check("grounds", ok=False, detail=missing)]
        return {"id": decision_id, "same": False, "evidence": None, "checks": checks}
    _, _, grounds = stored
    now = evidence.digest(grounds, report)
    claimed = str(json.loads(written["rests_on"]).get("evidence", ""))
    checks = [
        _check("evidence", ok=now == claimed, detail=f"{claimed} was written, {now} is stored"),
        *_judged_again(wheel, grounds, report, written),
    ]
    same = all(check["ok"] for check in checks)
    return {"id": decision_id, "same": same, "evidence": now, "checks": checks}


def _judged_again(
    wheel: Wheel, grounds: dict[str, Any], report: Report, written: dict[str, Any]
) -> list[dict[str, Any]]:
    known = {gate.name: gate.source for gate in wheel.custom_gates}
    changed = [name for name, source in grounds["plugins"].items() if known.get(name) != source]
    if changed:
        detail = f"the code of {', '.join(changed)} is not the one that judged"
        return [_check("plugins", ok=False, detail=detail)]
    shown = evidence.EVIDENCE.validate_python(grounds["evidence"])
    own = tuple(gate for gate in wheel.custom_gates if gate.name in grounds["plugins"])
    judgement = gates.judge(
        evidence.with_outcomes(shown, report), evidence.RULES.validate_python(grounds["gates"]), own
    )
    ruling = promotion.decide(
        judgement,
        evidence.PROMOTION.validate_python(grounds["promotion"]),
        evidence.SITUATION.validate_python(grounds["situation"]),
    )
    ruled = (ruling.verdict, ruling.status, ruling.by, ruling.because)
    return [
        _same("gates", [asdict(line) for line in judgement.gates], json.loads(written["gates"])),
        _same(
            "intents", [asdict(line) for line in judgement.intents], json.loads(written["intents"])
        ),
        _same("ruling", list(ruled), [written[name] for name in _RULED]),
    ]


def _same(what: str, now: Any, then: Any) -> dict[str, Any]:
    new, old = content.canonical(now), content.canonical(then)
    if new == old:
        return _check(what, ok=True, detail=f"the same {len(old.encode())} bytes")
    place = next((i for i, (a, b) in enumerate(zip(new, old, strict=False)) if a != b), 0)
    return _check(what, ok=False, detail=f"differs: {old[place:][:60]} now {new[place:][:60]}")


def _check(what: str, *, ok: bool, detail: str) -> dict[str, Any]:
    return {"what": what, "ok": ok, "detail": detail}
