"""Every gate is shown its evidence: fresh samples, slices, times, plug-ins, disputes."""

import dataclasses
import json

import pytest
from memoriser import Memoriser
from runtimes import (
    NOW,
    WORDS,
    Parrot,
    produce_failures,
    runtime_in,
    sample,
    seed_runtime,
    turn_once,
    two_turns,
)

from flywheel import gates
from flywheel.config import (
    FreshRule,
    GatesTable,
    IntentsRule,
    LatencyRule,
    OverallRule,
    RatersTable,
    SlicesRule,
)
from flywheel.config.tables import CalibrationRule, CustomRule, OutOfScopeRule
from flywheel.errors import Refused
from flywheel.records import Feedback, Prediction
from flywheel.store import events, golden_set, labels, samples
from flywheel.turn import add_samples, dispute, request, run_until_idle, verify
from tests.fakes import json_views as views

FAST, WIDE = OverallRule(profile="fast"), IntentsRule(margin=0.30)


def rules(**more):
    return GatesTable(overall=FAST, intents=WIDE, **more)


class Timed(Memoriser):
    """Answers as the memoriser does, and says how long each took."""

    def _predict(self, folder, spec):
        values = super()._predict(folder, spec)
        timed = {name: [2.0] * (spec["timed"] - 3) for name in spec["adapters"]}
        return {**values, "latency_ms": timed if spec["timed"] else {}}


def second_turn(runtime, **seeds):
    return two_turns(runtime, **seeds)[1]


def decided(runtime, turn_id):
    return views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])


def lines(decision):
    return {line["gate"]: line for line in decision["gates"]}


@pytest.fixture
def made(after_a_turn, tmp_path):
    """Build a runtime with these gates; `learned`: it has had its first turn."""
    runtimes = []

    def make(table, *, learned=False, **more):
        if learned:
            after_a_turn(tmp_path)
        built = runtime_in(tmp_path, teacher=Parrot(), gates=table)
        jobs = built.config.state_dir / "jobs"
        runtimes.append(dataclasses.replace(built, executor=Timed(jobs), **more))
        return runtimes[-1]

    yield make
    for each in runtimes:
        each.store.close()


def test_every_gate_that_is_on_speaks_over_real_evidence(made):
    table = rules(
        latency=LatencyRule(required=True),
        slices=SlicesRule(margins={"length=short": 0.20}),
        calibration=CalibrationRule(required=True),
        out_of_scope=OutOfScopeRule(required=True),
        fresh=FreshRule(required=True, min_examples=12),
    )
    runtime = made(table)
    add_samples(runtime, [sample(f"blah golden{i}", "none", "golden") for i in range(60)], by="ana")
    add_samples(
        runtime, [sample(f"sunrise fresh{i}", "set_alarm", "fresh") for i in range(12)], by="ana"
    )
    decision = decided(runtime, second_turn(runtime))
    spoke = lines(decision)
    assert list(spoke) == (
        [
            "hygiene",
            "overall",
            "fresh",
            "intents",
            "slices",
            "out_of_scope",
            "changed_answers",
            "calibration",
            "latency",
        ]
    )
    assert {line["verdict"] for line in spoke.values()} == {"PASS"}, spoke
    assert (spoke["fresh"]["n"], spoke["latency"]["n"]) == (12, 120)
    assert decision["rests_on"]["waits_for"] == "nobody"
    assert verify(runtime, decision["id"])["same"]


def test_fresh_samples_are_asked_once_and_none_is_spent_while_there_are_too_few(made):
    runtime = made(rules(fresh=FreshRule(required=True, min_examples=12)))
    add_samples(
        runtime, [sample(f"sunrise fresh{i}", "set_alarm", "fresh") for i in range(7)], by="ana"
    )
    turn = second_turn(runtime)
    held = decided(runtime, turn)
    line = lines(held)["fresh"]
    assert (held["status"], line["labels_needed"]) == ("pending", 5)
    assert line["detail"] == "5 more fresh examples are needed; 7 wait unasked"
    with runtime.store.read() as con:
        assert len(samples.fresh(con)) == 7
    add_samples(
        runtime, [sample(f"dawn fresh{i}", "set_alarm", "fresh") for i in range(6)], by="ana"
    )
    run_until_idle(runtime)
    final = decided(runtime, turn)
    assert (final["verdict"], final["status"]) == ("promote", "applied")
    with runtime.store.read() as con:
        assert len(samples.fresh(con)) == 1  # twelve are used up
        assert len(samples.fresh(con, asked_by=turn)) == 12


def corrected(runtime, texts, rater):
    """Volunteered corrections of an expert's: there because the answer was wrong."""
    with runtime.store.write() as con:
        events.add_predictions(
            con, [Prediction(id=text, ts=NOW, text=text, intent="none") for text in texts]
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{text}",
                    prediction_id=text,
                    ts=NOW,
                    verdict="corrected",
                    intent="set_alarm",
                    rater=rater,
                    rater_kind="expert",
                )
                for text in texts
            ],
        )


def labelled_blind(runtime, texts, person):
    """The same texts asked of a person, as the lot of the audit sample drew them."""
    said = [
        labels.Said(
            item=f"audit:{text}",
            kind="audit",
            prediction=text,
            predicted="none",
            predicted_at=NOW,
            text=text,
            what="label",
            intent="set_alarm",
            person=person,
            at=NOW,
        )
        for text in texts
    ]
    with runtime.store.write() as con:
        labels.add(con, said)


@pytest.mark.parametrize("by_lot", [True, False])
def test_only_what_a_lot_drew_fills_the_fresh_set_and_no_correction_that_an_expert_chose(
    made, by_lot
):
    runtime = made(rules(fresh=FreshRule(required=True, min_examples=4)))
    config = dataclasses.replace(runtime.config, raters=RatersTable(experts=("ann",)))
    runtime = dataclasses.replace(runtime, config=config)
    seed_runtime(runtime)
    turn_once(runtime)
    produce_failures(runtime)
    texts = [f"rooster expert{i}" for i in range(6)]
    corrected(runtime, texts, "ann")
    if by_lot:
        labelled_blind(runtime, texts[:5], "ann")
    line = lines(decided(runtime, turn_once(runtime)))["fresh"]
    assert (line["verdict"], line["n"]) == (("PASS", 4) if by_lot else ("INCONCLUSIVE", 0))


def test_a_blind_label_of_a_rare_intent_judges_once_before_it_is_learned(made):
    few = IntentsRule(margin=0.30, groups={"set_alarm": "few", "set_timer": "few"})
    runtime = made(GatesTable(overall=FAST, intents=few))
    seed_runtime(runtime, golden=8)
    turn_once(runtime)
    produce_failures(runtime)
    texts = [f"rooster expert{i}" for i in range(3)]
    corrected(runtime, texts, "ann")
    labelled_blind(runtime, texts, "ann")
    turn = turn_once(runtime)
    decision = decided(runtime, turn)
    (pool,) = decision["ahead"]["pools"]
    assert (pool["pool"], pool["n"]) == ("few", 2 * 8 + 3)
    with runtime.store.read() as con:
        asked = samples.fresh(con, asked_by=turn)
    assert {sample.provenance["lot"] for sample in asked} == {"audit"}
    assert verify(runtime, decision["id"])["same"]


def test_a_gate_of_ones_own_decides_with_the_others_and_is_held_to_their_rules(made, tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "no_words.py").write_text(
        "from flywheel.records import GateResult\n\n"
        "def judge(evidence, options):\n"
        "    n = len(evidence.outcomes)\n"
        "    return GateResult(gate='x', verdict=options['says'], n=n, detail='counted')\n"
    )
    table = rules(custom={"words": CustomRule(plugin="no_words", options={"says": "FAIL"})})
    runtime = made(table, learned=True, custom_gates=gates.custom_gates(table, folder))
    decision = decided(runtime, turn_once(runtime))
    assert (decision["verdict"], lines(decision)["words"]["detail"]) == ("reject", "counted")
    assert verify(runtime, decision["id"])["same"]
    (folder / "no_words.py").write_text("def judge(evidence, options): ...\n")
    changed = dataclasses.replace(runtime, custom_gates=gates.custom_gates(table, folder))
    assert verify(changed, decision["id"])["checks"][-1]["what"] == "plugins"


def test_a_disputed_label_is_judged_by_no_gate_and_a_disputed_must_pass_goes_to_a_person(made):
    runtime = made(rules(), learned=True)
    marked = sample("pasta marked", "set_alarm", "golden", must_pass=True)  # its label is wrong
    add_samples(runtime, [marked], by="ana")
    with runtime.store.write() as con:
        name = marked.sample.id
        golden_set.set_disputed(
            con, name, disputed=True, by="uid:7", because="pasta is a timer", at=NOW
        )
    decision = decided(runtime, turn_once(runtime))
    assert (decision["verdict"], decision["rests_on"]["waits_for"]) == ("hold", "a person")
    assert "disputed labels" in decision["because"]
    assert "1 golden rows are disputed and set aside" in decision["rests_on"]["notes"]
    assert sum(line["n"] for line in decision["intents"]) == 120
    assert verify(runtime, decision["id"])["same"]


def poisoned(runtime):
    """The decision of a turn whose feedback takes every timer for an alarm."""
    rows = []
    for intent, words in WORDS.items():
        rows += [sample(f"{word} seed", intent, "train") for word in words]
        rows += [sample(f"{words[i % 6]} golden{intent}{i}", intent, "golden") for i in range(40)]
    add_samples(runtime, rows, by="ana")
    turn_once(runtime)
    produce_failures(runtime, right={"set_timer": "set_alarm"})
    return decided(runtime, turn_once(runtime))


def test_wrong_feedback_that_gains_where_golden_loses_goes_to_a_person(tmp_path):
    runtime = runtime_in(tmp_path)
    decision = poisoned(runtime)
    assert lines(decision)["intents"]["verdict"] == "FAIL"
    assert (decision["verdict"], "poisoned" in decision["because"]) == ("hold", True)
    runtime.store.close()


def test_rows_disputed_after_they_were_asked_stay_in_the_evidence_and_a_person_decides(made):
    runtime = made(rules())
    before = poisoned(runtime)
    with runtime.store.read() as con:
        lost = [row.sample.id for row in samples.golden(con) if row.sample.intent == "set_timer"]
    assert lines(before)["intents"]["verdict"] == "FAIL"
    with runtime.store.write() as con:
        for sample_id in lost:  # whoever sees what was lost would have it not count
            counts_from = golden_set.set_disputed(
                con, sample_id, disputed=True, by="uid:7", because="hm", at=NOW
            )
    assert counts_from == 2
    produce_failures(runtime, right={"set_timer": "set_alarm"}, lacking=slice(0, 2))
    after = decided(runtime, turn_once(runtime))
    assert lines(after)["intents"]["verdict"] == "FAIL"
    assert [line["n"] for line in after["intents"]] == [line["n"] for line in before["intents"]]
    assert (after["verdict"], after["status"]) == ("hold", "pending")
    assert "disputed after they were asked it would be" in after["because"]
    assert verify(runtime, after["id"])["same"]


def test_one_person_disputes_so_many_rows_of_a_generation_and_no_more(made):
    runtime = made(rules())
    seed_runtime(runtime)
    with runtime.store.read() as con:
        rows = [row.sample.id for row in samples.golden(con)]
    for row in rows[:10]:
        told = dispute(runtime, row, "ada (uid 1000)", "wrong", disputed=True)
    assert (told["standing"], told["from_generation"], told["generation"]) == (10, 1, 1)
    with pytest.raises(Refused, match="has disputed 10 rows of this golden generation"):
        dispute(runtime, rows[10], "ada (uid 1000)", "wrong", disputed=True)
    dispute(runtime, rows[0], "ada (uid 1000)", "wrong still", disputed=True)
    dispute(runtime, rows[0], "ada (uid 1000)", "it stands", disputed=False)
    assert dispute(runtime, rows[10], "bob (uid 1001)", "wrong", disputed=True)["standing"] == 10


@pytest.mark.parametrize(
    "doors",
    [
        ("ada (uid 1000)", "ada (token ops)", "ada (uid 0)"),
        ("token", "token shop", "root (uid 0)", "unknown (uid 7)"),
    ],
)
def test_one_person_and_all_who_are_nobody_have_one_bound_by_every_door(made, doors):
    runtime = made(rules())
    seed_runtime(runtime)
    with runtime.store.read() as con:
        rows = [row.sample.id for row in samples.golden(con)]
    for number, row in enumerate(rows[:10]):
        dispute(runtime, row, doors[number % len(doors)], "wrong", disputed=True)
    for by in doors:
        with pytest.raises(Refused, match="has disputed 10 rows of this golden generation"):
            dispute(runtime, rows[10], by, "wrong", disputed=True)


def test_the_turn_tells_what_it_asked_and_what_it_has_left(made):
    runtime = made(rules(), learned=True)
    decision = decided(runtime, turn_once(runtime))
    assert decision["rests_on"]["golden_queries"] == "1 of 30 asked"
    assert views.status(runtime, uptime_s=0, next_turn=None)["golden"]["queries_left"] == 29
    assert json.loads(json.dumps(decision, default=str))
    request(runtime, "manual")
