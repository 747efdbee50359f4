"""A decision is recomputed from its stored outcomes, to the byte."""

import contextlib
import shutil

import pytest
from runtimes import Parrot, produce_failures, runtime_in, seed_runtime, turn_once

from flywheel.config import GatesTable, IntentsRule
from flywheel.errors import NotFound
from flywheel.turn import integrity, rollback, verify

CHANGES = {
    "evidence": "UPDATE outcomes SET champion_correct = true",
    "gates": "UPDATE decisions SET gates = replace(gates, 'PASS', 'FAIL') WHERE id = 'd-2'",
    "intents": "UPDATE decisions SET intents = '[]' WHERE id = 'd-2'",
    "ruling": "UPDATE decision_events SET because = 'looks good' WHERE decision = 'd-2'",
}


@pytest.fixture(scope="module")
def two_decisions(tmp_path_factory):
    """A folder with a first champion and the decision about the next."""
    folder = tmp_path_factory.mktemp("decided")
    runtime = runtime_in(folder, teacher=Parrot())
    with contextlib.closing(runtime.store):
        seed_runtime(runtime)
        turn_once(runtime)
        produce_failures(runtime)
        turn_once(runtime)
    return folder


@pytest.fixture
def decided(two_decisions, tmp_path):
    shutil.copytree(two_decisions, tmp_path, symlinks=True, dirs_exist_ok=True)
    runtime = runtime_in(tmp_path, teacher=Parrot())
    yield runtime
    runtime.store.close()


def test_every_decision_of_a_turn_is_recomputed_to_the_same_bytes(decided):
    for name in ("d-1", "d-2"):
        found = verify(decided, name)
        assert (found["same"], [check["ok"] for check in found["checks"]]) == (True, [True] * 4)
    assert integrity.check(decided.store, decided.config.state_dir)["problems"] == []
    with decided.store.write() as con:
        con.execute("UPDATE decision_events SET actor = 'uid:0' WHERE number = 3")
    (found,) = integrity.check(decided.store, decided.config.state_dir)["problems"]
    assert found == "the decision log was changed: event 3 of d-1: was changed after it was written"


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_behind_the_decision_is_found_where_it_is(decided, what):
    with decided.store.write() as con:
        con.execute(CHANGES[what])
    found = verify(decided, "d-2")
    assert not found["same"]
    assert what in [check["what"] for check in found["checks"] if not check["ok"]]


def test_later_rules_do_not_change_what_an_old_decision_recomputes_to(decided):
    import dataclasses

    rules = GatesTable(intents=IntentsRule(margin=0.05))
    later = dataclasses.replace(decided, config=dataclasses.replace(decided.config, gates=rules))
    assert verify(later, "d-2")["same"]


def test_what_nobody_judged_cannot_be_recomputed_and_says_so(decided):
    made = rollback(decided, None, "uid:0", "complaints")
    found = verify(decided, made.id)
    assert (found["same"], found["checks"][0]["what"]) == (False, "grounds")
    with pytest.raises(NotFound):
        verify(decided, "d-99")
