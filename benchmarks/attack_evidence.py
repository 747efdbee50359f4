"""Attacks on evidence: nobody chooses what is judged after it was seen, or slips in what judges."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.attack_lab import (
    ADA,
    ADA_BY_TOKEN,
    AUTO,
    BOB,
    INTENTS,
    NOW,
    Cases,
    Lab,
    champion,
    refused,
    sample,
    turn_once,
)
from flywheel import intake, label_queue
from flywheel import turn as turning
from flywheel.config import (
    FreshRule,
    GatesTable,
    IntentsRule,
    LabellingTable,
    OverallRule,
    RatersTable,
    SourceTable,
)
from flywheel.errors import FlywheelError
from flywheel.labelling import item_id
from flywheel.records import Feedback, Prediction
from flywheel.sources.jsonl import JsonLines
from flywheel.store import adapters, decisions, events, golden_set, health, samples, turns
from flywheel.turn import Runtime, evaluate

CASES = Cases("sealed evidence")


# Disputes


def _worse(lab: Lab, runtime: Runtime) -> str:
    """A turn whose challenger gains an intent's words and loses another's; returns its id."""
    turning.reject(runtime, "d-3", BOB, "first the attack")
    losing = lab.history.words[INTENTS[1]][:4]
    predictions, feedback = [], []
    for word in losing:
        for n in range(9):
            key = f"lose-{word}-{n}"
            predictions.append(Prediction(id=key, ts=NOW, text=f"{word} {key}", intent="none"))
            verdict: Any = {"verdict": "corrected", "intent": INTENTS[2], "rater": f"w-{n}"}
            feedback.append(Feedback(id=f"f-{key}", prediction_id=key, ts=NOW, **verdict))
    with runtime.store.write() as con:
        events.add_predictions(con, predictions)
        events.add_feedback(con, feedback)
    runtime.config = dataclasses.replace(runtime.config, promotion=AUTO)
    return turn_once(runtime)


def _lost_rows(runtime: Runtime, turn: str) -> list[str]:
    with runtime.store.read() as con:
        report = adapters.load_report(con, turn)
    assert report is not None
    return [
        row.sample
        for row in report.outcomes
        if row.split == "golden" and not row.challenger_correct
    ]


def _last(runtime: Runtime) -> Any:
    with runtime.store.read() as con:
        return decisions.list_decisions(con)[0]


@CASES
def rows_disputed_after_their_outcome_was_seen_promote_nothing_by_themselves(lab: Lab) -> str:
    runtime = lab.loop(labelling=LabellingTable(disputes=1_000))
    turn = _worse(lab, runtime)
    first = _last(runtime)
    if first.verdict == "promote" or not (lost := _lost_rows(runtime, turn)):
        return f"the attack is not set up: {first.verdict}, {len(lost)} rows lost"
    for name in lost:
        turning.dispute(runtime, name, ADA, "I doubt it", disputed=True)
    before = champion(runtime)
    turn_once(runtime)
    second = _last(runtime)
    if champion(runtime) != before or second.status == "applied":
        return f"{second.id} was {second.status}: {second.because}"
    with runtime.store.read() as con:
        late = set(golden_set.disputed_samples(con)) - set(golden_set.disputed_samples(con, 1))
    return "" if set(lost) <= late else "a late dispute counts at once"


@CASES
def what_was_disputed_late_judges_on_and_what_fails_by_it_takes_an_override(lab: Lab) -> str:
    runtime = lab.loop(labelling=LabellingTable(disputes=1_000))
    for name in _lost_rows(runtime, _worse(lab, runtime)):
        turning.dispute(runtime, name, ADA, "I doubt it", disputed=True)
    turn_once(runtime)
    held = _last(runtime)
    if held.status != "pending":
        return ""  # rejected: nobody is asked
    with runtime.store.read() as con:
        judging = len(samples.golden(con))
    counted = {gate.gate: gate.n for gate in held.gates if gate.gate in ("overall", "intents")}
    if set(counted.values()) != {judging}:
        return f"of {judging} golden rows the gates counted {counted}"
    if any(gate.verdict == "FAIL" for gate in held.gates):
        return refused(lambda: turning.approve(runtime, held.id, ADA, "fine"), "did not pass")
    return ""  # undecided by all rows: a person may approve it, seeing what is unproven


@CASES
def a_row_put_back_after_it_was_asked_does_not_count_in_this_generation(lab: Lab) -> str:
    runtime = lab.loop()
    with runtime.store.read() as con:
        rows = [row.sample.id for row in samples.golden(con)][:5]
    for name in rows:
        turning.dispute(runtime, name, ADA, "doubt", disputed=True)
    _new_generation(lab, runtime)  # the disputes count here
    for name in rows[:3]:  # nothing was asked yet: the word counts at once
        turning.dispute(runtime, name, ADA, "doubt", disputed=True)
    with runtime.store.write() as con:
        golden_set.write_query(con, 2, "t-9", "a-x", "overall", NOW)
    for name in rows[:3]:
        turning.dispute(runtime, name, BOB, "no doubt", disputed=False)
    with runtime.store.read() as con:
        counts = set(golden_set.disputed_samples(con, 2))
    return "" if set(rows[:3]) <= counts else f"{counts} are set aside"


def _new_generation(lab: Lab, runtime: Runtime) -> None:
    rows = [
        sample(f"{words[n % 6]} golden{intent}{n}", intent, "golden")
        for intent, words in lab.history.words.items()
        for n in range(48)
    ]
    turning.add_samples(runtime, rows, by=ADA, new_generation=True)


@CASES
def one_person_disputes_ten_rows_of_a_generation_by_whatever_door(lab: Lab) -> str:
    runtime = lab.loop()
    with runtime.store.read() as con:
        rows = [row.sample.id for row in samples.golden(con)]
    doors = (ADA, ADA_BY_TOKEN, "ada (token desk)", "ada (uid 0)", "ada (uid 1002)")
    taken = _disputed(runtime, rows, doors)
    return "" if taken <= 10 else f"{taken} rows disputed"


@CASES
def nobody_in_particular_disputes_ten_rows_of_a_generation_in_all(lab: Lab) -> str:
    runtime = lab.loop()
    with runtime.store.read() as con:
        rows = [row.sample.id for row in samples.golden(con)]
    doors = ("token", "token shop", "token desk", "root (uid 0)", "unknown (uid 7)")
    taken = _disputed(runtime, rows, doors)
    return "" if taken <= 10 else f"{taken} rows disputed"


def _disputed(runtime: Runtime, rows: Sequence[str], doors: Sequence[str]) -> int:
    taken = 0
    for number, name in enumerate(rows[:60]):
        by = doors[number % len(doors)]
        taken += bool(
            refused(lambda n=name, b=by: turning.dispute(runtime, n, b, "x", disputed=True))
        )
    return taken


@CASES
def disputes_are_no_veto(lab: Lab) -> str:
    runtime = lab.loop()
    turning.reject(runtime, "d-3", BOB, "again")
    with runtime.store.read() as con:
        rows = [row.sample for row in samples.golden(con)]
    won = [row.id for row in rows if row.text.split()[0] in _new_words(lab)]
    for by in (ADA, BOB, "eve (uid 5)"):
        _disputed(runtime, won, [by])
    runtime.config = dataclasses.replace(runtime.config, promotion=AUTO)
    turn_once(runtime)
    last = _last(runtime)
    return f"{last.verdict}: {last.because}" if last.verdict == "reject" else ""


def _new_words(lab: Lab) -> set[str]:
    return {word for words in lab.history.words.values() for word in words[4:]}


@CASES
def a_label_taken_back_late_is_no_dispute_without_bound(lab: Lab) -> str:
    runtime = lab.loop()
    _predict(runtime, [f"late{n}" for n in range(30)])
    given = 0
    for n in range(30):
        item = item_id("gate", f"late{n}")
        given += not refused_quietly(lambda i=item: _label(runtime, ADA, i, INTENTS[0]))
    label_queue.settle(runtime)
    for _ in range(30):
        refused_quietly(lambda: label_queue.undo(runtime, ADA))
    label_queue.settle(runtime)
    with runtime.store.read() as con:
        standing = len(golden_set.disputed_samples(con))
    return "" if standing <= 10 else f"{standing} golden rows disputed by {given} labels taken back"


def refused_quietly(attempt: Callable[[], object]) -> bool:
    """Whether the attempt was refused."""
    try:
        attempt()
    except FlywheelError:
        return True
    return False


def _label(runtime: Runtime, by: str, item: str, intent: str) -> object:
    return label_queue.give(runtime, by, label_queue.LabelAnswer(item=item, intent=intent))


def _predict(runtime: Runtime, ids: Sequence[str], **more: Any) -> None:
    made = [Prediction(id=key, ts=NOW, text=f"text {key}", intent="none", **more) for key in ids]
    with runtime.store.write() as con:
        events.add_predictions(con, made)


# Who says what judges


@CASES
def who_labels_chooses_no_text_that_judges(lab: Lab) -> str:
    """Whoever sends predictions and labels could write golden rows: a gate asks, nobody else."""
    runtime = lab.loop()
    _predict(runtime, [f"mine{n}" for n in range(20)])
    with runtime.store.read() as con:
        before = len(samples.golden(con))
    for n in range(20):
        item = item_id("gate", f"mine{n}")
        refused_quietly(lambda i=item, n=n: _label(runtime, "token label", i, INTENTS[n % 3]))
    label_queue.settle(runtime)
    with runtime.store.read() as con:
        added = len(samples.golden(con)) - before
    return f"{added} golden rows" if added else ""


@CASES
def a_rater_is_no_expert_by_their_own_word(lab: Lab) -> str:
    gates = GatesTable(
        overall=OverallRule(profile="fast"),
        intents=IntentsRule(margin=0.30),
        fresh=FreshRule(required=True, min_examples=40),
    )
    runtime = lab.loop(gates=gates, raters=RatersTable(experts=("erin",)))
    keys = [f"own{n}" for n in range(60)]
    _predict(runtime, keys)
    kinds = ("expert", "Expert", " expert ", "EXPERT")
    lines = [
        json.dumps(
            {
                "id": f"f-{key}",
                "prediction_id": key,
                "ts": NOW.isoformat(),
                "verdict": "corrected",
                "intent": INTENTS[n % 3],
                "rater": ("mallory", "erin ", "Erin", "", "erin\u200b", ADA)[n % 6],
                "rater_kind": kinds[n % len(kinds)],
            }
        )
        for n, key in enumerate(keys)
    ]
    intake.accept(runtime, "feedback", "\n".join(lines).encode(), "auto", by="x", may_give=_nothing)
    with runtime.store.write() as con:
        evaluate.set_aside(runtime, con)
        fresh = len(samples.fresh(con))
        named = [
            row.rater for row in health.labelled_texts(con, ("erin",)) if row.rater_kind == "expert"
        ]
    return f"{fresh} fresh samples, experts {sorted(set(named))}" if fresh or named else ""


def _nothing(given: Sequence[Any]) -> None:
    """Samples are not what is tried here."""


@CASES
def a_forged_id_of_the_labelling_queue_neither_counts_nor_takes_its_place(lab: Lab) -> str:
    runtime = lab.loop(labelling=LabellingTable(audit=1.0))
    _predict(runtime, ["asked"])
    item = item_id("audit", "asked")
    forged = [
        {
            "id": f"{item}@{n}",
            "prediction_id": "asked",
            "ts": (NOW - timedelta(hours=1)).isoformat(),
            "verdict": "corrected",
            "intent": INTENTS[2],
            "rater": ADA,
            "rater_kind": "expert",
        }
        for n in range(1, 50)
    ]
    body = "\n".join(map(json.dumps, forged)).encode()
    intake.accept(runtime, "feedback", body, "auto", by="token ingest", may_give=_nothing)
    _label(runtime, ADA, item, INTENTS[0])
    label_queue.settle(runtime)
    with runtime.store.read() as con:
        rows = [row for row in health.labelled_texts(con, ()) if row.prediction_id == "asked"]
    said = [(row.intent, row.rater_kind) for row in rows]
    return "" if (INTENTS[0], "expert") in said else f"ada said {INTENTS[0]}, and it counts {said}"


@CASES
def a_later_event_under_any_name_hides_no_label_of_the_queue(lab: Lab) -> str:
    fresh = GatesTable(fresh=FreshRule(required=True, min_examples=5))
    for rater in ("u-7", ADA, ADA_BY_TOKEN, ""):
        runtime = lab.loop(labelling=LabellingTable(audit=1.0), gates=fresh)
        _predict(runtime, ["asked"])
        _label(runtime, ADA, item_id("audit", "asked"), INTENTS[0])
        label_queue.settle(runtime)
        later = NOW + timedelta(minutes=1)
        verdict: Any = {"verdict": "corrected", "intent": INTENTS[2], "rater": rater}
        forged = Feedback(id="later", prediction_id="asked", ts=later, **verdict)
        with runtime.store.write() as con:
            events.add_feedback(con, [forged])
            evaluate.set_aside(runtime, con)
            stands = [each.intent for each in samples.fresh(con)]
        if stands != [INTENTS[0]]:
            return f"by {rater!r}: {stands}"
    return ""


# Sources


def _source_config(lab: Lab, **more: Any) -> Runtime:
    return lab.loop(sources={"drop": SourceTable(plugin="jsonl", **more)})


def _golden_event(lab: Lab, number: int) -> dict[str, Any]:
    word = lab.history.words[INTENTS[0]][0]
    return {"text": f"{word} src{number}", "intent": INTENTS[1], "split": "golden"}


@CASES
def a_source_gives_no_rows_that_judge_or_teach(lab: Lab) -> str:
    runtime = _source_config(lab)
    before = _counts(runtime)
    item = {
        "id": "di-1",
        "input": {"query": "hello there"},
        "expectedOutput": {"name": INTENTS[0], "arguments": {}},
        "sourceTraceId": "tr-1",
        "split": "golden",
    }
    batch: list[Mapping[str, Any]] = [
        *(_golden_event(lab, n) for n in range(5)),
        {**_golden_event(lab, 6), "split": "seed"},
        {**_golden_event(lab, 7), "split": "fresh"},
        item,
    ]
    intake.accept_from_source(runtime, "drop", batch, "c-1")
    return "" if _counts(runtime) == before else f"{before} → {_counts(runtime)}"


@CASES
def what_a_source_may_not_give_is_not_given_by_a_second_reading(lab: Lab) -> str:
    runtime = _source_config(lab)
    before = _counts(runtime)
    intake.accept_from_source(runtime, "drop", [_golden_event(lab, n) for n in range(5)], "c-1")
    for kind in ("predictions", "feedback"):
        body = json.dumps(_golden_event(lab, 9)).encode()[:-1]  # broken, so it is kept
        intake.accept(runtime, kind, body, "auto", by="token ingest", may_give=_nothing)
    for _ in range(2):
        intake.retry(runtime, by=ADA)
    runtime.config = dataclasses.replace(runtime.config, sources={})  # its table is gone
    intake.retry(runtime, by=ADA)
    return "" if _counts(runtime) == before else f"{before} → {_counts(runtime)}"


def _counts(runtime: Runtime) -> tuple[int, int, int, int]:
    with runtime.store.read() as con:
        return (
            len(samples.golden(con)),
            len(samples.fresh(con)),
            len(samples.training(con)),
            len(samples.dev(con)),
        )


@CASES
def a_source_reads_through_no_link_and_no_pipe(lab: Lab) -> str:
    folder = lab.folder()
    secret = folder / "outside" / "secret.json"
    secret.parent.mkdir()
    secret.write_text('{"key": "the daemon alone may read this"}\n', encoding="utf-8")
    drop = folder / "drop"
    for make in (_linked_file, _linked_folder, _link_in_the_middle, _swapped, _pipe):
        place = drop / make.__name__
        place.mkdir(parents=True)
        make(place, secret)
        source = JsonLines()
        source.open({"path": f"{place}/**/*.json*"}, None)
        batch = source.poll(100, 0.0)
        source.close()
        if batch is not None and "daemon alone" in json.dumps(batch.events, default=str):
            return f"{make.__name__}: {batch.events}"
    return ""


def _linked_file(place: Path, secret: Path) -> None:
    (place / "events.jsonl").symlink_to(secret)


def _linked_folder(place: Path, secret: Path) -> None:
    (place / "events").symlink_to(secret.parent)


def _link_in_the_middle(place: Path, secret: Path) -> None:
    (place / "a").mkdir()
    (place / "a" / "b").symlink_to(secret.parent)


def _swapped(place: Path, secret: Path) -> None:
    (place / "good.jsonl").write_text("{}\n", encoding="utf-8")
    (place / "good.jsonl").unlink()
    (place / "good.jsonl").symlink_to("../../outside/secret.json")


def _pipe(place: Path, secret: Path) -> None:
    os.mkfifo(place / "events.jsonl")


# The golden set itself


@CASES
def a_disputed_row_is_not_replaced_by_its_opposite_in_the_running_decision(lab: Lab) -> str:
    runtime = lab.loop(labelling=LabellingTable(disputes=1_000))
    lost = _lost_rows(runtime, _worse(lab, runtime))
    with runtime.store.read() as con:
        texts = {row.sample.id: row.sample.text for row in samples.golden(con)}
    for name in lost:
        turning.dispute(runtime, name, ADA, "it is the other one", disputed=True)
    given = [sample(texts[name], INTENTS[2], "golden") for name in lost]
    before = champion(runtime)
    turning.add_samples(runtime, given, by=ADA)  # the held turn is judged again with them
    turning.run_until_idle(runtime)
    if champion(runtime) != before:
        return "the held turn promoted"
    if refused(lambda: turn_once(runtime)):
        turning.run_until_idle(runtime)
    last = _last(runtime)
    if champion(runtime) != before or last.status == "applied":
        return f"{last.id} is {last.status}: {last.because}"
    return ""


@CASES
def the_same_text_with_another_label_is_no_golden_row_beside_the_first(lab: Lab) -> str:
    runtime = lab.loop()
    with runtime.store.read() as con:
        known = [row.sample for row in samples.golden(con)][:6]
    before = _counts(runtime)
    spelt = [
        known[0].text,
        known[1].text.upper(),
        f"  {known[2].text}  ",
        known[3].text + ".",
        known[4].text.replace(" ", "\u00a0"),
        known[5].text + "\u200b",
    ]
    rows = [
        sample(text, next(i for i in INTENTS if i != old.intent), "golden")
        for text, old in zip(spelt, known, strict=True)
    ]
    told = turning.add_samples(runtime, rows, by=ADA)
    added = _counts(runtime)[0] - before[0]
    return f"{added} rows added, refused {told['contradicting']}" if added else ""


@CASES
def golden_rows_that_changed_under_their_seal_judge_nobody(lab: Lab) -> str:
    runtime = lab.loop()
    turning.reject(runtime, "d-3", BOB, "again")
    with runtime.store.write() as con:
        con.execute(
            "UPDATE samples SET intent = ? WHERE split = 'golden' AND intent = ?", INTENTS[:2][::-1]
        )
    runtime.config = dataclasses.replace(runtime.config, promotion=AUTO)
    before = champion(runtime)
    turn_once(runtime)
    return "" if champion(runtime) == before else "the gates promoted on it"


@CASES
def a_decision_judged_on_other_outcomes_is_seen_by_verify(lab: Lab) -> str:
    runtime = lab.loop()
    if not turning.verify(runtime, "d-3")["same"]:
        return "it does not verify as it is"
    with runtime.store.write() as con:
        con.execute("UPDATE outcomes SET champion_correct = NOT champion_correct")
    return "it verifies still" if turning.verify(runtime, "d-3")["same"] else ""


@CASES
def a_new_generation_during_a_turn_does_not_answer_for_the_old_one(lab: Lab) -> str:
    runtime = lab.loop(AUTO)
    turning.reject(runtime, "d-3", BOB, "again")
    opened = turning.request(runtime, "manual").id
    while _step(runtime, opened) != "gate":
        turning.advance(runtime, opened)
    easy = [
        sample(f"{lab.history.words[INTENTS[0]][4]} easy{n}", INTENTS[0], "golden")
        for n in range(60)
    ]
    turning.add_samples(runtime, easy, by=ADA, new_generation=True)
    before = champion(runtime)
    turning.run_until_idle(runtime)
    last = _last(runtime)
    if champion(runtime) != before:
        return f"{last.id} {last.status} on {last.rests_on.get('golden_generation')}"
    return ""


def _step(runtime: Runtime, turn: str) -> str:
    with runtime.store.read() as con:
        return turns.get(con, turn).state
