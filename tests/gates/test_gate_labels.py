"""Labels are asked for cheapest first, within the caps, and then a person decides."""

from dataclasses import replace

from gate_cases import ALARM, MUSIC, TIMER, better, evidence, row, rows
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import GatesTable, IntentsRule, OverallRule
from flywheel.gates import judge
from flywheel.records import Intent

KNOWN = (ALARM, TIMER, MUSIC)


def table(**caps):
    return GatesTable(overall=OverallRule(profile="fast"), intents=IntentsRule(**caps))


def undecided():
    """Better overall; one intent about 3 labels from its verdict, one about 21."""
    return evidence(
        [*better(), *rows(17, intent="set_timer"), *rows(30, 4, 1, intent="play_music")], KNOWN
    )


def test_each_undecided_intent_asks_for_what_would_decide_it():
    judged = judge(undecided(), table())
    assert judged.labels_wanted == {"set_timer": 3, "play_music": 21}
    assert judged.capped == ()
    assert judged.verdict == "INCONCLUSIVE"


def test_a_short_turn_serves_the_cheapest_first():
    assert judge(undecided(), table(max_labels_per_turn=10)).labels_wanted == {
        "set_timer": 3,
        "play_music": 7,
    }
    assert judge(undecided(), table(max_labels_per_turn=1)).labels_wanted == {"set_timer": 1}


def test_an_intent_is_asked_no_more_than_its_cap():
    wanted = judge(undecided(), table(max_labels_per_intent=5)).labels_wanted
    assert wanted == {"set_timer": 3, "play_music": 5}


def test_at_an_intents_cap_nothing_more_is_bought_for_anyone():
    asked = replace(undecided(), asked={"play_music": 5})
    judged = judge(asked, table(max_labels_per_intent=5))
    assert judged.labels_wanted == {}
    assert judged.capped == ("play_music",)


def test_at_the_turns_cap_every_undecided_intent_is_capped():
    asked = replace(undecided(), asked={"set_alarm": 10})
    judged = judge(asked, table(max_labels_per_turn=10))
    assert judged.labels_wanted == {}
    assert set(judged.capped) == {"set_timer", "play_music"}


def test_nothing_is_bought_for_a_challenger_that_is_not_better():
    body = undecided()
    flat = tuple(replace(each, champion_correct=each.challenger_correct) for each in body.outcomes)
    judged = judge(replace(body, outcomes=flat), table())
    assert judged.labels_wanted == {}
    assert judged.gate("intents").labels_needed > 0


def test_nothing_is_bought_for_a_challenger_that_broke_an_intent():
    broken = [*undecided().outcomes, *rows(60, 60, intent="wake"), *better(300, 90, "relax")]
    known = (*KNOWN, Intent(name="wake"), Intent(name="relax"))
    judged = judge(evidence(broken, known), table())
    assert judged.gate("overall").verdict == "PASS"
    assert judged.verdict == "FAIL"
    assert judged.labels_wanted == {}


def test_bought_labels_decide_and_the_overall_answer_is_carried():
    body = undecided()
    first = judge(body, table())
    bought = [
        row(f"b-{name}-{i}", name, before=i > 0, bought=True)
        for name, count in first.labels_wanted.items()
        for i in range(count)
    ]
    outcomes = (*body.outcomes, *bought)
    again = evidence(
        outcomes,
        KNOWN,
        ledger=replace(body.ledger, used=30, earlier_overall=first.gate("overall")),
        asked=first.labels_wanted,
    )
    second = judge(again, table())
    assert second.gate("overall") == first.gate("overall")
    assert second.verdict == "PASS"
    assert second.labels_wanted == {}


sizes = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=12)


@given(sizes, st.integers(0, 60), st.integers(0, 200), st.integers(0, 50))
def test_no_cap_is_ever_exceeded(parts, per_intent, per_turn, asked):
    known, outcomes = [Intent(name="relax")], better(400, 100, "relax")
    for place, (n, losses) in enumerate(parts):
        known.append(Intent(name=f"i{place}"))
        outcomes += rows(n, min(n, losses), intent=f"i{place}")
    body = evidence(outcomes, known, asked={"i0": asked})
    caps = table(max_labels_per_intent=per_intent, max_labels_per_turn=per_turn)
    judged = judge(body, caps)
    assert sum(judged.labels_wanted.values()) <= max(0, per_turn - asked)
    for name, count in judged.labels_wanted.items():
        assert 0 < count <= per_intent - (asked if name == "i0" else 0)
    undecided = judged.gate("intents").verdict == "INCONCLUSIVE"
    if undecided and judged.gate("overall").verdict == "PASS":
        assert judged.labels_wanted or judged.capped
