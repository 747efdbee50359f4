"""A golden row judges while no compared model has learned it, and is learned afterwards."""

import contextlib
import dataclasses
import shutil

import msgspec
import pytest
from runtimes import NOW, WORDS, Parrot, produce_failures, runtime_in, sample, turn_once

from flywheel.config import GatesTable, IntentsRule, OverallRule, PromotionTable
from flywheel.metrics import fewest_rows, likely_rows
from flywheel.records import Feedback, Prediction
from flywheel.store import adapters, decisions, events, golden_set, retired, samples, turns
from flywheel.store.erasure import Person
from flywheel.turn import NotReady, add_samples, dispute, integrity, request, rollback, verify
from flywheel.turn.artifacts import learned_rows
from flywheel.turn.erase import erase
from tests.fakes import json_views as views

ALARM = "set_alarm"
FEWEST, LIKELY = fewest_rows(0.30), likely_rows(0.30)


def rows(intent, count, name="golden", **more):
    words = WORDS[intent]
    return [
        sample(f"{words[i % 6]} {name}{intent}{i}", intent, "golden", **more) for i in range(count)
    ]


def others():
    """Seeds and dev rows of every intent."""
    found = []
    for intent, words in WORDS.items():
        found += [sample(f"{word} seed", intent, "train") for word in words[:2]]
        found += [sample(f"{words[i % 6]} dev{intent}{i}", intent, "dev") for i in range(6)]
    return found


def everything(count=40):
    return [*others(), *(row for intent in WORDS for row in rows(intent, count))]


def built(folder, share=0.5, **gates):
    table = GatesTable(
        overall=OverallRule(profile="fast"),
        intents=IntentsRule(margin=0.30),
        **{"retire": "auto", **gates},
    )
    return runtime_in(folder, teacher=Parrot(), share=share, gates=table)


@pytest.fixture
def made(tmp_path):
    """Build a runtime in one folder; `share` and the keys of [gates] as given."""
    opened = []

    def build(share=0.5, **gates):
        opened.append(built(tmp_path, share, **gates))
        return opened[-1]

    yield build
    for runtime in opened:
        runtime.store.close()


@pytest.fixture(scope="session")
def asked_once(tmp_path_factory):
    """A folder whose second turn asked its golden set once."""
    folder = tmp_path_factory.mktemp("asked")
    runtime = built(folder, 0.0)
    with contextlib.closing(runtime.store):
        add_samples(runtime, everything(), by="ana")
        turn_once(runtime)
        produce_failures(runtime)
        turn_once(runtime)
    return folder


@pytest.fixture
def judged_twice(made, asked_once, tmp_path):
    """Build a runtime whose golden set was asked once, by the keys of [gates] as given."""

    def build(**gates):
        shutil.copytree(asked_once, tmp_path, symlinks=True, dirs_exist_ok=True)
        return made(share=0.0, retire_after=1, **gates)

    return build


def judging(runtime):
    with runtime.store.read() as con:
        return {row.sample.text for row in samples.golden(con)}


def learned(runtime):
    """Texts of training samples that were golden."""
    with runtime.store.read() as con:
        return {one.text for one in samples.training(con) if "golden" in one.provenance}


def by_rule(runtime, generation=1):
    with runtime.store.read() as con:
        return retired.counts(con, generation)


def dataset_texts(runtime, turn_id):
    with runtime.store.read() as con:
        record = turns.get(con, turn_id).record
    return {row["text"] for row in learned_rows(runtime.datasets_dir / f"{record.dataset}.parquet")}


def said(runtime, labels):
    """Production texts, and what people said they mean."""
    given = {f"p-{number}": pair for number, pair in enumerate(labels.items())}
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(id=key, ts=NOW, text=text, intent="none")
                for key, (text, _) in given.items()
            ],
        )
        events.add_feedback(
            con,
            [
                Feedback(
                    id=f"f-{key}", prediction_id=key, ts=NOW, verdict="corrected", intent=intent
                )
                for key, (_, intent) in given.items()
            ],
        )


def problems(runtime):
    return integrity.check(runtime.store, runtime.config.state_dir)["problems"]


# A share of what is imported.


def test_half_of_a_golden_set_is_learned_at_once_and_the_rest_is_sealed(made):
    runtime = made()
    added = add_samples(runtime, everything(), by="ana")
    assert added["overlaps"] == []  # nothing that judges is near what is learned
    assert (added["learned"], by_rule(runtime)) == (3 * 20, {"share": 3 * 20})
    assert len(judging(runtime)) == len(learned(runtime)) == 3 * 20
    assert not judging(runtime) & learned(runtime)
    with runtime.store.read() as con:
        assert golden_set.current_generation(con).rows == 3 * 20
        events = [one["what"] for one in decisions.acts(con)]
    assert "golden.retired" in events
    assert problems(runtime) == []


def test_the_first_champion_learns_the_share_and_is_judged_on_the_rest(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    turn_id = turn_once(runtime)
    decision = views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])
    assert decision["gates"][0]["verdict"] == "PASS"  # hygiene
    assert decision["golden"]["challenger"]["n"] == 3 * 20
    assert learned(runtime) <= dataset_texts(runtime, turn_id)
    assert not judging(runtime) & dataset_texts(runtime, turn_id)
    assert verify(runtime, decision["id"])["same"]


def test_a_small_golden_set_gives_nothing(made):
    runtime = made()
    assert add_samples(runtime, everything(FEWEST), by="ana")["learned"] == 0
    assert len(judging(runtime)) == 3 * FEWEST


def test_a_golden_set_alone_makes_no_first_champion(made):
    runtime = made()
    add_samples(runtime, [row for intent in WORDS for row in rows(intent, 40)], by="ana")
    assert len(learned(runtime)) == 3 * 20
    with pytest.raises(NotReady, match="nothing to learn from"):
        request(runtime, "manual")


def test_a_retired_row_without_its_lesson_is_named(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    with runtime.store.write() as con:
        lost = retired.as_training(retired.listed(con)[0].sample)
        con.execute("DELETE FROM samples WHERE id = ?", [lost.id])
    (told,) = problems(runtime)
    assert f"retired as {lost.id}, and that is not there" in told


def test_the_share_is_decided_once_however_often_and_in_whatever_parts_the_rows_come(made):
    runtime = made()
    whole = everything()
    for start in range(0, len(whole), 25):
        add_samples(runtime, whole[start : start + 25], by="ana")
    before = (judging(runtime), learned(runtime))
    assert len(before[1]) == 3 * 20
    again = add_samples(runtime, whole, by="ana")
    assert (again["accepted"], again["learned"]) == (0, 0)
    assert (judging(runtime), learned(runtime)) == before


def test_what_was_learned_judges_in_no_later_generation(made):
    runtime = made()
    whole = everything()
    add_samples(runtime, whole, by="ana")
    gone = learned(runtime)
    add_samples(runtime, whole, by="ana", new_generation=True)
    assert not judging(runtime) & gone
    assert gone <= learned(runtime)
    assert problems(runtime) == []


def test_a_text_near_a_learned_one_is_learned_with_it(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    text = min(learned(runtime))
    (intent,) = (one for one in WORDS if one in text)
    near = sample(f"{text}!", intent, "golden")
    assert add_samples(runtime, [near], by="ana")["learned"] == 1
    assert f"{text}!" not in judging(runtime)
    assert by_rule(runtime)["near"] == 1


@pytest.mark.slow
def test_a_must_pass_row_near_a_learned_one_still_has_to_be_right_and_compares_nothing(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    turn_once(runtime)
    text = min(learned(runtime))
    (intent,) = (one for one in WORDS if one in text)
    marked = sample(f"{text}!", intent, "golden", must_pass=True)
    add_samples(runtime, [marked], by="ana")
    assert marked.sample.text in judging(runtime)
    produce_failures(runtime)
    turn_id = turn_once(runtime)
    decision = views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])
    assert text not in dataset_texts(runtime, turn_id)  # it leaks into what has to pass
    assert [line["n"] for line in decision["gates"] if line["gate"] == "must_pass"] == [1]
    with runtime.store.read() as con:
        assert turns.get(con, turn_id).record.evidence["learned"] == [marked.sample.id]
    assert verify(runtime, decision["id"])["same"]


def test_no_must_pass_and_no_disputed_row_is_learned(made):
    runtime = made()
    marked = rows(ALARM, 20, "marked", must_pass=True)
    add_samples(runtime, [*marked, *rows(ALARM, 5)], by="ana")
    assert not learned(runtime) & {row.sample.text for row in marked}


def test_a_retired_label_that_is_disputed_teaches_nothing_any_more(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    with runtime.store.read() as con:
        wrong = retired.listed(con)[0].sample
    dispute(runtime, wrong.id, "mira", "it is a timer", disputed=True)
    assert wrong.text not in learned(runtime)
    assert wrong.text not in judging(runtime)
    dispute(runtime, wrong.id, "mira", "it was right", disputed=False)
    assert wrong.text in learned(runtime)


def test_a_text_near_a_learned_one_judges_no_turn_that_is_under_way(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    request(runtime, "manual")
    text = min(learned(runtime))
    (intent,) = (one for one in WORDS if one in text)
    assert add_samples(runtime, [sample(f"{text}!", intent, "golden")], by="ana")["learned"] == 1
    assert f"{text}!" not in judging(runtime)


@pytest.mark.slow
def test_what_the_first_champion_was_asked_is_no_part_of_a_later_share(made):
    """Whoever saw its answers could choose what to add, and so how many rows go."""
    runtime = made()
    add_samples(runtime, everything(FEWEST), by="ana")
    turn_once(runtime)
    added = rows(ALARM, 20, "more")
    assert add_samples(runtime, added, by="ana")["learned"] == (FEWEST + 20) // 2
    assert learned(runtime) <= {row.sample.text for row in added}


@pytest.mark.slow
def test_a_learned_golden_text_may_come_as_traffic_and_what_judges_may_not(made):
    runtime = made()
    add_samples(runtime, everything(), by="ana")
    mine, theirs = min(learned(runtime)), min(judging(runtime))
    turn_once(runtime)
    produce_failures(runtime)
    said(runtime, {mine: ALARM, theirs: ALARM})
    turn_id = turn_once(runtime)
    assert mine in dataset_texts(runtime, turn_id)
    assert theirs not in dataset_texts(runtime, turn_id)


def test_a_label_verified_as_golden_is_learned_as_a_persons(made):
    runtime = made()
    given = [
        dataclasses.replace(row, sample=msgspec.structs.replace(row.sample, origin="teacher"))
        for row in rows(ALARM, 40)
    ]
    add_samples(runtime, given, by="ana")
    with runtime.store.read() as con:
        assert {one.origin for one in samples.training(con)} == {"person"}


def test_nothing_retires_while_a_turn_is_open(made):
    runtime = made()
    add_samples(runtime, everything(FEWEST), by="ana")
    opened = request(runtime, "manual")
    assert add_samples(runtime, rows(ALARM, 20, "more"), by="ana")["learned"] == 0
    with runtime.store.write() as con:
        turns.close(con, opened.id, NOW, state="cancelled", error="test")
    request(runtime, "manual")
    assert by_rule(runtime) == {"share": (FEWEST + 20) // 2}


# Rows that have judged.


def test_rows_that_judged_are_learned_by_the_next_turn_and_buy_no_query(judged_twice):
    runtime = judged_twice()
    assert learned(runtime) == set()
    with runtime.store.read() as con:
        used = golden_set.current_generation(con).queries_used
    turn_id = turn_once(runtime)
    assert by_rule(runtime) == {"judged": 3 * (40 - LIKELY)}
    assert len(judging(runtime)) == 3 * LIKELY
    assert learned(runtime) <= dataset_texts(runtime, turn_id)
    with runtime.store.read() as con:
        generation = golden_set.current_generation(con)
        turn = turns.get(con, turn_id)
    assert (generation.number, generation.rows) == (1, 3 * LIKELY)
    assert generation.queries_used == used + 1
    assert turn.record.evidence["hygiene"]["leaks"] == []
    assert problems(runtime) == []
    for decision in ("d-1", "d-2", turn.decision):
        assert verify(runtime, decision)["same"]


def test_a_doubt_that_came_after_the_answers_keeps_no_row_judging(judged_twice):
    """Who disputes what a challenger lost would choose what judges the next one."""
    runtime = judged_twice()
    with runtime.store.read() as con:
        golden = [row.sample for row in samples.golden(con) if row.sample.intent == ALARM]
    for row in golden[:10]:
        dispute(runtime, row.id, "mira", "no", disputed=True)
    request(runtime, "manual")
    assert by_rule(runtime) == {"judged": 3 * (40 - LIKELY)}
    doubted = {row.text for row in golden[:10]}
    assert doubted - judging(runtime)  # the lot took some of them
    assert not doubted & learned(runtime)


@pytest.mark.slow
def test_a_retired_row_is_never_asked_again_however_often_a_turn_opens(judged_twice):
    runtime = judged_twice()
    opened = request(runtime, "manual")
    before = (judging(runtime), learned(runtime), by_rule(runtime))
    with runtime.store.write() as con:  # as after a crash: the turn is ended and opened again
        turns.close(con, opened.id, NOW, state="cancelled", error="test")
    turn_id = turn_once(runtime)
    assert (judging(runtime), learned(runtime), by_rule(runtime)) == before
    with runtime.store.read() as con:
        report = adapters.load_report(con, turn_id)
        texts = {row.sample.id: row.sample.text for row in samples.golden(con, retired=True)}
    asked = {texts[row.sample] for row in report.outcomes if row.split == "golden"}
    assert asked == before[0]


@pytest.mark.slow
def test_nothing_retires_while_a_decision_waits(made):
    runtime = made(share=0.0, retire_after=1, retire="auto")
    runtime.config = dataclasses.replace(
        runtime.config, promotion=PromotionTable(mode="review", bootstrap="auto")
    )
    add_samples(runtime, everything(), by="ana")
    turn_once(runtime)
    produce_failures(runtime)
    turn_once(runtime)
    request(runtime, "manual")
    assert by_rule(runtime) == {}


@pytest.mark.slow
def test_off_keeps_every_row_judging(judged_twice):
    runtime = judged_twice(retire="off")
    turn_once(runtime)
    assert len(judging(runtime)) == 3 * 40


@pytest.mark.slow
def test_a_champion_rolled_back_to_has_not_learned_what_judges(judged_twice):
    runtime = judged_twice()
    turn_once(runtime)
    first = views.decision_view(runtime, "d-1")["challenger"]
    rollback(runtime, first, "ana (uid 1000)", "it was better")
    turn_id = turn_once(runtime)
    with runtime.store.read() as con:
        shown = turns.get(con, turn_id).record.evidence
    assert (shown["learned"], shown["hygiene"]["leaks"]) == ([], [])


@pytest.mark.slow
def test_a_champion_whose_dataset_is_gone_is_said_to_have_learned_nobody_knows_what(judged_twice):
    runtime = judged_twice()
    for path in runtime.datasets_dir.glob("*.parquet"):
        path.unlink()
    turn_id = turn_once(runtime)
    view = views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])
    assert "the champion's dataset is gone" in view["gates"][0]["detail"]


@pytest.mark.slow
def test_a_row_that_the_champion_learned_from_traffic_compares_nothing(judged_twice):
    runtime = judged_twice()
    text = f"{WORDS[ALARM][2]} prod{ALARM}-{WORDS[ALARM][2]}-0"  # of `produce_failures`
    fresh = [*rows(ALARM, 30, "next"), sample(text, ALARM, "golden")]
    add_samples(runtime, fresh, by="ana", new_generation=True)
    turn_id = turn_once(runtime)
    with runtime.store.read() as con:
        shown = turns.get(con, turn_id).record.evidence
    assert shown["learned"] == [sample(text, ALARM, "golden").sample.id]


def test_a_worn_generation_is_learned_once_the_next_one_judges(judged_twice):
    runtime = judged_twice()
    kept = rows(ALARM, 1)
    marked = sample("wake me or else", ALARM, "golden", must_pass=True)
    add_samples(runtime, [marked], by="ana")
    fresh = [row for intent in WORDS for row in rows(intent, 30, "next")]
    add_samples(runtime, [*fresh, *kept], by="ana", new_generation=True)
    assert learned(runtime) == set()  # until the import is whole
    turn_once(runtime)
    assert by_rule(runtime) == {"worn": 3 * 40 - 1}
    assert not learned(runtime) & judging(runtime)
    assert marked.sample.text not in learned(runtime)
    assert kept[0].sample.text in judging(runtime)
    assert problems(runtime) == []


def test_an_erasure_takes_the_retired_row_and_its_lesson(made):
    runtime = made()
    spoken = [
        dataclasses.replace(
            row,
            sample=sample(row.sample.text, ALARM, "golden", provenance={"rater": "u-7"}).sample,
        )
        for row in rows(ALARM, 40)
    ]
    add_samples(runtime, [*others(), *spoken], by="ana")
    assert len(learned(runtime)) == 20
    told = erase(runtime, Person(rater="u-7"), "ana")
    assert told["removed"]["retired_rows"] == 20
    assert told["left"] == {}
    assert (learned(runtime), judging(runtime)) == (set(), set())
    assert problems(runtime) == []
