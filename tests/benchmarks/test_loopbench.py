"""How the benchmark of the loop deals, rots, labels, reviews and counts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopbench_people import Labeller, Word, review
from loopbench_report import figures, table
from loopbench_rots import BY_NAME, CLEAN, ROTS, Rot, spoil, thinned
from loopbench_scoring import Flagged, StreamRun, TurnRecord, failing_counts, flags, paired
from loopbench_streams import Answer, Stream
from partition import ALL, Quota, Row, deal_all, proportional
from scores import Score
from traffic import Load

from flywheel.curation import normalise

NAMES = ("book_table", "play_music", "set_alarm", "订票")
LIKE = {
    "book_table": "订票",
    "订票": "book_table",
    "play_music": "set_alarm",
    "set_alarm": "play_music",
}


def rows(count, names=(*NAMES, "none"), mark=""):
    return [Row(f"{name} 第{number}句{mark}", name) for name in names for number in range(count)]


def dealt(seed=0):
    return deal_all(rows(100), (), rows(10, mark="乙"), seed=seed)


texts = st.text("abc! ", max_size=4)
drawn = st.lists(st.tuples(texts, st.sampled_from((*NAMES, "none"))), max_size=80)


@given(drawn, drawn, drawn, st.integers(1, 4))
def test_every_row_of_any_set_is_dealt_once_or_counted(train, val, test, most):
    made = [[Row(*pair) for pair in part] for part in (train, val, test)]
    part = deal_all(*made, seed=0, quota=Quota(seeds=1, dev=2, golden=3), most_intents=most)
    out = [*part.seeds, *part.dev, *part.golden]
    for role in (part.labels, part.teacher, part.traffic):
        out += [row for some in role.values() for row in some]
    unscored = part.left.get("test rows of intents not kept", 0)
    assert len(out) + sum(part.left.values()) - unscored == len(train) + len(val)
    assert len(part.test) + unscored == len(test)
    keys = [normalise(row.text) for row in out]
    assert len(keys) == len(set(keys))
    assert not set(keys) & {normalise(row.text) for row in made[2]}


@given(st.integers(0, 95))
def test_few_rows_are_shared_out_to_the_last_one(count):
    counts = proportional({"golden": 30, "seeds": 5, "dev": 10, "traffic": 50}, count)
    assert sum(counts.values()) == count
    assert min(counts.values()) >= min(1, count // 4)


def test_golden_rows_come_from_val_first_and_the_rest_of_all_is_traffic():
    part = deal_all(rows(200), rows(20, mark="甲"), (), seed=0)
    assert Counter(row.text[-1] for row in part.golden) == {"甲": 100, "句": 50}
    assert len(part.traffic["订票"]) == 220 - ALL.seeds - ALL.dev - ALL.golden


def test_there_are_fourteen_rots_beside_the_clean_stream():
    assert len(ROTS) == 14
    assert len(BY_NAME) == 15


def test_a_steep_set_has_a_thousand_rows_of_one_intent_and_three_of_another():
    names = tuple(f"i{n}" for n in range(30))
    kept = Counter(row.intent for row in thinned(names, rows(1200, names), seed=0))
    assert sorted(kept.values())[:2] == [3, 3]
    assert sorted(kept.values())[-2:] == [308, 1000]


def test_twins_share_names_and_lose_no_text():
    before = dealt()
    after = spoil(before, Rot(name="t", says="", twins=2), LIKE, seed=0).partition
    old, new = ({row.text: row.intent for row in part.golden} for part in (before, after))
    changed = {(old[text], new[text]) for text in old if old[text] != new[text]}
    assert old.keys() == new.keys()
    assert changed
    assert changed <= set(LIKE.items())
    assert sum(map(len, after.traffic.values())) == sum(map(len, before.traffic.values()))
    assert after.test == before.test


def test_a_late_intent_is_known_to_traffic_and_test_alone():
    spoiled = spoil(dealt(), Rot(name="n", says="", new_intents=1), LIKE, seed=0)
    (late,) = spoiled.late
    part = spoiled.partition
    assert late not in {row.intent for row in (*part.seeds, *part.dev, *part.golden)}
    assert part.traffic[late]
    assert late in {row.intent for row in part.test}


def test_small_golden_sets_have_five_and_fifteen_in_turn():
    part = spoil(dealt(), BY_NAME["small_golden"], LIKE, seed=0).partition
    counts = Counter(row.intent for row in part.golden)
    assert sorted(counts[name] for name in NAMES) == [5, 5, 15, 15]


def stream(rot, turns=2):
    """Feedback of a few turns in which the champion answers every second text wrongly."""
    made = Stream(spoil(dealt(), rot, LIKE, 0), rot, Load(utterances=400, rated=60), LIKE, 0)
    events = []
    for turn in range(1, turns + 1):
        said = made.utterances(turn, turns)
        answers = {
            row.text: Answer(row.intent if len(row.text) % 2 else "none", 0.9) for row in said
        }
        events.append(
            made.feedback(
                turn, said, answers, lambda pairs: [LIKE.get(each[1], NAMES[0]) for each in pairs]
            )
        )
    return made, events


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("complaints", {"incorrect"}),
        ("praise", {"correct"}),
        ("bare", {"correct", "incorrect"}),
        ("clean", {"correct", "corrected"}),
    ],
)
def test_raters_speak_as_their_rot_says(name, verdicts):
    _, events = stream(BY_NAME[name])
    assert {event["verdict"] for turn in events for event in turn} == verdicts


def test_late_feedback_comes_a_turn_later_and_some_of_it_twice():
    made, events = stream(BY_NAME["delay"])
    assert events[0] == []
    ids = [event["id"] for event in events[1]]
    assert all("-1-" in each for each in ids)
    assert len(set(ids)) == 60 < len(ids)
    assert len(made.said) == 60


def test_colluders_agree_on_one_pair_of_intents():
    _, events = stream(BY_NAME["colluders"])
    theirs = [event for turn in events for event in turn if "colluder" in event["rater"]]
    said = {event.get("intent", "correct") for event in theirs}
    assert len({event["rater"] for event in theirs}) == 5
    assert len(said - {"correct"}) == 1


@pytest.mark.parametrize(("name", "share"), [("clean", 0.1), ("uniform", 0.3), ("neighbour", 0.2)])
def test_the_stated_share_of_labels_is_wrong(name, share):
    made, _ = stream(BY_NAME[name])
    wrong = [each for each in made.said if each.label != each.truth]
    assert len(wrong) / len(made.said) == pytest.approx(share, abs=0.02)


class FakeDaemon:
    """Answers as the routes that people use."""

    def __init__(self, items=(), decision=None):
        self.items, self.decision, self.posted = list(items), decision, []

    def get(self, *segments, **query):
        if segments[0] == "decisions":
            return self.decision
        asked = [item for item in self.items if item["kind"] == query.get("kind", item["kind"])]
        return {"items": asked}

    def post(self, *segments, **body):
        self.posted.append((segments, body))
        self.items = [item for item in self.items if item["item"] != body.get("item")]
        return {"status": "applied"}


def test_a_labeller_reads_in_the_order_asked_and_within_the_budget():
    items = [{"item": f"audit:{n}", "kind": "audit", "text": f"Text {n}"} for n in range(9)]
    person = Labeller(truth={f"text {n}": f"i{n}" for n in range(9)}, a_turn=6, known={"i0", "i2"})
    daemon = FakeDaemon(items)
    person.new_turn()
    person.before_turn(daemon)
    person.after_turn(daemon)
    assert [body["intent"] for (*_, last), body in daemon.posted if last != "settle"] == [
        "i0", None, "i2", None, None, None,
    ]  # fmt: skip
    assert (person.read, person.given) == (6, [Row("Text 0", "i0"), Row("Text 2", "i2")])


def decision(verdict="hold", overall="PASS", intents="INCONCLUSIVE", offers=(), **more):
    gates = [{"gate": "overall", "verdict": overall}, {"gate": "intents", "verdict": intents}]
    return {
        "id": "d-1", "status": "pending", "verdict": verdict, "champion": "a-1", "gates": gates,
        "offers": list(offers), **more,
    }  # fmt: skip


FREE, AGAINST = {"do": "approve", "override": []}, {"do": "approve", "override": ["intents"]}


@pytest.mark.parametrize(
    ("given", "approved"),
    [
        (decision("promote", intents="PASS", offers=[FREE]), True),
        (decision(offers=[FREE]), True),
        (decision(overall="INCONCLUSIVE", offers=[FREE]), False),
        (decision(intents="FAIL", offers=[FREE]), False),
        (decision(offers=[AGAINST]), False),
        (decision(offers=[{"do": "label"}]), False),
        (decision(overall="INCONCLUSIVE", offers=[FREE], champion=None) | {"champion": None}, True),
    ],
)
def test_the_reviewer_approves_what_is_recommended_and_nothing_else(given, approved):
    daemon = FakeDaemon(decision=given)
    assert review(daemon, {"decision": "d-1"}, {}).promoted is approved
    assert bool(daemon.posted) is approved


def test_a_promotion_by_labels_between_two_turns_counts_for_the_second():
    earlier, later = Word(promoted=True, by_gates=True, now=True), Word(offered=True)
    assert later.after(earlier) == Word(promoted=True, by_gates=True, offered=True, now=True)
    known = Word(promoted=True, by_gates=True)
    assert later.after(known) == later


@pytest.mark.parametrize(("truth", "approved"), [("play_music", True), ("set_alarm", False)])
def test_the_reviewer_looks_at_what_few_raters_taught(truth, approved):
    wording = {"intent": "play_music", "turned": 2, "learned": ["play it"]}
    given = decision(
        offers=[FREE | {"looked": "word"}],
        changed={"wordings": [wording]},
    )
    given["gates"].append({"gate": "changed_answers", "verdict": "INCONCLUSIVE"})
    assert review(FakeDaemon(decision=given), {"decision": "d-1"}, {"play it": truth}).promoted is (
        approved
    )


def test_an_utterance_concerns_what_it_asks_for_and_what_it_is_answered_with():
    uttered = [Row("play", "play_music")] * 10 + [Row("ring", "set_alarm")] * 10
    health = [{"intent": name, "failing": name == "play_music"} for name in (*NAMES, "none")]
    found = flags(health, uttered, {"play": "play_music", "ring": "play_music"})
    assert found == (
        Flagged(intent="play_music", failing=True, error=0.5),
        Flagged(intent="set_alarm", failing=False, error=1.0),
    )


def test_flags_between_healthy_and_failing_are_not_counted():
    found = [
        Flagged(intent="a", failing=True, error=0.4),
        Flagged(intent="b", failing=True, error=0.1),
        Flagged(intent="c", failing=True, error=0.39),
        Flagged(intent="d", failing=False, error=0.5),
    ]
    assert failing_counts(found) == (1, 1, 2)


def test_a_paired_difference_is_of_intents_and_has_an_error():
    test = [Row(f"a{n}", "a") for n in range(4)] + [Row("b0", "b"), Row("x", "none")]
    right = {row.text: row.intent for row in test}
    ahead, error = paired(test, right, right | {"a0": "b", "x": "a"})
    assert (ahead, error) == (12.5, pytest.approx(100 * (0.1875 / 4) ** 0.5 / 2))
    assert paired(test, right, right) == (0, 0)


def at(macro, outside=None):
    return Score(micro=macro, macro=macro, worst_decile=macro - 20, out_of_scope=outside)


def run(rot=CLEAN.name, macros=(80, 85, 90), outside=(50, 60, 40), **more):
    made = StreamRun(rot=rot, seed=0, **more)
    for number, (macro, found) in enumerate(zip(macros, outside, strict=True)):
        made.turns.append(
            TurnRecord(
                turn=number, score=at(macro, found), texts=30 * number,
                labelled=at(86) if number else None, naive=at(84) if number else None,
            )
        )  # fmt: skip
    return made


HELD = {"decision": "hold", "overall": "PASS", "wanted": 485, "available": 36}


@pytest.mark.parametrize(
    ("records", "deadlocks"),
    [
        ([HELD] * 3, 1),
        ([HELD] * 5, 1),
        ([HELD, HELD, {"decision": "promote"}, HELD], 0),
        ([HELD | {"available": 500}] * 4, 0),
        ([HELD | {"overall": "INCONCLUSIVE"}] * 4, 0),
    ],
)
def test_a_deadlock_is_three_holds_for_more_labels_than_there_are_texts(records, deadlocks):
    made = StreamRun(rot=CLEAN.name, seed=0)
    made.turns = [TurnRecord(turn=n, score=at(80), **each) for n, each in enumerate(records)]
    assert made.deadlocks == deadlocks


def test_the_figures_are_of_the_clean_streams_and_the_rots_each():
    noisy = run(
        "uniform", macros=(80, 78, 82), ahead=(3.0, 1.0), refused_right=1, refused_wrong=3,
        learned_wrong=1,
    )  # fmt: skip
    found = figures([run(), noisy, run("praise", ahead=(-3.0, 1.0))])
    shown = (
        "gain_over_best_baseline", "error_cut", "texts_read", "rot_passed", "rot_cases",
        "beats_naive", "behind_naive", "deadlocks", "noise_precision", "noise_recall",
        "failing_precision", "oos_recall_min", "oos_swing", "intents_lost",
    )  # fmt: skip
    assert {key: found[key] for key in shown} == {
        "gain_over_best_baseline": 4, "error_cut": 0.286, "texts_read": 60, "rot_passed": 1,
        "rot_cases": 2, "beats_naive": 1, "behind_naive": 1, "deadlocks": 0,
        "noise_precision": 0.75, "noise_recall": 0.75, "failing_precision": None,
        "oos_recall_min": 40, "oos_swing": 20, "intents_lost": 0,
    }  # fmt: skip


def test_a_row_of_the_table_names_the_loop_beside_both_baselines():
    header, _, line = table([run(rot="praise", macros=(80, 78, 90))])
    assert header.count("|") == line.count("|")
    assert line == (
        "| praise | 0 | 80.0 | 90.0 | 78.0 | 86.0 | 84.0 | 84.0 | – | +4.0 | +0.0 ± 0.0 | 70 | 40 "
        "| 60 | 0 of 2, 0 | 0 | 0 | no |"
    )
