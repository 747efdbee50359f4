"""What is offered for a decision works, and what is not offered is refused."""

import itertools
from datetime import UTC, datetime

import pytest

from flywheel import files, promotion
from flywheel.config import PromotionTable
from flywheel.errors import Refused
from flywheel.records import Adapter, Decision, GateResult
from flywheel.store import adapters, decisions
from flywheel.turn import approve, reject, rollback
from tests.fakes import json_views as views

NOW = datetime(2026, 11, 22, tzinfo=UTC)
UNDECIDED = GateResult(gate="intents", verdict="INCONCLUSIVE")
HARMED = GateResult(gate="intents", verdict="FAIL")
WORSE = GateResult(gate="overall", verdict="INCONCLUSIVE", effect=-0.011)
LEAK = GateResult(gate="hygiene", verdict="FAIL")
CLEAN = GateResult(gate="hygiene", verdict="PASS")
PASSED = GateResult(gate="overall", verdict="PASS")


def adapter(con, runtime, name, state="challenger"):
    (runtime.adapters_dir / name).mkdir(parents=True)
    (runtime.adapters_dir / name / "flywheel.json").write_text("{}")
    adapters.add(
        con,
        Adapter(
            id=name,
            base="b",
            recipe="frozen",
            dataset="ds",
            parent=None,
            created_at=NOW,
            state=state,
            files=files.hashes(runtime.adapters_dir / name),
        ),
    )


def stands(runtime, *, status, by="gates", waits_for="a person", gates=(PASSED,), superseded=False):
    """The decision d-2 over the champion a-1, as it came to stand."""
    with runtime.store.write() as con:
        adapter(con, runtime, "a-1")
        adapter(con, runtime, "a-2", "rejected" if status == "rejected" else "challenger")
        adapters.set_champion(con, "a-1", "d-1", NOW)
        decisions.add(
            con,
            Decision(
                id="d-1",
                turn=None,
                challenger="a-2",
                champion="a-0" if superseded else "a-1",
                verdict="reject" if status == "rejected" and by == "gates" else "hold",
                status=status if by == "gates" else "pending",
                by="gates",
                because="as judged",
                at=NOW,
                gates=gates if LEAK in gates else (CLEAN, *gates),
                rests_on={"waits_for": waits_for},
            ),
        )
        if by != "gates":
            decisions.set_status(con, "d-1", status, by, "said so", NOW)
        if status == "applied":
            adapters.set_champion(con, "a-2", "d-1", NOW)


STATES = {
    "waits for a person": {"status": "pending"},
    "waits for labels": {"status": "pending", "waits_for": "labels", "gates": (UNDECIDED,)},
    "undecided, and worse by a point": {"status": "pending", "gates": (WORSE, UNDECIDED)},
    "harmed, for a person to weigh": {"status": "pending", "gates": (PASSED, HARMED)},
    "superseded": {"status": "pending", "superseded": True},
    "rejected by the gates": {"status": "rejected", "gates": (HARMED,)},
    "rejected for a leak": {"status": "rejected", "gates": (LEAK,)},
    "rejected by a person": {"status": "rejected", "by": "mira", "gates": (HARMED,)},
    "applied": {"status": "applied"},
    "expired": {"status": "expired"},
}
EXPECTED = {
    "waits for a person": ("approve", "reject"),
    "waits for labels": ("label", "approve", "reject"),
    "undecided, and worse by a point": ("approve", "reject"),
    "harmed, for a person to weigh": ("approve with intents", "reject"),
    "superseded": ("reject",),
    "rejected by the gates": ("approve with intents",),
    "rejected for a leak": ("turn",),
    "rejected by a person": ("turn",),
    "applied": ("rollback",),
    "expired": ("turn",),
}


def offered(runtime):
    return [
        " with ".join(filter(None, (one["do"], " ".join(one.get("override", ())))))
        for one in views.decision_view(runtime, "d-1")["offers"]
    ]


def tried(runtime, word):
    """What the daemon does when it is told so."""
    act, _, gates = word.partition(" with ")
    acts = {
        "approve": lambda: approve(runtime, "d-1", "ana", "checked", tuple(gates.split())),
        "reject": lambda: reject(runtime, "d-1", "ana", "checked"),
        "rollback": lambda: rollback(runtime, None, "ana", "checked"),
    }
    acts[act]()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_offered_works_and_nothing_else_does(runtime, state, allowed):
    table = PromotionTable(allow_override=("intents",) if allowed else ())
    object.__setattr__(runtime.config, "promotion", table)
    stands(runtime, **STATES[state])
    expected = [each for each in EXPECTED[state] if allowed or " with " not in each]
    assert offered(runtime) == (expected or ["turn"])
    words = ["approve", "approve with intents", "reject"]
    undecided = UNDECIDED in STATES[state].get("gates", ())  # may be named, and need not
    for word in words:
        if word not in expected and not (undecided and word == "approve with intents"):
            with pytest.raises(Refused):
                tried(runtime, word)
    for word in itertools.islice((each for each in expected if each in (*words, "rollback")), 1):
        tried(runtime, word)


def test_what_an_approval_takes_on_trust_is_offered_and_recorded_with_it(runtime):
    stands(runtime, **STATES["undecided, and worse by a point"])
    approval = views.decision_view(runtime, "d-1")["offers"][0]
    assert approval["unproven"] == ["overall", "intents"]
    approve(runtime, "d-1", "ana", "the gain is worth it")
    last = views.decision_view(runtime, "d-1")["events"][-1]
    assert (last["what"], last["by"]) == ("applied; unproven: intents, overall", "ana")


def test_the_rules_that_offer_are_those_that_refuse():
    assert promotion.may_approve.__module__ == "flywheel.promotion.admission"
