"""Who may put an adapter into service: persons are counted, and every precondition is asked."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import PromotionTable
from flywheel.errors import Refused
from flywheel.promotion import (
    MACHINES,
    MUST_SPEAK,
    WATCH,
    Candidate,
    admit,
    approvals,
    approved,
    people,
    person_of,
)
from flywheel.records import Decision, GateResult

AUTO = PromotionTable(mode="auto", bootstrap="auto")
TWO = PromotionTable(mode="auto", approvals=2, allow_override=("overall",))
ACTORS = (
    "ada (uid 1000)",
    "ada (uid 0)",
    "ada (token ops)",
    "bob (uid 1001)",
    "bob (token night)",
    "root (uid 0)",
    "root (token ops)",
    "token",
    "token shop",
    "unknown (uid 4242)",
    "nobody (uid 65534)",
    *sorted(MACHINES),
)


@pytest.mark.parametrize(
    ("actors", "count"),
    [
        ((), 0),
        (("ada (uid 1000)",), 1),
        (("ada (uid 1000)", "ada (token ops)", "ada (uid 0)"), 1),
        (("ada (token ops)", "ada (token night)"), 1),
        (("ada (uid 1000)", "bob (uid 1001)"), 2),
        (("ada (uid 1000)", "root (uid 0)"), 1),
        (("root (uid 0)", "token"), 1),
        (("token", "token shop", "unknown (uid 1)", "unknown (uid 2)"), 1),
        (("root (uid 0)", "ada (uid 1000)", "bob (token night)"), 2),
        (("gates", "ada (uid 1000)"), 1),
        (("uid:7", "uid:8"), 2),  # as the first versions wrote them
    ],
)
def test_people_are_counted_and_not_their_ways_in(actors, count):
    assert people(actors) == count


@given(st.lists(st.sampled_from(ACTORS)))
def test_there_are_as_many_people_as_names(actors):
    names = {person_of(actor) for actor in actors} - {""}
    assert people(actors) == (len(names) if names else bool(actors))


@given(st.lists(st.sampled_from(ACTORS)), st.sampled_from(ACTORS))
def test_nobody_in_particular_never_makes_two_of_one(actors, other):
    if not person_of(other) and actors:
        assert people([*actors, other]) == people(actors)


def said(*whats):
    return [{"by": by, "what": what} for by, what in whats]


def test_approvals_before_a_rejection_or_an_expiry_are_over():
    first = ("ada (uid 1000)", "approved 1 of 2")
    second = ("bob (uid 1001)", "approved 1 of 2 by override of overall")
    assert approvals(said(("gates", "promote"), first)) == ("ada (uid 1000)",)
    assert approvals(said(("gates", "reject"), first, second)) == (first[0], second[0])
    for ended in ("rejected", "expired"):
        assert approvals(said(("gates", "promote"), first, ("eve", ended), second)) == (second[0],)


@pytest.mark.parametrize(
    ("standing", "by", "why"),
    [
        (("ada (uid 1000)",), "ada (token ops)", r"ada has approved d-2 already \(1 of 2\)"),
        (("ada (uid 1000)",), "root (uid 0)", r"root \(uid 0\) is nobody in particular"),
        (("ada (uid 1000)",), "token", r"token is nobody in particular"),
        (("root (uid 0)",), "unknown (uid 4242)", "nobody in particular"),
        (("root (uid 0)", "ada (uid 1000)"), "ada (uid 0)", "ada has approved d-2 already"),
    ],
)
def test_what_counts_for_nothing_is_refused_and_not_recorded(standing, by, why):
    with pytest.raises(Refused, match=why):
        approved("d-2", standing, by, TWO)


def test_a_second_person_is_enough_and_a_first_one_beside_nobody_is_not():
    assert not approved("d-2", (), "root (uid 0)", TWO)
    assert not approved("d-2", ("root (uid 0)",), "ada (uid 1000)", TWO)
    assert approved("d-2", ("root (uid 0)", "ada (uid 1000)"), "bob (token night)", TWO)
    assert approved("d-2", (), "token", AUTO)


JUDGED = Decision(
    id="d-2",
    turn="t-2",
    challenger="a-2",
    champion="a-1",
    verdict="promote",
    status="pending",
    by="gates",
    because="it passed",
    at=datetime(2026, 11, 22, tzinfo=UTC),
    gates=tuple(GateResult(gate=name, verdict="PASS") for name in MUST_SPEAK),
    rests_on={"waits_for": "nobody"},
)
GOOD = Candidate(state="challenger", champion="a-1", has_served=False)
BACK = replace(JUDGED, verdict="rollback", turn=None, gates=(), rests_on={})
FORMER = replace(GOOD, state="retired", has_served=True)
REFUSED = "eve rolled a-2 back in d-1"


def gates(**verdicts):
    names = {**dict.fromkeys(MUST_SPEAK, "PASS"), **verdicts}
    return tuple(GateResult(gate=name, verdict=v) for name, v in names.items() if v)


def test_what_holds_is_admitted():
    admit(
        JUDGED, replace(GOOD, files="files-1", judged_files=("d-2", "files-1")), "gates", (), AUTO
    )
    admit(JUDGED, GOOD, "gates", (), AUTO)
    admit(JUDGED, GOOD, "ada (uid 1000)", (), AUTO)
    admit(JUDGED, replace(GOOD, approvals=("ada (uid 1000)",)), "bob (uid 1001)", (), TWO)
    admit(BACK, FORMER, "ada (uid 1000)", (), TWO)
    admit(BACK, replace(FORMER, refused=REFUSED), "ada (uid 1000)", (), AUTO)
    admit(BACK, replace(FORMER, state="external"), "ada (uid 1000)", (), TWO)
    first = replace(JUDGED, champion=None, gates=gates(overall=None, intents=None))
    admit(first, replace(GOOD, champion=None), "bootstrap", (), AUTO)


BY_GATES = {
    "another champion serves": (JUDGED, replace(GOOD, champion="a-3")),
    "it serves already": (JUDGED, replace(GOOD, champion="a-2")),
    "it was rejected since": (JUDGED, replace(GOOD, state="rejected")),
    "others were judged": (JUDGED, replace(GOOD, files="files-1", judged_files=("d-2", "files-2"))),
    "it was retired since": (JUDGED, replace(GOOD, state="retired")),
    "a person refused it": (JUDGED, replace(GOOD, refused=REFUSED)),
    "a later turn found a leak": (JUDGED, replace(GOOD, leaked="d-3")),
    "hygiene failed": (replace(JUDGED, gates=gates(hygiene="FAIL")), GOOD),
    "hygiene is undecided": (replace(JUDGED, gates=gates(hygiene="INCONCLUSIVE")), GOOD),
    "hygiene had no word": (replace(JUDGED, gates=gates(hygiene=None)), GOOD),
    "overall had no word": (replace(JUDGED, gates=gates(overall=None)), GOOD),
    "a gate did not pass": (replace(JUDGED, gates=gates(extra="INCONCLUSIVE")), GOOD),
    "it waits for a person": (replace(JUDGED, rests_on={"waits_for": "a person"}), GOOD),
    "it is held": (replace(JUDGED, verdict="hold"), GOOD),
    "it is applied": (replace(JUDGED, status="applied"), GOOD),
    "it is rejected": (replace(JUDGED, status="rejected"), GOOD),
}
BY_PERSON = {
    "another champion serves": (JUDGED, replace(GOOD, champion="a-3")),
    "it serves already": (JUDGED, replace(GOOD, champion="a-2")),
    "it was rejected elsewhere": (JUDGED, replace(GOOD, state="rejected")),
    "others were judged": (JUDGED, replace(GOOD, files="files-1", judged_files=("d-2", "files-2"))),
    "a later turn found a leak": (JUDGED, replace(GOOD, leaked="d-3")),
    "hygiene failed": (replace(JUDGED, gates=gates(hygiene="FAIL")), GOOD),
    "hygiene had no word": (replace(JUDGED, gates=()), GOOD),
    "a person rejected it": (replace(JUDGED, status="rejected", by="eve"), GOOD),
    "it expired": (replace(JUDGED, status="expired"), GOOD),
    "it is applied": (replace(JUDGED, status="applied"), GOOD),
}
BY_ROLLBACK = {
    "it never served": (BACK, replace(FORMER, has_served=False)),
    "it never served and was rejected": (BACK, replace(GOOD, state="rejected")),
    "it serves already": (BACK, replace(FORMER, champion="a-2")),
    "another champion serves": (BACK, replace(FORMER, champion="a-3")),
    "it was applied": (replace(BACK, status="applied"), FORMER),
    "others were judged": (BACK, replace(FORMER, files="files-1", judged_files=("d-1", "files-2"))),
}


@pytest.mark.parametrize("case", BY_GATES)
def test_the_gates_alone_put_nothing_else_into_service(case):
    decision, candidate = BY_GATES[case]
    with pytest.raises(Refused):
        admit(decision, candidate, "gates", (), AUTO)


@pytest.mark.parametrize("case", BY_PERSON)
def test_a_persons_approval_puts_nothing_else_into_service(case):
    decision, candidate = BY_PERSON[case]
    with pytest.raises(Refused):
        admit(decision, candidate, "ada (uid 1000)", (), AUTO)


@pytest.mark.parametrize("case", BY_ROLLBACK)
def test_a_rollback_goes_back_to_a_former_champion_and_to_nothing_else(case):
    decision, candidate = BY_ROLLBACK[case]
    with pytest.raises(Refused):
        admit(decision, candidate, "ada (uid 1000)", (), AUTO)


@pytest.mark.parametrize("machine", sorted(MACHINES - {WATCH}))
def test_no_machine_but_the_watch_rolls_back(machine):
    with pytest.raises(Refused):
        admit(BACK, FORMER, machine, (), AUTO)


def test_one_person_does_not_go_back_to_what_a_person_refused_where_two_are_asked_for():
    with pytest.raises(Refused, match="eve rolled a-2 back in d-1, and 2 people are asked for"):
        admit(BACK, replace(FORMER, refused=REFUSED), "ada (uid 1000)", (), TWO)


def test_a_caller_that_says_nothing_of_a_missing_approval_is_refused():
    """The number is counted from the chain: who calls `install` cannot leave it out."""
    with pytest.raises(Refused, match="d-2 needs another person's approval"):
        admit(JUDGED, GOOD, "ada (uid 1000)", (), TWO)


def test_a_rejection_by_the_gates_is_lifted_by_two_who_override_and_not_after_a_leak():
    lost = replace(
        JUDGED, verdict="reject", status="rejected", gates=gates(overall="FAIL"), rests_on={}
    )
    rejected = replace(GOOD, state="rejected", approvals=("ada (uid 1000)",))
    admit(lost, rejected, "bob (uid 1001)", ("overall",), TWO)
    with pytest.raises(Refused, match="hygiene failed in d-3"):
        admit(lost, replace(rejected, leaked="d-3"), "bob (uid 1001)", ("overall",), TWO)
    with pytest.raises(Refused):
        admit(lost, rejected, "bob (uid 1001)", (), TWO)
