"""One golden text has one intent: a row that says another is refused, with both places."""

import dataclasses

import pytest
from runtimes import runtime_in, sample

from flywheel.intake import accept
from flywheel.store import samples
from flywheel.turn import add_samples, dispute

TEXT = "get me the thing going at six"


@pytest.fixture
def runtime(tmp_path):
    with_store = runtime_in(tmp_path)
    yield with_store
    with_store.store.close()


def golden(runtime):
    with runtime.store.read() as con:
        return {(row.sample.text, row.sample.intent) for row in samples.golden(con)}


def add(runtime, *rows, **options):
    return add_samples(
        runtime, [sample(text, intent, "golden") for text, intent in rows], **options, by="ana"
    )


def test_lines_of_a_request_that_contradict_each_other_are_refused_and_the_rest_enters(runtime):
    body = b"""
{"text": "get me the thing going at six", "intent": "set_alarm", "split": "golden"}
{"text": "wake me", "intent": "set_alarm", "split": "golden"}
{"text": "Get me the thing  going at six!", "intent": null, "split": "golden"}
{"text": "get me the thing going at six", "intent": "none", "split": "dev"}
"""
    receipt = accept(runtime, "samples", body, by="ana")
    assert (receipt.accepted, receipt.duplicates) == (2, 0)
    assert [(bad.line, bad.field, bad.why) for bad in receipt.rejected] == [
        (2, "intent", "is set_alarm, but none in line 4 for the same text"),
        (4, "intent", "is none, but set_alarm in line 2 for the same text"),
    ]
    assert golden(runtime) == {("wake me", "set_alarm")}


def test_a_standing_label_stays_and_what_contradicts_it_is_refused(runtime):
    add(runtime, (TEXT, "set_alarm"))
    added = add(runtime, (TEXT, "set_alarm"), (f"{TEXT}.", "play_music"), ("more", "play_music"))
    (refused,) = added["contradicting"]
    stands = sample(TEXT, "set_alarm", "golden").sample.id
    assert (
        refused["why"]
        == f"is play_music, but set_alarm in golden sample {stands} for the same text"
    )
    assert (added["accepted"], added["duplicates"]) == (1, 1)
    assert golden(runtime) == {(TEXT, "set_alarm"), ("more", "play_music")}


def test_a_label_does_not_hide_behind_a_character_that_nobody_sees(runtime):
    add(runtime, (TEXT, "set_alarm"))
    for unseen in ("\u200b", "\u00ad", "\u2060", "\ufe0f", "\U000e0041"):
        hidden = TEXT.replace("thing", f"th{unseen}ing")
        assert add(runtime, (hidden, "play_music"))["accepted"] == 0
    assert golden(runtime) == {(TEXT, "set_alarm")}


def test_a_disputed_label_gives_way_to_its_correction(runtime):
    add(runtime, (TEXT, "set_alarm"))
    wrong = sample(TEXT, "set_alarm", "golden").sample.id
    dispute(runtime, wrong, "mira", "a timer", disputed=True)
    assert add(runtime, (TEXT, "play_music"))["accepted"] == 1


def test_a_new_generation_is_held_against_nothing_before_it(runtime):
    add(runtime, (TEXT, "set_alarm"))
    added = add(runtime, (TEXT, "play_music"), new_generation=True)
    assert (added["accepted"], added["generation"]) == (1, 2)


def test_no_generation_is_opened_for_rows_that_are_all_refused(runtime):
    added = add(runtime, (TEXT, "set_alarm"), (TEXT, "play_music"), new_generation=True)
    assert (added["accepted"], added["generation"], len(added["contradicting"])) == (0, None, 2)


def test_a_former_name_of_an_intent_does_not_contradict_it(runtime):
    add(runtime, (TEXT, "wake"))
    first = dataclasses.replace(runtime.intents[0], renamed_from=("wake",))
    runtime.intents = (first, *runtime.intents[1:])
    assert add(runtime, (TEXT, first.name))["contradicting"] == []
