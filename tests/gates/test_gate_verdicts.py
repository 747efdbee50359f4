"""Each gate's word on a hand-made case, and that missing evidence never passes."""

import math
from dataclasses import fields, is_dataclass, replace

import pytest
from gate_cases import ALARM, MUSIC, NONE, TIMER, better, evidence, facts, row, rows

from flywheel import gates
from flywheel.config.tables import (
    CalibrationRule,
    FreshRule,
    GatesTable,
    IntentsRule,
    LatencyRule,
    MustPassRule,
    OutOfScopeRule,
    OverallRule,
    SlicesRule,
)
from flywheel.errors import ConfigError
from flywheel.gates import (
    Ledger,
    calibration,
    check,
    fresh,
    hygiene,
    intents,
    judge,
    latency,
    must_pass,
    out_of_scope,
    overall,
    prescreen,
    slices,
)
from flywheel.records import Intent

OPEN = Ledger(generation=1, used=0, capacity=30)
STRICT, FAST = OverallRule(), OverallRule(profile="fast")


def test_a_clean_better_challenger_passes_everything():
    judged = judge(evidence(better()), GatesTable())
    assert judged.verdict == "PASS"
    assert [result.gate for result in judged.gates] == ["hygiene", "overall", "intents"]
    assert judged.notes == (
        "must_pass: no example is marked",
        "fresh was off: no production sample confirmed the golden set",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"leaks": ("'我要听音乐' is golden",)}, "1 golden texts leaked: '我要听音乐' is golden"),
        ({"golden_in_prompts": 2}, "2 golden texts in the teacher's prompts"),
        ({"current_hash": "g2"}, "not the one sealed (g1 sealed, g2 now)"),
        ({"sealed_hash": "", "current_hash": ""}, "unknown sealed"),
        ({"evaluated_hash": "a-3"}, "not the one trained"),
        ({"trained_hash": "", "evaluated_hash": ""}, "unknown"),
        ({"chosen_on": "golden"}, "chosen on golden"),
        ({"chosen_on": ""}, "chosen on ?"),
        ({"challenger_rows": 9}, "the challenger answered 9 rows"),
        ({"champion_rows": 0, "challenger_rows": 0}, "no golden row"),
    ],
)
def test_hygiene_fails_closed(change, words):
    result = hygiene(facts(10, **change), rows(10))
    assert result.verdict == "FAIL"
    assert words in result.detail


def test_hygiene_without_facts_or_rows_or_with_rows_of_another_split_fails():
    assert hygiene(None, rows(10)).verdict == "FAIL"
    assert hygiene(facts(10), []).verdict == "FAIL"
    assert hygiene(facts(10), rows(10, split="dev")).verdict == "FAIL"


def test_a_champion_that_has_not_answered_every_row_leaves_hygiene_open():
    assert hygiene(facts(10, champion_rows=8), rows(10)).verdict == "INCONCLUSIVE"
    assert hygiene(facts(10, champion_rows=0), rows(10), first=True).verdict == "PASS"


@pytest.mark.parametrize(
    ("after", "verdict"), [(True, "PASS"), (False, "FAIL"), (None, "INCONCLUSIVE")]
)
def test_must_pass_takes_every_marked_example(after, verdict):
    marked = row("s-1", after=after, before=False, must_pass=True)
    others = [row("s-2", must_pass=True), row("s-3", after=False)]
    result = must_pass([marked, *others])
    assert result is not None
    assert (result.verdict, result.n) == (verdict, 2)


def test_must_pass_with_nothing_marked_has_no_word():
    assert must_pass(rows(10)) is None


@pytest.mark.parametrize(
    ("losses", "gains", "rule", "verdict"),
    [
        (0, 9, STRICT, "PASS"),  # p = .00195
        (0, 8, STRICT, "INCONCLUSIVE"),  # p = .0039 > .10/30
        (0, 8, FAST, "PASS"),
        (0, 5, FAST, "PASS"),  # p = .031
        (0, 4, FAST, "INCONCLUSIVE"),
        (5, 0, STRICT, "FAIL"),
        (4, 0, STRICT, "INCONCLUSIVE"),
        (0, 0, FAST, "INCONCLUSIVE"),
    ],
)
def test_overall_is_a_one_sided_sign_test(losses, gains, rule, verdict):
    result = overall(rows(100, losses, gains), rule, OPEN)
    assert result.verdict == verdict
    assert result.effect == (gains - losses) / 100
    assert result.low is not None
    assert result.low < result.effect


def test_overall_says_which_gain_it_can_show_where_it_did_not_pass():
    spent = Ledger(generation=1, used=30, capacity=30)
    screened = replace(STRICT, prescreen_p=0.2)
    for result in (
        overall(rows(600, 24, 24), STRICT, OPEN),
        overall(rows(600, 40, 0), STRICT, OPEN),
        overall(rows(600), STRICT, None),
        overall(rows(600), STRICT, spent),
        overall(rows(600), screened, OPEN, rows(100, split="dev")),
    ):
        assert "can promote only gains of" in result.detail
    assert "too few to show any gain" in overall([], STRICT, OPEN).detail


def test_overall_asks_nothing_more_of_a_gain_that_passed():
    """It is absurd to say of +4.6 points that only gains of 5.3 or more can be promoted."""
    passed = overall(rows(130, 1, 7), FAST, OPEN)
    assert (passed.verdict, passed.detail) == (
        "PASS",
        "+4.6 points on 130 examples (7 gained, 1 lost), p = 0.035 against 0.05 (fast profile: "
        "each turn may promote an equal challenger with this chance)",
    )


def test_overall_tells_the_figures_of_a_small_golden_set():
    assert overall(rows(600, 24, 30), STRICT, OPEN).detail == (
        "+1.0 points on 600 examples (30 gained, 24 lost), p = 0.25 against 0.0033; this gate "
        "can promote only gains of 4.4 points or more; import 2288 more examples to see two points"
    )


def test_overall_passes_nothing_without_a_ledger_or_with_a_spent_generation():
    assert overall(better(), STRICT, None).verdict == "INCONCLUSIVE"
    spent = overall(better(), STRICT, Ledger(generation=4, used=30, capacity=30))
    assert spent.verdict == "INCONCLUSIVE"
    assert "generation 4 is spent (30 of 30 queries)" in spent.detail


def test_overall_carries_its_first_answer_instead_of_asking_again():
    first = overall(better(), STRICT, OPEN)
    again = overall(rows(100, 50), STRICT, replace(OPEN, earlier_overall=first, used=30))
    assert again == first


def test_overall_looks_at_sealed_rows_only():
    bought = [replace(each, bought=True, sample=f"b-{each.sample}") for each in rows(60, 0, 30)]
    judged = judge(evidence([*rows(100), *bought]), GatesTable())
    result = judged.gate("overall")
    assert result is not None
    assert (result.n, result.verdict) == (100, "INCONCLUSIVE")


def test_the_prescreen_spares_a_query_only_when_dev_is_not_promising():
    rule = replace(STRICT, prescreen_p=0.2)
    assert prescreen(rows(50, split="dev"), STRICT) is None
    assert prescreen(rows(50, 0, 5, split="dev"), rule) is None
    refused = prescreen(rows(50, 5, 5, split="dev"), rule)
    assert refused is not None
    assert refused.verdict == "INCONCLUSIVE"
    assert "golden was not asked" in refused.detail
    assert prescreen([], rule) is not None


@pytest.mark.parametrize(
    ("n", "losses", "gains", "verdict", "missing"),
    [
        (400, 0, 0, "PASS", 0),
        (400, 8, 7, "PASS", 0),
        (400, 9, 7, "PASS", 0),  # -2 against -0.5·√16
        (400, 10, 7, "INCONCLUSIVE", 0),  # -3 against -0.5·√17
        (399, 0, 20, "INCONCLUSIVE", 1),
        (0, 0, 0, "INCONCLUSIVE", 400),
        (400, 30, 0, "FAIL", 0),
    ],
)
def test_fresh_allows_half_a_standard_error(n, losses, gains, verdict, missing):
    result = fresh(rows(n, losses, gains, split="fresh"), FreshRule(required=True))
    assert (result.verdict, result.labels_needed) == (verdict, missing)


def test_fresh_with_nothing_to_judge_never_passes():
    assert fresh([], FreshRule(required=True, min_examples=0)).verdict == "INCONCLUSIVE"
    assert fresh(rows(500), FreshRule(required=True)).verdict == "INCONCLUSIVE"  # golden rows


def lines(outcomes, known=(ALARM,), rule=None, asked=None):
    judged = intents(outcomes, known, rule or IntentsRule(), asked or {})
    return judged, {line.intent: line for line in judged.lines}


def test_an_intent_passes_when_it_shows_it_kept_the_margin():
    judged, by_name = lines(rows(30, 1))
    assert by_name["set_alarm"].verdict == judged.result.verdict == "PASS"
    assert by_name["set_alarm"].e_value == pytest.approx(26.7, abs=0.05)


def test_the_worked_line_wants_twenty_one_labels():
    judged, by_name = lines(rows(30, 4, 1))
    assert by_name["set_alarm"].verdict == "INCONCLUSIVE"
    assert judged.labels_wanted == {"set_alarm": 21}
    assert judged.result.detail == (
        "0 of 1 intents kept within 20 points; undecided: set_alarm (21 labels); "
        "30 examples an intent resolve a margin of 17 points"
    )


def test_a_broken_intent_fails_the_gate():
    judged, by_name = lines([*rows(40, 30), *better(intent="set_timer")], (ALARM, TIMER))
    assert by_name["set_alarm"].verdict == judged.result.verdict == "FAIL"
    assert by_name["set_alarm"].challenger_recall == 0.25
    assert "harmed: set_alarm (30 lost, 0 gained of 40)" in judged.result.detail


def test_a_critical_intent_is_held_to_the_narrow_margin():
    assert lines(rows(40))[0].result.verdict == "PASS"
    critical = replace(ALARM, critical=True)
    assert lines(rows(40), (critical,))[0].result.verdict == "INCONCLUSIVE"


def test_an_intent_without_examples_is_undecided():
    judged, by_name = lines(rows(40), (ALARM, MUSIC))
    assert judged.result.verdict == "INCONCLUSIVE"
    assert by_name["play_music"].n == 0
    assert by_name["play_music"].champion_recall is None
    assert judged.labels_wanted == {"play_music": 23}


def test_an_unknown_intent_is_undecided_and_no_label_helps():
    judged, by_name = lines([*rows(40), *rows(100, intent="retired"), *rows(30, 4)])
    assert by_name["retired"].verdict == "INCONCLUSIVE"
    assert judged.labels_wanted == {}
    assert "cannot be judged: retired (not among the intents)" in judged.result.detail


def test_out_of_scope_rows_are_judged_like_an_intent():
    judged, by_name = lines([*rows(40), *rows(40, intent=NONE)])
    assert (by_name[NONE].verdict, judged.result.verdict) == ("PASS", "PASS")


def test_rows_under_a_former_name_count_for_the_intent_that_took_it_over():
    renamed = Intent(name="alarm.set", renamed_from=("set_alarm",), merged_from=("set_timer",))
    judged, by_name = lines([*rows(20), *rows(20, intent="set_timer")], (renamed,))
    assert list(by_name) == ["alarm.set"]
    assert (by_name["alarm.set"].n, judged.result.verdict) == (40, "PASS")


def test_rows_of_a_split_intent_are_nobodys():
    parts = [Intent(name=name, split_from=("set_alarm",)) for name in ("wake", "remind")]
    judged, by_name = lines([*rows(40)], parts)
    assert by_name["set_alarm"].verdict == judged.result.verdict == "INCONCLUSIVE"


def test_no_intents_and_no_rows_is_undecided():
    assert lines([], ())[0].result.verdict == "INCONCLUSIVE"


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("odd", [None, math.nan])
def test_a_row_without_an_answer_passes_no_gate(side, odd):
    hole = row("s-hole", **{side: None})
    name = "champion_correct" if side == "before" else "challenger_correct"
    hole = replace(hole, **{name: odd})
    outcomes = [*better(200, 40), hole]
    judged = judge(evidence(outcomes), GatesTable())
    assert judged.verdict == "INCONCLUSIVE"
    assert {r.gate: r.verdict for r in judged.gates} == {
        "hygiene": "PASS",
        "overall": "INCONCLUSIVE",
        "intents": "INCONCLUSIVE",
    }
    assert judged.labels_wanted == {}
    sliced = [replace(each, slices={"channel": "voice"}) for each in outcomes]
    voice = slices(sliced, SlicesRule(margins={"channel=voice": 0.2}))
    assert voice is not None
    assert voice.verdict == "INCONCLUSIVE"
    many = [*rows(450, split="fresh"), replace(hole, split="fresh")]
    assert fresh(many, FreshRule()).verdict == "INCONCLUSIVE"


def test_a_family_of_paraphrases_is_one_unit():
    family = [replace(each, family="wake") for each in rows(50, 0, 50)]
    result = overall([*rows(100, intent="set_timer"), *family], FAST, OPEN)
    assert (result.n, result.verdict) == (101, "INCONCLUSIVE")
    _, by_name = lines([replace(each, family="wake") for each in rows(50)])
    assert by_name["set_alarm"].n == 1


def test_the_same_example_twice_is_one_unit():
    assert overall(rows(100, 0, 5) * 3, STRICT, OPEN).n == 100


def test_slices_hold_their_own_margins():
    spoken = [replace(each, slices={"channel": "voice"}) for each in rows(40)]
    typed = [replace(each, slices={"channel": "text"}) for each in rows(40, 35, intent="set_timer")]
    assert slices(spoken + typed, SlicesRule()) is None
    voice = slices(spoken + typed, SlicesRule(margins={"channel=voice": 0.2}))
    assert voice is not None
    assert (voice.verdict, voice.n) == ("PASS", 40)
    both = slices(spoken + typed, SlicesRule(margins={"channel=voice": 0.2, "channel=text": 0.2}))
    assert both is not None
    assert both.verdict == "FAIL"


def test_a_missing_slice_is_undecided():
    result = slices(rows(40), SlicesRule(margins={"locale=zh-CN": 0.2}))
    assert result is not None
    assert (result.verdict, result.detail) == ("INCONCLUSIVE", "locale=zh-CN: no example")


def test_out_of_scope_sees_false_accepts_and_false_rejects():
    rule = OutOfScopeRule(required=True, margin=0.2)
    inside, outside = rows(60), rows(60, intent=NONE)
    assert out_of_scope(inside + outside, rule).verdict == "PASS"
    accepting = [replace(each, challenger_intent="set_alarm") for each in outside]
    assert out_of_scope(inside + accepting, rule).verdict == "FAIL"
    rejecting = [replace(each, challenger_intent=NONE) for each in inside]
    assert out_of_scope(rejecting + outside, rule).verdict == "FAIL"
    assert out_of_scope(inside, rule).verdict == "INCONCLUSIVE"
    silent = replace(outside[0], challenger_intent=None)
    assert out_of_scope([*inside, *outside[1:], silent], rule).verdict == "INCONCLUSIVE"


def test_calibration_is_the_paired_brier_score():
    rule = CalibrationRule(required=True)
    assert calibration(rows(100), rule).verdict == "PASS"
    doubtful = [replace(each, challenger_confidence=0.5) for each in rows(100)]
    result = calibration(doubtful, rule)
    assert result.verdict == "FAIL"
    assert result.effect == pytest.approx(0.24)
    assert "expected calibration error 0.100 before, 0.500 after" in result.detail


@pytest.mark.parametrize("odd", [None, math.nan, 1.2])
def test_calibration_without_every_confidence_is_undecided(odd):
    outcomes = [*rows(100), replace(row("s-x"), challenger_confidence=odd)]
    assert calibration(outcomes, CalibrationRule()).verdict == "INCONCLUSIVE"
    assert calibration(rows(29), CalibrationRule()).verdict == "INCONCLUSIVE"
    assert calibration([], CalibrationRule()).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("quick", "slow", "verdict"),
    [(58, 0, "INCONCLUSIVE"), (59, 0, "PASS"), (59, 1, "INCONCLUSIVE"), (30, 9, "FAIL")],
)
def test_latency_needs_fifty_nine_quick_answers(quick, slow, verdict):
    times = (6.0,) * quick + (80.0,) * slow
    timed = {"challenger": times, "champion": times}
    assert latency(timed, LatencyRule(required=True)).verdict == verdict


@pytest.mark.parametrize(
    "timed",
    [
        {},
        {"challenger": (5.0,) * 100},
        {"challenger": (5.0,) * 100, "champion": (5.0,) * 99},
        {"challenger": (5.0,) * 99 + (math.nan,), "champion": (5.0,) * 100},
        {"challenger": (5.0,) * 100, "champion": (math.inf,) * 100},
    ],
)
def test_latency_that_was_not_measured_in_turns_is_undecided(timed):
    assert latency(timed, LatencyRule()).verdict == "INCONCLUSIVE"


def test_latency_of_a_first_champion_stands_alone():
    assert latency({"challenger": (5.0,) * 59}, LatencyRule(), first=True).verdict == "PASS"


def test_gates_that_are_required_take_part():
    table = GatesTable(
        fresh=FreshRule(required=True),
        slices=SlicesRule(margins={"channel=voice": 0.2}),
        out_of_scope=OutOfScopeRule(required=True),
        calibration=CalibrationRule(required=True),
        latency=LatencyRule(required=True),
    )
    marked = [replace(each, must_pass=True) for each in better()]
    judged = judge(evidence(marked), table)
    assert [result.gate for result in judged.gates] == [
        "hygiene",
        "must_pass",
        "overall",
        "fresh",
        "intents",
        "slices",
        "out_of_scope",
        "calibration",
        "latency",
    ]
    assert judged.notes == ()
    assert judged.verdict == "INCONCLUSIVE"
    off = judge(evidence(marked), replace(table, must_pass=MustPassRule(required=False)))
    assert off.notes == ("must_pass was off",)


def test_the_first_champion_is_told_but_not_compared():
    outcomes = [replace(each, champion_correct=None, champion_intent=None) for each in rows(40, 4)]
    judged = judge(evidence(outcomes, first=True, hygiene=facts(40, champion_rows=0)), GatesTable())
    assert [result.gate for result in judged.gates] == ["hygiene"]
    assert judged.intents[0].challenger_recall == 0.9
    assert (judged.intents[0].verdict, judged.intents[0].e_value) == ("INCONCLUSIVE", None)
    assert "there is no champion: nothing was compared" in judged.notes
    assert judged.labels_wanted == {}


def test_nothing_at_all_is_not_a_pass():
    judged = judge(evidence([], intents=(), hygiene=None, ledger=None), GatesTable())
    assert judged.verdict == "FAIL"
    assert all(result.verdict != "PASS" for result in judged.gates)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (GatesTable(intents=IntentsRule(margin=0.04)), "intents.margin"),
        (GatesTable(intents=IntentsRule(critical_margin=1.0)), "intents.critical_margin"),
        (GatesTable(out_of_scope=OutOfScopeRule(margin=0.0)), "out_of_scope.margin"),
        (GatesTable(slices=SlicesRule(margins={"a=b": 0.01})), 'slices.margins."a=b"'),
        (GatesTable(slices=SlicesRule(margins={"voice": 0.2})), "`voice` is not written key=value"),
        (GatesTable(overall=OverallRule(queries=0)), "gates.overall"),
    ],
)
def test_a_rule_that_nothing_could_satisfy_is_refused_at_start(table, key):
    with pytest.raises(ConfigError) as caught:
        check(table)
    assert key in caught.value.message
    check(GatesTable())


def test_a_better_rejector_that_loses_in_scope_is_told_so_and_not_called_better():
    outcomes = [*rows(1499, 8, 3), *rows(110, 0, 20, NONE)]  # a pair of LoRAs, see docs/log.md
    judged = judge(evidence(outcomes), GatesTable(overall=OverallRule(profile="fast")))
    line = judged.gate("overall")
    assert (line.verdict, line.value < 0.01) == ("INCONCLUSIVE", True)
    assert "in scope alone -0.3 points on 1499 examples (3 gained, 8 lost)" in line.detail


def test_every_shipped_gate_has_its_rule_and_every_rule_its_gate():
    tables = (field for field in fields(GatesTable) if is_dataclass(field.default))
    rules = {field.name for field in tables}
    assert sorted(gate.name for gate in gates.GATES) == sorted(rules)


def test_what_a_value_measures_is_said_of_shipped_gates_alone():
    assert gates.measures("overall") == "p-value, which passes at or below its limit"
    assert gates.measures("one_of_my_own") == ""
