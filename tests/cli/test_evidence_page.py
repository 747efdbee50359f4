"""What the page says of the evidence that is missing: never more than the gates know."""

from flywheel.cli import decision_page, evidence_page

POOL = {
    "pool": "pool 1",
    "intents": ["rare a", "rare b"],
    "margin": 0.2,
    "n": 40,
    "losses": 3,
    "gains": 1,
    "e_value": 2.5,
    "verdict": "INCONCLUSIVE",
    "labels_needed": 16,
    "unseen": [],
}
AHEAD = {
    "labels": 16,
    "offered": 3,
    "turns": None,
    "pools": [POOL],
    "beyond": {"pool 1": 13},
    "group": '[gates.intents] groups = { "rare a" = "few", "rare b" = "few" }',
    "not_shown": "Of one intent inside it shows little.",
}


def shown(**changes):
    decision = {"id": "d-7", "status": "pending", "ahead": {**AHEAD, **changes}}
    return " ".join(" ".join(evidence_page.evidence(decision)).split())


def test_a_pool_is_shown_with_its_intents_and_with_what_it_does_not_show():
    page = shown()
    assert "rare a, rare b" in page
    assert "Of one intent inside it shows little." in page
    assert evidence_page.pooled({"ahead": AHEAD}) == {"rare a", "rare b"}


def test_what_cannot_be_decided_has_three_ways_out_that_can_be_copied():
    page = shown()
    assert "About 16 more labels decide it; traffic has texts for 3 of them." in page
    assert "It cannot be decided by what there is." in page
    assert "1. import golden rows: pool 1 13" in page
    assert "flywheel samples import FILE --split golden" in page
    assert "2. approve it this time, with that unproven (below)" in page
    assert '[gates.intents] groups = { "rare a" = "few", "rare b" = "few" }' in page


def test_what_traffic_can_decide_has_a_number_of_turns_and_no_ways_out():
    page = shown(turns=2, beyond={}, group="")
    assert "A harmless challenger passes after about 2 turns." in page
    assert "ways out" not in page


def test_a_decision_without_pools_that_is_settled_has_no_such_section():
    settled = {"id": "d-7", "status": "applied", "ahead": {**AHEAD, "pools": []}}
    assert evidence_page.evidence(settled) == []
    assert evidence_page.evidence({"id": "d-7"}) == []


def test_what_an_approval_takes_on_trust_stands_beside_the_command():
    offers = [{"do": "approve", "override": [], "unproven": ["overall", "intents"]}]
    (line,) = evidence_page.on_trust({"offers": offers})
    assert line.strip().endswith("records it: overall, intents.")
    assert evidence_page.on_trust({"offers": [{"do": "approve", "override": []}]}) == []


def test_a_decision_says_what_judges_now_and_what_is_learned():
    generation = {
        "number": 2,
        "judging": 60,
        "learned": {"share": 1},
        "worn": 30,
        "queries_left": 1,
        "next": {"rows": 80, "each": {"a": 40, "b": 40}, "by": None, "due": True},
    }
    decision = {"id": "d-7", "status": "pending", "verdict": "hold", "generation": generation}
    page = " ".join(" ".join(decision_page.page(decision)).split())
    assert (
        "golden now generation 2: 60 rows judge, 31 are learned (1 at import, 30 of earlier "
        "generations); 1 query left; import 80 rows (40 each of 2 intents)"
    ) in page
    without = decision_page.page({"id": "d-7", "status": "pending", "verdict": "hold"})
    assert "golden now" not in " ".join(without)
