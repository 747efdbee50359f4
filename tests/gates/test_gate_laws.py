"""What holds for every body of evidence, whatever the numbers."""

import random
from dataclasses import replace

from gate_cases import ALARM, MUSIC, NONE, TIMER, evidence, facts, row, rows
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config.tables import (
    FreshRule,
    GatesTable,
    IntentsRule,
    OutOfScopeRule,
    OverallRule,
    SlicesRule,
)
from flywheel.gates import judge
from flywheel.records import Intent

KNOWN = (ALARM, replace(TIMER, critical=True), MUSIC)
ORDER = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2}


def table(margin=0.3, profile="fast"):
    return GatesTable(
        overall=OverallRule(profile=profile),
        fresh=FreshRule(required=True, min_examples=20),
        intents=IntentsRule(margin=margin, critical_margin=margin / 2),
        slices=SlicesRule(margins={"channel=voice": margin}),
        out_of_scope=OutOfScopeRule(required=True, margin=margin),
    )


@st.composite
def bodies(draw, *, same=False, whole=False):
    """Evidence over three intents and `none`, some families, some bought rows, some holes."""
    found = []
    for name in ("set_alarm", "set_timer", "play_music", NONE):
        n = draw(st.integers(0, 70))
        losses = draw(st.integers(0, min(n, draw(st.sampled_from([0, 2, 40])))))
        gains = draw(st.integers(0, n - losses))
        found += rows(n, losses, gains, name)
    shuffle = random.Random(draw(st.integers(0, 2**16)))
    holes = draw(st.integers(0, 2)) if draw(st.booleans()) and not (same or whole) else 0
    spoilt = {shuffle.randrange(len(found)) for _ in range(holes) if found}
    judged = []
    for place, each in enumerate(found):
        changes = {
            "family": shuffle.choice(["", "", "", "f1", "f2"]),
            "bought": shuffle.random() < 0.2,
            "must_pass": shuffle.random() < 0.02,
            "slices": {"channel": shuffle.choice(["voice", "text"])},
        }
        if place in spoilt:
            changes |= {"challenger_correct": None, "challenger_intent": None}
        if same:
            changes |= {
                "challenger_correct": each.champion_correct,
                "challenger_intent": each.champion_intent,
            }
        judged.append(replace(each, **changes))
    fresh = [replace(each, split="fresh", bought=False) for each in judged[::3]]
    return evidence(judged, KNOWN, fresh=tuple(fresh))


def verdicts(body, rule=None):
    return {result.gate: result.verdict for result in judge(body, rule or table()).gates}


@given(bodies(same=True))
def test_identical_models_never_fail_and_are_never_better_overall(body):
    unmarked = tuple(replace(each, must_pass=False) for each in body.outcomes)
    found = verdicts(replace(body, outcomes=unmarked))
    if unmarked:
        assert "FAIL" not in found.values()
    assert found["overall"] == "INCONCLUSIVE"


@given(bodies(), st.randoms(use_true_random=False))
def test_the_order_of_examples_is_irrelevant(body, shuffle):
    outcomes, fresh, known = list(body.outcomes), list(body.fresh), list(body.intents)
    for part in (outcomes, fresh, known):
        shuffle.shuffle(part)
    other = replace(body, outcomes=tuple(outcomes), fresh=tuple(fresh), intents=tuple(known))
    assert judge(other, table()) == judge(body, table())


@given(bodies(), st.permutations(["甲", "乙", "丙"]))
def test_other_names_for_the_intents_change_nothing(body, names):
    new = dict(zip(("set_alarm", "set_timer", "play_music"), names, strict=True))

    def renamed(each):
        return replace(
            each,
            intent=new.get(each.intent, each.intent),
            champion_intent=new.get(each.champion_intent, each.champion_intent),
            challenger_intent=new.get(each.challenger_intent, each.challenger_intent),
        )

    other = replace(
        body,
        outcomes=tuple(map(renamed, body.outcomes)),
        fresh=tuple(map(renamed, body.fresh)),
        intents=tuple(replace(each, name=new[each.name]) for each in body.intents),
    )
    before, after = judge(body, table()), judge(other, table())
    assert verdicts(other) == verdicts(body)
    by_name = {line.intent: line for line in after.intents}
    for line in before.intents:
        assert by_name[new.get(line.intent, line.intent)] == replace(
            line, intent=new.get(line.intent, line.intent)
        )
    assert sum(after.labels_wanted.values()) == sum(before.labels_wanted.values())


@given(bodies().filter(lambda body: body.outcomes), st.data())
def test_a_worse_answer_never_turns_a_verdict_into_pass(body, data):
    place = data.draw(st.integers(0, len(body.outcomes) - 1))
    each = body.outcomes[place]
    # Of no answer nothing is worse: a gate that passes must have seen every one.
    silent = each.challenger_correct is None or data.draw(st.booleans())
    wrong = "set_alarm" if each.intent == NONE else NONE
    worse = replace(
        each,
        challenger_correct=None if silent else False,
        challenger_intent=None if silent else wrong,
    )
    outcomes = (*body.outcomes[:place], worse, *body.outcomes[place + 1 :])
    before, after = verdicts(body), verdicts(replace(body, outcomes=outcomes))
    for gate, verdict in after.items():
        assert verdict != "PASS" or before[gate] == "PASS", gate


@given(bodies(), st.floats(0.1, 0.6), st.floats(0.1, 0.6))
def test_a_stricter_margin_never_passes_more(body, one, other):
    strict, loose = sorted((one, other))
    before, after = verdicts(body, table(strict)), verdicts(body, table(loose))
    for gate in ("intents", "slices", "out_of_scope"):
        assert before[gate] != "PASS" or after[gate] == "PASS"


@given(bodies(whole=True).filter(lambda body: body.outcomes), st.data())
def test_a_row_without_an_answer_passes_no_gate_that_judges_it(body, data):
    place = data.draw(st.integers(0, len(body.outcomes) - 1))
    each = body.outcomes[place]
    silent = replace(each, challenger_correct=None, challenger_intent=None)
    outcomes = (*body.outcomes[:place], silent, *body.outcomes[place + 1 :])
    found = verdicts(replace(body, outcomes=outcomes))
    assert "PASS" not in (found["intents"], found["out_of_scope"])
    assert each.bought or found["overall"] != "PASS"
    assert each.slices["channel"] != "voice" or found["slices"] != "PASS"


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 80))
def test_gains_out_of_scope_never_pay_for_intents(lost, gained, found):
    outcomes = [*rows(100, lost, gained), *rows(100, 0, found, NONE)]
    if gained - lost < -0.5 * (gained + lost) ** 0.5:
        assert verdicts(evidence(outcomes))["overall"] != "PASS"


@given(bodies())
def test_the_strict_profile_never_passes_more_than_the_fast_one(body):
    strict = verdicts(body, table(profile="strict"))["overall"]
    assert strict != "PASS" or verdicts(body)["overall"] == "PASS"


@given(bodies(whole=True), st.integers(1, 4))
def test_paraphrases_of_an_example_count_as_one_unit(body, copies):
    alone = tuple(replace(each, family=each.sample) for each in body.outcomes)
    families = tuple(
        replace(each, sample=f"{each.sample}-{copy}") for each in alone for copy in range(copies)
    )
    one = judge(replace(body, outcomes=alone), table())
    many = judge(replace(body, outcomes=families, hygiene=facts(len(families))), table())
    assert many.intents == one.intents
    assert many.gate("overall") == one.gate("overall")
    assert many.labels_wanted == one.labels_wanted


@given(bodies())
def test_labels_are_wanted_only_of_a_challenger_that_is_better_and_harms_nothing(body):
    judged = judge(body, table())
    found = {result.gate: result.verdict for result in judged.gates}
    if judged.labels_wanted:
        assert "FAIL" not in found.values()
        for gate in ("hygiene", "overall", "fresh"):
            assert found[gate] == "PASS"
        assert found["intents"] == "INCONCLUSIVE"
    for gate, n in ((result.gate, result.n) for result in judged.gates):
        assert n > 0 or found[gate] != "PASS"


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20))
def test_more_harm_never_looks_better(n, losses, more):
    outcomes = rows(n + losses, losses)
    extra = [row(f"x-{i}", after=False) for i in range(more)]
    before = verdicts(evidence(outcomes))["intents"]
    after = verdicts(evidence([*outcomes, *extra]))["intents"]
    assert ORDER[after] <= ORDER[before]


def test_an_unknown_intent_of_another_script_is_judged_and_never_passes():
    judged = judge(evidence(rows(60, 0, 30, "听音乐"), (Intent(name="播放"),)), table())
    assert {line.intent: line.verdict for line in judged.intents} == {
        "听音乐": "INCONCLUSIVE",
        "播放": "INCONCLUSIVE",
    }
