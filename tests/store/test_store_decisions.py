from __future__ import annotations

from datetime import timedelta

import pytest

from flywheel.errors import NotFound
from flywheel.records import Adapter, Decision, GateResult, IntentVerdict, Outcome, Report
from flywheel.store import adapters, decisions


def adapter(key: str, now, **changes) -> Adapter:
    given = {
        "id": key,
        "base": "bundled:all-minilm-l6-v2",
        "recipe": "flywheel",
        "dataset": "ds-1",
        "parent": None,
        "created_at": now,
        "state": "challenger",
        "metrics": {"dev_accuracy": 0.91, "labels": ["听音乐"]},
    }
    return Adapter(**(given | changes))


def decision(key: str, now, **changes) -> Decision:
    given = {
        "id": key,
        "turn": "t-1",
        "challenger": "a-2",
        "champion": "a-1",
        "verdict": "promote",
        "status": "pending",
        "by": "gates",
        "because": "all gates pass",
        "at": now,
        "gates": (
            GateResult(
                gate="overall", verdict="PASS", effect=0.02, value=0.003, threshold=0.05, n=9
            ),
        ),
        "intents": (
            IntentVerdict(
                intent="听音乐",
                n=40,
                champion_recall=0.8,
                challenger_recall=None,
                losses=1,
                gains=4,
                e_value=26.7,
                f_value=None,
                verdict="PASS",
            ),
        ),
        "rests_on": {"golden": "h-1"},
    }
    return Decision(**(given | changes))


# ---- decisions ---------------------------------------------------------------------------


def test_a_decision_comes_back_with_every_number(store, now):
    with store.write() as con:
        assert decisions.next_id(con) == "d-1"
        decisions.add(con, decision("d-1", now))
        assert decisions.next_id(con) == "d-2"
        assert decisions.get(con, "d-1") == decision("d-1", now)
        with pytest.raises(ValueError, match="d-1 is recorded already"):
            decisions.add(con, decision("d-1", now))


def test_the_last_event_holds_the_status_and_none_is_overwritten(store, now):
    later = now + timedelta(hours=1)
    with store.write() as con:
        decisions.add(con, decision("d-1", now))
        decisions.set_status(con, "d-1", "applied", "uid 1000", "查过了", later)
        stands = decisions.get(con, "d-1")
        history = decisions.events(con, "d-1")
    assert (stands.status, stands.by, stands.because) == ("applied", "uid 1000", "查过了")
    assert stands.at == now
    assert history == [
        {"at": now, "by": "gates", "what": "promote", "because": "all gates pass"},
        {"at": later, "by": "uid 1000", "what": "applied", "because": "查过了"},
    ]


def test_decisions_are_listed_newest_first_by_the_status_they_have_now(store, now):
    with store.write() as con:
        for number in range(1, 4):
            decisions.add(con, decision(f"d-{number}", now))
        decisions.set_status(con, "d-2", "rejected", "uid 0", "no", now)
        assert [d.id for d in decisions.list_decisions(con)] == ["d-3", "d-2", "d-1"]
        assert [d.id for d in decisions.list_decisions(con, "pending")] == ["d-3", "d-1"]
        assert [d.id for d in decisions.list_decisions(con, "pending", limit=1)] == ["d-3"]
        assert [d.id for d in decisions.list_decisions(con, status="rejected")] == ["d-2"]
        assert decisions.list_decisions(con, "expired") == []


def test_an_unknown_decision_is_named(store, now):
    with store.write() as con:
        with pytest.raises(NotFound, match="there is no decision d-7"):
            decisions.get(con, "d-7")
        with pytest.raises(NotFound, match="there is no decision d-7"):
            decisions.set_status(con, "d-7", "applied", "gates", "", now)


# ---- adapters and champions --------------------------------------------------------------


def test_an_adapter_comes_back_as_it_went_in_and_only_once(store, now):
    with store.write() as con:
        assert adapters.add(con, adapter("a-1", now))
        assert not adapters.add(con, adapter("a-1", now, recipe="other"))
        adapters.add(con, adapter("a-2", now, parent="a-1"))
        assert adapters.get(con, "a-1") == adapter("a-1", now)
        assert [a.id for a in adapters.list_adapters(con)] == ["a-2", "a-1"]
        adapters.set_state(con, "a-2", "rejected")
        assert adapters.get(con, "a-2").state == "rejected"
        for unknown in (
            lambda: adapters.get(con, "a-9"),
            lambda: adapters.set_state(con, "a-9", "retired"),
            lambda: adapters.set_champion(con, "a-9", "d-1", now),
        ):
            with pytest.raises(NotFound, match="there is no adapter a-9"):
                unknown()


def crown(con, now, *keys) -> None:
    for key in keys:
        adapters.set_champion(con, key, "d-1", now)


def test_one_adapter_at_most_is_champion(store, now):
    with store.write() as con:
        assert adapters.champion(con) is None
        adapters.add(con, adapter("production", now, state="external"))
        adapters.add(con, adapter("a-1", now))
        adapters.add(con, adapter("a-2", now))
        crown(con, now, "production", "a-1", "a-2", "a-2")
        states = {a.id: a.state for a in adapters.list_adapters(con)}
        assert states == {"production": "external", "a-1": "retired", "a-2": "champion"}
        assert adapters.champion(con) == "a-2"
        assert con.execute("SELECT count(*) FROM champions").fetchone() == (3,)


def test_rolling_back_twice_goes_back_two_champions(store, now):
    with store.write() as con:
        for key in ("a-1", "a-2", "a-3"):
            adapters.add(con, adapter(key, now))
        assert adapters.previous_champion(con) is None
        crown(con, now, "a-1", "a-2", "a-3")
        walked = []
        while (previous := adapters.previous_champion(con)) is not None:
            walked.append(previous)
            crown(con, now, previous)
    assert walked == ["a-2", "a-1"]


# ---- reports -----------------------------------------------------------------------------


def outcome(key: str, **changes) -> Outcome:
    given = {
        "sample": key,
        "split": "golden",
        "intent": "听音乐",
        "champion_intent": None,
        "challenger_intent": "none",
        "champion_correct": None,
        "challenger_correct": False,
        "challenger_confidence": 0.4,
        "slices": {"渠道": "语音"},
    }
    return Outcome(**(given | changes))


def test_a_report_comes_back_row_by_row_in_its_order(store):
    rows = (outcome("s-2", bought=True), outcome("s-1", champion_correct=True, must_pass=True))
    report = Report(champion="a-1", challenger="a-2", outcomes=rows)
    with store.write() as con:
        assert adapters.load_report(con, "t-1") is None
        adapters.save_report(con, "t-1", report)
        assert adapters.load_report(con, "t-1") == report


def test_a_turn_judged_again_has_its_last_report(store):
    first = Report(champion="a-1", challenger="a-2", outcomes=(outcome("s-1"),))
    again = Report(champion="a-1", challenger="a-2", outcomes=(outcome("s-1"), outcome("s-2")))
    empty = Report(champion="a-1", challenger="a-3", outcomes=())
    with store.write() as con:
        adapters.save_report(con, "t-1", first)
        adapters.save_report(con, "t-1", again)
        adapters.save_report(con, "t-2", empty)
        assert adapters.load_report(con, "t-1") == again
        assert adapters.load_report(con, "t-2") == empty
