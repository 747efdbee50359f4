from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.errors import NotFound
from flywheel.records import TurnRecord
from flywheel.store import turns


def test_turns_are_numbered_and_open_until_they_end(store, now):
    with store.write() as con:
        first = turns.open_turn(con, "schedule", now, "diagnose")
        second = turns.open_turn(con, "manual", now, "diagnose")
        assert first == turns.Turn(
            id="t-1",
            state="diagnose",
            trigger="schedule",
            opened_at=now,
            closed_at=None,
            cost_usd=0.0,
            decision=None,
            error=None,
            record=TurnRecord(),
        )
        turns.close(con, "t-1", now, "failed", "the worker died")
        assert turns.open_turns(con) == [second]
        assert [turn.id for turn in turns.list_turns(con)] == ["t-2", "t-1"]
        assert [turn.id for turn in turns.list_turns(con, 1)] == ["t-2"]
        closed = turns.get(con, "t-1")
    assert (closed.state, closed.closed_at, closed.error) == ("failed", now, "the worker died")


def test_a_step_leaves_its_outputs_its_cost_and_what_comes_next(store, now):
    with store.write() as con:
        turns.open_turn(con, "manual", now, "diagnose")
        turns.start_step(con, "t-1", "diagnose", now)
        assert turns.steps(con, "t-1")[0].seconds is None
        turns.finish_step(
            con,
            "t-1",
            "diagnose",
            now + timedelta(seconds=2.5),
            state="done",
            detail="2 intents fail",
            next_state="synthesize",
            outputs=lambda record: replace(record, written={"听音乐": 2}, new=1),
            cost_usd=0.25,
        )
        turns.finish_step(
            con,
            "t-1",
            "synthesize",
            now,
            state="skipped",
            detail="",
            next_state="done",
            outputs=lambda record: replace(record, new=2),
            cost_usd=0.5,
        )
        turn, steps = turns.get(con, "t-1"), turns.steps(con, "t-1")
    assert steps == [
        turns.Step(
            name="diagnose", state="done", started_at=now, seconds=2.5, detail="2 intents fail"
        ),
        turns.Step(name="synthesize", state="skipped", started_at=now, seconds=0.0, detail=""),
    ]
    assert turn.record == TurnRecord(written={"听音乐": 2}, new=2)
    assert (turn.state, turn.cost_usd, turn.closed_at) == ("done", 0.75, now)


def test_a_step_that_runs_again_shows_its_last_run_in_its_place(store, now):
    later = now + timedelta(hours=1)
    with store.write() as con:
        turns.open_turn(con, "manual", now, "train")
        turns.start_step(con, "t-1", "train", now)
        turns.start_step(con, "t-1", "evaluate", now)
        turns.start_step(con, "t-1", "train", later)
        first, second = turns.steps(con, "t-1")
    assert (first.name, first.state, first.started_at) == ("train", "running", later)
    assert second.name == "evaluate"


def test_a_held_turn_has_ended_until_it_is_reopened(store, now):
    with store.write() as con:
        turns.open_turn(con, "manual", now, "decide")
        turns.set_decision(con, "t-1", "d-1")
        turns.close(con, "t-1", now, "held")
        assert turns.open_turns(con) == []
        turns.reopen(con, "t-1", "evaluate")
        (turn,) = turns.open_turns(con)
    assert (turn.state, turn.decision, turn.closed_at) == ("evaluate", "d-1", None)


def test_a_step_and_its_effects_are_one_transaction(store, now):
    with store.write() as con:
        turns.open_turn(con, "manual", now, "train")
        turns.start_step(con, "t-1", "train", now)

    def die_before_the_commit():
        with store.write() as con:
            turns.finish_step(
                con,
                "t-1",
                "train",
                now,
                state="done",
                detail="",
                next_state="evaluate",
                outputs=lambda record: replace(record, challenger="a-1"),
            )
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_before_the_commit()
    with store.read() as con:
        assert (turns.get(con, "t-1").state, turns.get(con, "t-1").record) == (
            "train",
            TurnRecord(),
        )
        assert turns.steps(con, "t-1")[0].state == "running"


def test_an_unknown_turn_is_named(store, now):
    with store.write() as con:
        for call in (
            lambda: turns.get(con, "t-9"),
            lambda: turns.close(con, "t-9", now, "done"),
            lambda: turns.set_decision(con, "t-9", "d-1"),
            lambda: turns.reopen(con, "t-9", "train"),
        ):
            with pytest.raises(NotFound, match="there is no turn t-9"):
                call()


def test_a_slot_is_served_once_and_the_last_is_remembered(store, now):
    with store.write() as con:
        assert turns.last_slot(con, "nightly") is None
        assert turns.record_slot(con, "nightly", now)
        assert not turns.record_slot(con, "nightly", now)
        assert turns.record_slot(con, "other", now + timedelta(days=9))
        assert turns.record_slot(con, "nightly", now - timedelta(days=1))
        assert turns.last_slot(con, "nightly") == now


def test_a_record_of_an_earlier_version_is_read_without_what_is_no_field_any_more(store, now):
    brief = {"id": "b-1", "intent": {"name": "play"}, "neighbour": None, "failed_texts": ["x"]}
    brief |= {"examples": [], "contrast": [], "ask": 2, "why": "it fails"}
    stored = {"briefs": [brief], "failing": ["play"], "queries": [3, 30], "new": "many"}
    with store.write() as con:
        turns.open_turn(con, "manual", now, "diagnose")
        con.execute("UPDATE turns SET cursor = ?", [json.dumps(stored)])
        record = turns.get(con, "t-1").record
    assert (record.briefs[0].failed_texts, record.briefs[0].failure) == (("x",), "wrong_intent")
    assert (record.queries, record.new) == ((3, 30), 0)


def test_a_step_sets_its_fields_on_the_record_as_it_is_at_its_commit(store, now):
    with store.write() as con:
        turns.open_turn(con, "manual", now, "diagnose")
        before = turns.get(con, "t-1").record
        con.execute("""UPDATE turns SET cursor = '{"seal": "written meanwhile"}'""")
        turns.finish_step(
            con,
            "t-1",
            "diagnose",
            now,
            state="done",
            detail="",
            next_state="synthesize",
            outputs=lambda record: replace(record, new=1),
        )
        record = turns.get(con, "t-1").record
    assert (before.seal, record.seal, record.new) == ("", "written meanwhile", 1)


def test_classes_that_several_threads_read_are_known_before_there_are_threads():
    """Two that ask msgspec first at the same time end the process: nothing may be left to them."""
    code = """
import flywheel.store.turns
from flywheel.records import Brief, TurnRecord
print(all("__msgspec_cache__" in vars(each) for each in (Brief, TurnRecord)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"
