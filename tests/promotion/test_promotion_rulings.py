"""The ruling for every combination of verdicts, mode and situation."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import PromotionTable
from flywheel.errors import Refused
from flywheel.promotion import (
    MUST_SPEAK,
    Situation,
    check_override,
    decide,
    expired,
    ratify,
    refused_by,
    unproven,
)
from flywheel.records import Decision, DecisionEvent, GateResult

VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE")
AUTO, REVIEW = PromotionTable(mode="auto"), PromotionTable(mode="review")
SERVED = Situation(champion="a-1")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Judged:
    gates: tuple[GateResult, ...] = ()
    labels_wanted: dict[str, int] = field(default_factory=dict)
    capped: tuple[str, ...] = ()
    if_doubted: str | None = None

    @property
    def verdict(self):
        verdicts = {result.verdict for result in self.gates}
        if "FAIL" in verdicts:
            return "FAIL"
        return "PASS" if verdicts == {"PASS"} else "INCONCLUSIVE"


def judged(effect=0.02, labels=None, capped=(), **verdicts):
    names = {**dict.fromkeys(MUST_SPEAK, "PASS"), **verdicts}
    return Judged(
        gates=tuple(
            GateResult(gate=name, verdict=verdict, effect=effect, n=100, detail=f"{name} told")
            for name, verdict in names.items()
            if verdict
        ),
        labels_wanted=labels or {},
        capped=capped,
    )


@pytest.mark.parametrize(
    ("hygiene", "overall", "intents", "mode"),
    list(product(VERDICTS, VERDICTS, VERDICTS, (AUTO, REVIEW))),
)
def test_every_combination_of_verdicts_has_its_ruling(hygiene, overall, intents, mode):
    ruling = decide(judged(hygiene=hygiene, overall=overall, intents=intents), mode, SERVED)
    found = (ruling.verdict, ruling.status)
    if "FAIL" in (hygiene, overall, intents):
        assert found == ("reject", "rejected")
    elif "INCONCLUSIVE" in (hygiene, overall, intents):
        assert found == ("hold", "pending")
        assert ruling.person
    else:
        assert found == ("promote", "pending")
        assert ruling.person == (mode is REVIEW)
    assert ruling.by == "gates"
    assert "told" in ruling.because


@given(
    st.dictionaries(
        st.sampled_from([*MUST_SPEAK, "must_pass", "fresh", "slices"]),
        st.sampled_from([*VERDICTS, ""]),
    ),
    st.booleans(),
    st.booleans(),
    st.dictionaries(st.sampled_from(["set_alarm", "play_music"]), st.integers(1, 9)),
    st.sampled_from([None, "a-1"]),
)
def test_an_inconclusive_run_never_promotes(verdicts, auto, capped, labels, champion):
    table = PromotionTable(
        mode="auto" if auto else "review", bootstrap="auto" if auto else "review"
    )
    case = judged(labels=labels, capped=("x",) if capped else (), **verdicts)
    ruling = decide(case, table, Situation(champion=champion))
    spoken = {result.gate: result.verdict for result in case.gates}
    needed = MUST_SPEAK if champion else ("hygiene",)
    if set(spoken.values()) != {"PASS"} or not set(needed) <= set(spoken):
        assert ruling.verdict != "promote"
    if ruling.verdict == "promote":
        assert ruling.status == "pending"


@pytest.mark.parametrize("silent", MUST_SPEAK)
def test_a_gate_that_must_speak_and_did_not_holds(silent):
    ruling = decide(judged(**{silent: ""}), AUTO, SERVED)
    assert (ruling.verdict, ruling.because) == ("hold", f"{silent} had no word")


def test_no_gates_at_all_hold():
    assert decide(Judged(), AUTO, SERVED).verdict == "hold"
    assert decide(Judged(), PromotionTable(bootstrap="auto"), Situation(champion=None)).person


def test_labels_that_may_decide_are_waited_for_without_a_person():
    ruling = decide(judged(intents="INCONCLUSIVE", labels={"a": 3, "b": 4}), AUTO, SERVED)
    assert (ruling.verdict, ruling.person) == ("hold", False)
    assert ruling.because == (
        "intents is undecided: intents told; 7 labels over 2 intents may decide it"
    )


def test_at_the_cap_a_person_decides():
    case = judged(intents="INCONCLUSIVE", capped=("set_alarm",))
    ruling = decide(case, AUTO, replace(SERVED, labels_asked_this_turn=100))
    assert (ruling.verdict, ruling.person) == ("hold", True)
    assert ruling.because == (
        "intents is undecided: intents told; 100 labels were asked for and the cap is reached at "
        "set_alarm: a person decides"
    )


def test_new_intents_need_a_person_even_in_auto_mode():
    ruling = decide(judged(), AUTO, replace(SERVED, new_intents=("唱歌",)))
    assert (ruling.verdict, ruling.person) == ("promote", True)
    assert ruling.because.endswith("a person decides because of new intents: 唱歌")


@pytest.mark.parametrize(
    ("verdicts", "effect", "situation", "held"),
    [
        ({"intents": "FAIL"}, 0.06, {}, True),
        ({"intents": "FAIL"}, 0.04, {}, False),
        ({"intents": "FAIL"}, float("nan"), {}, False),
        ({"intents": "FAIL"}, None, {}, False),
        ({"intents": "FAIL", "overall": "INCONCLUSIVE"}, 0.06, {}, False),
        ({"intents": "FAIL", "hygiene": "FAIL"}, 0.06, {}, False),
        ({"must_pass": "FAIL"}, 0.02, {"disputed": ("s-1",)}, True),
        ({"must_pass": "FAIL"}, 0.02, {}, False),
        ({"must_pass": "FAIL", "intents": "FAIL"}, 0.09, {"disputed": ("s-1",)}, False),
        ({"overall": "FAIL"}, -0.02, {"feedback_change": 0.03}, True),
        ({"overall": "FAIL"}, -0.02, {"feedback_change": -0.03}, False),
        ({"overall": "FAIL", "hygiene": "FAIL"}, -0.02, {"feedback_change": 0.03}, False),
    ],
)
def test_some_failures_are_for_a_person_to_weigh(verdicts, effect, situation, held):
    ruling = decide(judged(effect, **verdicts), AUTO, replace(SERVED, **situation))
    assert ruling.verdict == ("hold" if held else "reject")
    assert ruling.person == held


@pytest.mark.parametrize(
    ("verdicts", "bootstrap", "expected"),
    [
        ({"hygiene": "PASS"}, "auto", ("promote", "pending", False)),
        ({"hygiene": "PASS"}, "review", ("hold", "pending", True)),
        ({"hygiene": "PASS", "must_pass": "PASS"}, "auto", ("promote", "pending", False)),
        ({"hygiene": "PASS", "must_pass": "FAIL"}, "auto", ("reject", "rejected", False)),
        ({"hygiene": "FAIL"}, "auto", ("reject", "rejected", False)),
        ({"hygiene": "PASS", "latency": "INCONCLUSIVE"}, "auto", ("hold", "pending", True)),
        ({"hygiene": "INCONCLUSIVE"}, "auto", ("hold", "pending", True)),
        ({"must_pass": "PASS"}, "auto", ("hold", "pending", True)),
        ({}, "auto", ("hold", "pending", True)),
    ],
)
def test_the_first_champion_needs_a_person_unless_that_is_waived(verdicts, bootstrap, expected):
    case = judged(overall="", intents="", **{"hygiene": "", **verdicts})
    ruling = decide(case, PromotionTable(bootstrap=bootstrap), Situation(champion=None))
    assert (ruling.verdict, ruling.status, ruling.person) == expected
    if ruling.verdict == "promote":
        assert (ruling.by, 'bootstrap = "auto"' in ruling.because) == ("bootstrap", True)


def decision(status="pending", champion="a-1"):
    return Decision(
        id="d-7",
        turn="t-1",
        challenger="a-2",
        champion=champion,
        verdict="hold",
        status=status,
        by="gates",
        because="nobody answered",
        at=NOON,
    )


@pytest.mark.parametrize("action", ["approve", "reject"])
@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("applied", "d-7 is applied already, by gates: nobody answered; nothing was changed"),
        ("rejected", "d-7 is rejected already, by gates: nobody answered; nothing was changed"),
        ("expired", "d-7 is expired: nobody answered; nothing was changed"),
    ],
)
def test_what_is_settled_is_refused_with_who_settled_it_and_why(status, told, action):
    with pytest.raises(Refused) as caught:
        ratify(decision(status), action, "a-1")
    assert caught.value.message == f"{told}, and your reason was not recorded"
    assert caught.value.hint


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_what_waits_takes_a_persons_word(action):
    ratify(decision("pending"), action, "a-1")


def event(verdict, challenger, champion, status, by):
    return DecisionEvent(
        decision="d-9",
        verdict=verdict,
        challenger=challenger,
        champion=champion,
        status=status,
        by=by,
    )


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], ""),
        ([event("hold", "a-2", "a-1", "rejected", "alice")], "alice rejected a-2 in d-9"),
        ([event("rollback", "a-1", "a-2", "applied", "alice")], "alice rolled a-2 back in d-9"),
        ([event("reject", "a-2", "a-1", "rejected", "gates")], ""),
        ([event("hold", "a-3", "a-1", "rejected", "alice")], ""),
        (
            [
                event("hold", "a-2", "a-1", "rejected", "alice"),
                event("promote", "a-2", "a-1", "applied", "gates"),
            ],
            "alice rejected a-2 in d-9",
        ),
        (
            [
                event("hold", "a-2", "a-1", "rejected", "alice"),
                event("promote", "a-2", "a-1", "applied", "bob"),
            ],
            "",
        ),
        (
            [
                event("rollback", "a-1", "a-2", "applied", "alice"),
                event("rollback", "a-2", "a-1", "applied", "alice"),
            ],
            "",
        ),
    ],
)
def test_a_persons_last_word_on_an_adapter_counts_and_no_machines(events, told):
    assert refused_by(events, "a-2") == told


@pytest.mark.parametrize(("mode", "bootstrap"), [("auto", "auto"), ("review", "review")])
@pytest.mark.parametrize("champion", ["a-1", None])
def test_what_a_person_refused_is_never_promoted_by_the_gates_alone(mode, bootstrap, champion):
    case = judged(overall="PASS", intents="PASS", hygiene="PASS")
    situation = Situation(champion=champion, refused="alice rejected a-2 in d-9")
    ruling = decide(case, PromotionTable(mode=mode, bootstrap=bootstrap), situation)
    assert (ruling.status, ruling.person) == ("pending", True)
    assert "alice rejected a-2 in d-9 before" in ruling.because


@pytest.mark.parametrize(("champion", "now"), [("a-1", "a-9"), (None, "a-9"), ("a-1", None)])
def test_a_superseded_decision_cannot_be_approved_but_can_be_rejected(champion, now):
    with pytest.raises(Refused, match="superseded"):
        ratify(decision(champion=champion), "approve", now)
    ratify(decision(champion=champion), "reject", now)


def test_a_held_decision_expires():
    table = PromotionTable(hold_days=14)
    assert not expired(NOON, table, NOON + timedelta(days=14))
    assert expired(NOON, table, NOON + timedelta(days=14, seconds=1))


@pytest.mark.parametrize(
    ("verdict", "if_doubted", "mode", "expected"),
    [
        ("PASS", "FAIL", AUTO, ("hold", "pending", True)),
        ("PASS", "INCONCLUSIVE", AUTO, ("hold", "pending", True)),
        ("PASS", "PASS", AUTO, ("promote", "pending", False)),
        ("FAIL", "PASS", AUTO, ("hold", "pending", True)),
        ("FAIL", "FAIL", AUTO, ("reject", "rejected", False)),
        ("INCONCLUSIVE", "PASS", AUTO, ("hold", "pending", False)),
    ],
)
def test_disputes_that_came_after_the_rows_were_asked_decide_nothing(
    verdict, if_doubted, mode, expected
):
    labels = {"stop": 3} if verdict == "INCONCLUSIVE" else None
    told = replace(judged(overall=verdict, labels=labels), if_doubted=if_doubted)
    ruling = decide(told, mode, SERVED)
    assert (ruling.verdict, ruling.status, ruling.person) == expected
    turned = f"without rows disputed after they were asked it would be {if_doubted}, not {verdict}"
    assert (turned in ruling.because) == (ruling.person)


def waiting(**verdicts):
    lines = tuple(GateResult(gate=name, verdict=verdict) for name, verdict in verdicts.items())
    return replace(decision(), gates=lines, rests_on={"waits_for": "a person"})


@pytest.mark.parametrize("overridden", [(), ("intents",)])
@pytest.mark.parametrize("allowed", [(), ("intents",)])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_only_a_gate_that_failed_needs_the_override_that_the_configuration_allows(
    verdict, allowed, overridden
):
    case = waiting(hygiene="PASS", overall="PASS", intents=verdict)
    table = PromotionTable(allow_override=allowed)
    fits = {
        "PASS": not overridden,
        "INCONCLUSIVE": True,
        "FAIL": bool(allowed and overridden),
    }[verdict]
    if fits:
        check_override(case, overridden, table)
    else:
        with pytest.raises(Refused):
            check_override(case, overridden, table)


def test_who_may_not_override_is_told_the_line_that_would_allow_it():
    with pytest.raises(Refused, match="intents did not pass") as told:
        check_override(waiting(hygiene="PASS", intents="FAIL"), (), PromotionTable())
    assert '[promotion] allow_override = ["intents"]' in told.value.hint


@pytest.mark.parametrize(
    ("verdicts", "overridden", "trusted"),
    [
        ({"hygiene": "PASS", "overall": "PASS", "intents": "PASS"}, (), ()),
        ({"hygiene": "PASS", "overall": "INCONCLUSIVE", "intents": "INCONCLUSIVE"}, (), (1, 2)),
        ({"hygiene": "PASS", "overall": "INCONCLUSIVE", "intents": "FAIL"}, ("intents",), (1,)),
        ({"hygiene": "PASS", "overall": "PASS"}, (), (2,)),
    ],
)
def test_an_approval_takes_on_trust_what_is_inconclusive_or_silent(verdicts, overridden, trusted):
    names = tuple(MUST_SPEAK[place] for place in trusted)
    assert unproven(waiting(**verdicts), overridden) == names
