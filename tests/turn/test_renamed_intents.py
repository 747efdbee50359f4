"""Intents that were renamed, merged or split: what was learned and labelled goes on from there."""

import contextlib
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from runtimes import (
    ALARM,
    NOW,
    PLAY,
    TIMER,
    WORDS,
    Parrot,
    runtime_in,
    sample,
    turn_once,
    two_turns,
)

from flywheel.lineage import current_names, judging, parted, under_names
from flywheel.records import Feedback, Intent, Prediction
from flywheel.store import adapters, decisions, events, label_candidates, turns
from flywheel.store.samples import refusals
from flywheel.turn import add_samples
from flywheel.turn.artifacts import dataset_rows


@pytest.fixture(scope="module")
def under_old_names(tmp_path_factory):
    """A folder after two turns."""
    folder = tmp_path_factory.mktemp("old")
    made = runtime_in(folder)
    with contextlib.closing(made.store):
        two_turns(made)
    return folder


@pytest.fixture
def runtime(under_old_names, tmp_path):
    """After two turns under the old names."""
    shutil.copytree(under_old_names, tmp_path, symlinks=True, dirs_exist_ok=True)
    made = runtime_in(tmp_path)
    yield made
    made.store.close()


def fail_as(runtime, intent, count=24):
    """The champion missed an intent in texts that it had not learned, as people say."""
    with runtime.store.write() as con:
        serving = adapters.champion(con)
        for key in (f"new-{n}" for n in range(count)):
            text = f"quite other words {key}"
            made = Prediction(id=key, ts=NOW, text=text, intent="none", adapter=serving)
            said = Feedback(
                id=f"f-{key}", prediction_id=key, ts=NOW, verdict="corrected", intent=intent
            )
            events.add_predictions(con, [made])
            events.add_feedback(con, [said])


def next_turn(runtime, *intents):
    """A turn under other intents, with one new sample; the turn, its training rows, its report."""
    runtime.intents = intents
    add_samples(runtime, [sample(f"{WORDS[PLAY][0]} another", PLAY, "train")], by="ana")
    name = turn_once(runtime)
    with runtime.store.read() as con:
        turn, report = turns.get(con, name), adapters.load_report(con, name)
    path = runtime.datasets_dir / f"{turn.record.dataset}.parquet"
    return turn, dataset_rows(path) + dataset_rows(path, "dev"), report


def of(report, *intents):
    return [row for row in report.outcomes if row.split == "golden" and row.intent in intents]


def test_samples_of_a_renamed_intent_are_learned_and_judged_under_its_name_of_today(runtime):
    before = next_turn(runtime, *runtime.intents)
    now = Intent(name="alarm.set", renamed_from=(ALARM,))
    kept = [intent for intent in runtime.intents if intent.name != ALARM]
    turn, rows, report = next_turn(runtime, *kept, now)
    counts = [sum(row["intent"] == name for row in rows) for name in (ALARM, "alarm.set")]
    assert counts == [0, sum(row["intent"] == ALARM for row in before[1])]
    assert counts[1] > 10
    assert turn.record.refused == before[0].record.refused
    judged = of(report, "alarm.set")
    assert len(judged) == 40
    assert all(row.champion_correct and row.challenger_correct for row in judged)
    assert {row.challenger_intent for row in judged} == {"alarm.set"}


def test_a_new_name_is_reason_enough_to_train(runtime):
    first = runtime.intents
    runtime.intents = (*first[:1], Intent(name="alarm.set", renamed_from=(ALARM,)), *first[2:])
    with runtime.store.read() as con:
        turn = turns.get(con, turn_once(runtime))
    assert turn.record.challenger != turn.record.champion
    with runtime.store.read() as con:
        assert decisions.get(con, turn.decision).verdict == "hold"  # it is no better, by any name


def test_a_failing_renamed_intent_is_shown_to_the_teacher_by_what_was_said_under_its_old_name(
    runtime,
):
    runtime.intents = (
        Intent(name=PLAY),
        Intent(name="alarm.set", renamed_from=(ALARM,)),
        Intent(name=TIMER),
    )
    runtime.teacher = Parrot()
    fail_as(runtime, ALARM)
    with runtime.store.read() as con:
        turn = turns.get(con, turn_once(runtime))
    briefs = {brief.intent.name: brief for brief in turn.record.briefs}
    assert briefs["alarm.set"].failed_texts
    assert ALARM not in briefs
    assert "malformed" not in {brief.failure for brief in briefs.values()}


def test_merged_intents_bring_their_samples_and_neither_old_answer_is_wrong(runtime):
    now = Intent(name="remind", merged_from=(ALARM, TIMER))
    _, rows, report = next_turn(runtime, Intent(name=PLAY), now)
    assert {row["intent"] for row in rows} == {PLAY, "remind"}
    judged = of(report, "remind")
    assert len(judged) == 80
    assert all(row.champion_correct and row.challenger_correct for row in judged)


def test_what_a_split_intent_labelled_is_kept_aside_and_people_are_asked_about_it(runtime):
    parts = [Intent(name=name, split_from=(ALARM,)) for name in ("wake", "remind")]
    kept = [intent for intent in runtime.intents if intent.name != ALARM]
    turn, rows, report = next_turn(runtime, *kept, *parts)
    assert {row["intent"] for row in rows if row["split"] == "dev"} == {PLAY, TIMER}
    assert {row.intent for row in report.outcomes} == {PLAY, TIMER}
    with runtime.store.read() as con:
        decision = decisions.get(con, turns.get(con, turn.id).decision)
    assert decision.verdict != "reject"  # nobody is wrong for what cannot be answered
    assert {row["intent"] for row in rows if row["split"] == "train"} == {PLAY, TIMER}
    with runtime.store.read() as con:
        told = {one.reason: one.detail for one in refusals(con, turn.id)}
        asked = label_candidates.conflicts(con, 0.75, ())
    assert told["split"] == f"{ALARM} was split into wake, remind: label it again"
    assert {one.labels for one in asked} == {(ALARM,)}


names = st.sampled_from("abcdef")
intents = st.lists(
    st.builds(
        Intent,
        name=names,
        renamed_from=st.lists(names, max_size=2).map(tuple),
        merged_from=st.lists(names, max_size=2).map(tuple),
        split_from=st.lists(names, max_size=2).map(tuple),
    ),
    max_size=4,
    unique_by=lambda intent: intent.name,
)


@given(intents)
def test_every_former_name_means_an_intent_of_today_and_no_name_in_use_is_former(given_intents):
    today = {intent.name for intent in given_intents}
    former, split = current_names(given_intents), parted(given_intents)
    assert not (former.keys() | split.keys()) & today
    assert not former.keys() & split.keys()
    assert set(former.values()) <= today
    assert {name for into in split.values() for name in into} <= today


@given(intents, st.lists(names))
def test_a_sample_keeps_its_id_and_all_but_its_intent(given_intents, labels):
    former, split = current_names(given_intents), parted(given_intents)
    rows = [sample(f"text {n}", label, "train").sample for n, label in enumerate(labels)]
    renamed = under_names(rows, given_intents)
    assert [one.intent for one in renamed] == [former.get(label, label) for label in labels]
    assert [replace(one, intent="") for one in renamed] == [replace(one, intent="") for one in rows]
    assert under_names(renamed, given_intents) == renamed
    assert judging(rows, given_intents) == [one for one in renamed if one.intent not in split]
