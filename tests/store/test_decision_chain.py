"""The decision log is a chain: whatever is rewritten in it shows."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flywheel.records import Decision, GateResult
from flywheel.store import decisions, open_store

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
REWRITES = {
    "who": "UPDATE decision_events SET actor = 'uid:0' WHERE number = 2",
    "why": "UPDATE decision_events SET because = 'es war gut' WHERE number = 3",
    "when": "UPDATE decision_events SET happened_at = happened_at + INTERVAL 1 MICROSECOND "
    "WHERE number = 1",
    "status": "UPDATE decision_events SET status = 'rejected' WHERE number = 4",
    "a gate": "UPDATE decisions SET gates = replace(gates, 'FAIL', 'PASS') WHERE id = 'd-2'",
    "the challenger": "UPDATE decisions SET challenger = 'a-9' WHERE id = 'd-1'",
    "an event is gone": "DELETE FROM decision_events WHERE number = 2",
    "a decision is gone": "DELETE FROM decisions WHERE id = 'd-2'",
    "its hash is gone": "UPDATE decision_events SET hash = NULL WHERE number = 3",
    "a hash": "UPDATE decision_events SET hash = repeat('0', 64) WHERE number = 2",
    "a silent decision": "INSERT INTO decisions SELECT number + 5, 'd-9', turn, challenger, "
    "champion, verdict, decided_at, gates, intents, rests_on FROM decisions WHERE id = 'd-1'",
}


@pytest.fixture
def log(tmp_path):
    store = open_store(tmp_path / "flywheel.duckdb")
    with store.write() as con:
        for number in (1, 2):
            decisions.add(con, decision(number))
            at = NOON + timedelta(hours=number)
            decisions.set_status(con, f"d-{number}", "applied", "uid:7", "查过了", at)
    yield store
    store.close()


def decision(number):
    return Decision(
        id=f"d-{number}",
        turn=f"t-{number}",
        challenger=f"a-{number}",
        champion="a-0",
        verdict="hold",
        status="pending",
        by="gates",
        because="intents is undecided",
        at=NOON,
        gates=(GateResult(gate="intents", verdict="FAIL", effect=-0.1, n=40),),
        rests_on={"evidence": "e-1"},
    )


def test_an_honest_log_is_unbroken_and_each_event_carries_the_hash_before(log):
    with log.read() as con:
        found = decisions.check_chain(con)
        links = con.execute("SELECT previous, hash FROM decision_events ORDER BY number").fetchall()
    assert (found.events, found.problems, found.tip) == (4, (), links[-1][1])
    assert [previous for previous, _ in links] == ["", *(hashed for _, hashed in links[:-1])]


@pytest.mark.parametrize("what", REWRITES)
def test_whatever_is_rewritten_shows(log, what):
    with log.write() as con:
        con.execute(REWRITES[what])
        assert decisions.check_chain(con).problems


def test_events_from_before_the_chain_are_covered_by_the_first_that_is_chained(log):
    with log.write() as con:
        con.execute("UPDATE decision_events SET hash = NULL, previous = NULL")
        decisions.set_status(con, "d-2", "expired", "schedule", "nobody decided", NOON)
        assert decisions.check_chain(con).problems == ()
        con.execute("UPDATE decision_events SET actor = 'uid:0' WHERE number = 2")
        assert decisions.check_chain(con).problems == (
            "event 5 of d-2: does not follow the event before it",
        )


def test_what_somebody_did_beside_decisions_is_in_the_same_chain(log):
    with log.write() as con:
        decisions.record_act(con, "golden.imported", "ada (uid 7)", "387 rows", NOON)
        found, acts = decisions.check_chain(con), decisions.acts(con)
    assert (found.events, found.problems) == (5, ())
    assert acts == [
        {
            "number": 5,
            "at": NOON,
            "by": "ada (uid 7)",
            "what": "golden.imported",
            "because": "387 rows",
        }
    ]


@pytest.mark.parametrize(
    ("rewrite", "problem"),
    [
        (
            "UPDATE decision_events SET because = '3 rows' WHERE number = 5",
            "event 5 of no decision: was changed after it was written",
        ),
        (
            "UPDATE decision_events SET decision = NULL WHERE number = 4",
            "event 4 of no decision: was changed after it was written",
        ),
    ],
)
def test_an_act_that_is_rewritten_shows_and_so_does_an_event_made_an_act(log, rewrite, problem):
    with log.write() as con:
        decisions.record_act(con, "golden.imported", "ada (uid 7)", "387 rows", NOON)
        con.execute(rewrite)
        assert decisions.check_chain(con).problems == (problem,)


class Undone(Exception):
    """Rolls a transaction back."""


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_any_words_can_be_chained(log, words):
    with pytest.raises(Undone), log.write() as con:  # undone, so that each example is alone
        for word in words:
            readable = word.encode("utf-8", "ignore").decode()
            decisions.set_status(con, "d-1", "pending", readable, readable, NOON)
        assert decisions.check_chain(con).problems == ()
        assert decisions.check_chain(con).events == 4 + len(words)
        raise Undone
