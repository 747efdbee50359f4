"""Where there is no champion and no seeds: what people are asked, and where their labels go."""

import dataclasses
import itertools
from collections import Counter
from datetime import timedelta

import pytest
from runtimes import ALARM, NOW, PLAY, TIMER, WORDS, Parrot, runtime_in, turn_once

from flywheel import curation, labelling
from flywheel.config import LabellingTable, PromotionTable
from flywheel.errors import NotFound, Refused
from flywheel.label_queue import LabelAnswer, asked, give, give_many, settle, undo
from flywheel.label_queue.first_labels import Dealer, DealtPlace
from flywheel.records import Prediction, Sample
from flywheel.store import adapters, events, samples
from flywheel.turn import Incoming, NotReady, add_samples, control, request
from flywheel.turn.first_champion import needs

ANN, BO = "ann (uid 1)", "bo (uid 2)"


@pytest.fixture
def make(tmp_path):
    """Build the loop with these keys of `[labelling]`."""
    made = []

    def build(**given):
        table = {"first": 20, "audit": 0.0, "uncertain": 0.0, "second_opinion": 0.0} | given
        runtime = runtime_in(
            tmp_path,
            teacher=Parrot(),
            labelling=LabellingTable(**table),
            promotion=PromotionTable(mode="auto", bootstrap="auto"),
        )
        made.append(runtime)
        return runtime

    yield build
    for runtime in made:
        runtime.store.close()


def said(each=20):
    """Texts with their intents, hardly alike."""
    found = {}
    for intent, words in WORDS.items():
        three = itertools.islice(itertools.combinations(words, 3), each)
        found |= {" ".join(chosen): intent for chosen in three}
    return found


def arrive(runtime, texts, upstream=lambda intent: ALARM):
    with runtime.store.write() as con:
        events.add_predictions(
            con,
            [
                Prediction(
                    id=f"p-{number}",
                    ts=NOW - timedelta(minutes=number),
                    text=text,
                    intent=upstream(intent),
                    adapter="upstream:x",
                )
                for number, (text, intent) in enumerate(texts.items())
            ],
        )


def queue(runtime, person=ANN, most=500):
    return [item for item in asked(runtime, person, most)[1] if item.kind == "first"]


def state(runtime):
    with runtime.store.read() as con:
        found = needs(runtime.config, con)
    return None if found is None else found


def label_all(runtime, truth, person=ANN):
    """Answer the queue until nothing is asked; returns what was asked."""
    texts = []
    while items := queue(runtime, person)[:10]:
        give_many(runtime, person, [LabelAnswer(item=i.id, intent=truth[i.text]) for i in items])
        texts += [item.text for item in items]
    return texts


def stored(runtime):
    with runtime.store.read() as con:
        rows = [*samples.training(con), *samples.dev(con)]
        return [*rows, *(row.sample for row in samples.golden(con))]


def test_labels_of_traffic_train_and_judge_a_first_champion(make):
    runtime, truth = make(), said()
    arrive(runtime, truth)
    texts = label_all(runtime, truth)
    assert state(runtime).ready
    counts = Counter(sample.split for sample in stored(runtime))
    assert all(counts[split] >= need for split, need in (("train", 12), ("dev", 4), ("golden", 4)))
    assert len(texts) == len(set(texts)) == counts.total()
    turn_once(runtime)
    with runtime.store.read() as con:
        assert adapters.champion(con) is not None
        assert control.missing(runtime.config, con) == []
    assert state(runtime) is None
    assert queue(runtime) == []
    left = next(number for number, text in enumerate(truth) if text not in texts)
    with pytest.raises(NotFound):
        give(runtime, ANN, LabelAnswer(item=f"first:p-{left}", intent=ALARM))


def test_texts_are_shown_blind_and_dealt_by_lot_not_by_whoever_labels(make):
    runtime, truth = make(), said()
    arrive(runtime, truth)
    assert all((item.guesses, item.said) == ((), ()) for item in queue(runtime))
    label_all(runtime, truth)
    for sample in stored(runtime):
        assert sample.split == labelling.dealt(curation.normalise(sample.text))
        assert (sample.origin, sample.intent) == ("person", truth[sample.text])
        assert sample.provenance["rater"] == ANN


def test_only_splits_that_have_not_enough_are_asked_about(make):
    runtime, truth = make(first=6), said()
    arrive(runtime, truth)
    while not (now := state(runtime)).ready:
        lacking = now.lacking()
        item = queue(runtime)[0]
        assert labelling.dealt(curation.normalise(item.text)) in lacking
        give(runtime, ANN, LabelAnswer(item=item.id, intent=truth[item.text]))
    assert (now.seeds.have, now.dev.have, now.golden.have) == (4, 1, 1)


def test_the_last_label_settles_all_of_them(make):
    runtime, truth = make(first=6), said()
    arrive(runtime, truth)
    while not state(runtime).ready:
        assert stored(runtime) == []
        item = queue(runtime)[0]
        told = give(runtime, ANN, LabelAnswer(item=item.id, intent=truth[item.text]))
    assert (told["settled"]["golden"], told["settled"]["train"]) == (1, 5)


def test_one_intent_alone_is_not_enough(make):
    runtime = make(first=6)
    truth = {text: ALARM for text, intent in said(15).items() if intent == ALARM}
    arrive(runtime, truth)
    label_all(runtime, truth)
    now = state(runtime)
    assert (now.ready, now.intents.have, now.intents.need) == (False, 1, 2)
    with pytest.raises(NotReady, match="1 of 2 intents with a text to learn from are missing"):
        request(runtime, "by hand")


def test_what_is_missing_is_told_with_the_command(make):
    runtime, truth = make(first=200), said()
    arrive(runtime, truth)
    for item in queue(runtime)[:5]:
        give(runtime, ANN, LabelAnswer(item=item.id, intent=truth[item.text]))
    now = state(runtime)
    assert now.seeds.have + now.dev.have + now.golden.have == 5
    with pytest.raises(NotReady) as refused:
        request(runtime, "by hand")
    assert f"{now.seeds.missing} of 120 texts to learn from are missing" in refused.value.message
    assert refused.value.hint.startswith("`flywheel samples label`, or `flywheel samples import")


def test_a_repeat_and_a_near_duplicate_go_where_the_first_went():
    first = Sample(
        id="s-1", text="wake me up at seven", intent=ALARM, origin="person", split="golden"
    )
    known = Dealer([first], 0.8)
    assert known.place("Wake me up at seven!") == DealtPlace(
        split="golden", family="s-1", near=True
    )
    assert known.place("wake me up at seven please") == DealtPlace(
        split="golden", family="s-1", near=True
    )
    far = known.place("what is my balance")
    assert far == DealtPlace(split=labelling.dealt("what is my balance"))


def test_a_text_between_two_splits_is_not_used():
    rows = [("wake me up at seven today", "train"), ("wake me up at seven", "golden")]
    known = Dealer(
        [
            Sample(id=f"s-{split}", text=text, intent=ALARM, origin="person", split=split)
            for text, split in rows
        ],
        0.8,
    )
    assert known.place("wake me up at seven") is None


def test_near_duplicates_in_one_queue_are_dealt_together(make):
    runtime = make(first=40)
    truth = {}
    for n in range(12):
        base = f"turn number{n} lights{n} off in room{n} upstairs{n}"
        truth |= {base: TIMER, f"{base} now": TIMER, f"please {base}": TIMER}
    truth |= {text: PLAY for text, intent in said(3).items() if intent == PLAY}
    arrive(runtime, truth)
    items = queue(runtime)
    give_many(runtime, ANN, [LabelAnswer(item=i.id, intent=truth[i.text]) for i in items])
    splits = {}
    for sample in stored(runtime):
        for word in sample.text.split():
            if word.startswith("number"):
                splits.setdefault(word, set()).add(sample.split)
    assert splits
    assert all(len(found) == 1 for found in splits.values())


def test_a_label_that_is_taken_back_or_changes_takes_its_sample_along(make):
    runtime, truth = make(second_opinion=1.0), said()
    arrive(runtime, truth)
    items = queue(runtime)
    wanted = {"golden": None, "dev": None, "train": None}
    for item in items:
        split = labelling.dealt(curation.normalise(item.text))
        wanted[split] = wanted[split] or item
    for item in wanted.values():
        give(runtime, ANN, LabelAnswer(item=item.id, intent=truth[item.text]))
    settle(runtime)
    assert len(stored(runtime)) == 3
    item = wanted["dev"]
    give(runtime, BO, LabelAnswer(item=item.id, intent=TIMER))
    settle(runtime)
    dispute = [text for text in (each.text for each in stored(runtime)) if text == item.text]
    assert dispute == ([item.text] if truth[item.text] == TIMER else [])
    undo(runtime, BO)
    settle(runtime)
    assert sorted(each.split for each in stored(runtime)) == ["dev", "golden", "train"]
    undo(runtime, ANN)
    settle(runtime)
    assert sorted(each.split for each in stored(runtime)) == ["dev", "golden"]


def test_nobody_is_asked_where_seeds_and_a_golden_set_were_imported(make):
    runtime, truth = make(), said()
    arrive(runtime, truth)
    rows = [("one text", PLAY, "train", "seed"), ("another one", PLAY, "golden", "person")]
    add_samples(
        runtime,
        [
            Incoming(sample=Sample(id=text, text=text, intent=intent, origin=origin, split=split))
            for text, intent, split, origin in rows
        ],
        by="ann",
    )
    assert queue(runtime) == []
    assert state(runtime).ready
    request(runtime, "by hand")


def test_where_only_seeds_were_imported_the_golden_set_is_asked_for(make):
    runtime, truth = make(), said()
    arrive(runtime, truth)
    seed = Sample(id="s", text="one text", intent=PLAY, origin="seed", split="train")
    add_samples(runtime, [Incoming(sample=seed)], by="ann")
    assert {labelling.dealt(curation.normalise(item.text)) for item in queue(runtime)} == {"golden"}
    now = state(runtime)
    assert (now.seeds.need, now.dev.need, now.golden.need) == (1, 0, 4)


@pytest.mark.parametrize("first", [0, 200])
def test_without_the_key_or_without_traffic_it_is_as_ever(make, first):
    runtime = make(first=first)
    if not first:
        arrive(runtime, said(2))
    with runtime.store.read() as con:
        assert control.missing(runtime.config, con) == [
            "there is nothing to learn from: `flywheel samples import FILE --split seed`",
            "there is no golden set to judge by: `flywheel samples import FILE --split golden`",
        ]
    assert queue(runtime) == []


def test_a_text_that_nobody_was_asked_about_is_refused(make):
    runtime, truth = make(audit=0.5), said()
    arrive(runtime, truth)
    audited = next(f"p-{n}" for n in range(60) if labelling.drawn("audit", f"p-{n}", 0.5))
    for item in (f"first:{audited}", "first:p-999"):
        with pytest.raises(NotFound):
            give(runtime, ANN, LabelAnswer(item=item, intent=ALARM))
    with pytest.raises(Refused):
        give(runtime, ANN, LabelAnswer(item=queue(runtime)[0].id, intent="set_alram"))


def test_two_people_are_asked_some_of_them_and_differ_as_ever(make):
    runtime, truth = make(second_opinion=1.0), said()
    arrive(runtime, truth)
    item = queue(runtime)[0]
    give(runtime, ANN, LabelAnswer(item=item.id, intent=ALARM))
    again = [each for each in queue(runtime, BO) if each.id == item.id]
    assert [(each.again, each.guesses) for each in again] == [(True, ())]
    give(runtime, BO, LabelAnswer(item=item.id, intent=PLAY))
    (conflict,) = [each for each in asked(runtime, BO)[1] if each.id == item.id]
    assert (conflict.kind, conflict.said) == ("conflict", (ALARM, PLAY) if ALARM < PLAY else ())


def test_the_config_refuses_a_negative_number():
    with pytest.raises(ValueError, match="`first` is -1"):
        dataclasses.replace(LabellingTable(), first=-1)
