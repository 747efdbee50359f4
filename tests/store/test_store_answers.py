from __future__ import annotations

import pytest

from flywheel.protocols import AnswerStore, StoredAnswer
from flywheel.store import open_store, teacher
from flywheel.store.columns import scalar
from flywheel.store.teacher import AnswerTable, spent


def answer(key: str, usd: float = 0.01, **changes) -> StoredAnswer:
    given = {
        "key": key,
        "request": {"messages": [{"role": "user", "content": "写十句：听音乐"}]},
        "response": {"choices": [], "b": 1, "a": None},
        "usd": usd,
        "input_tokens": 120,
        "output_tokens": 80,
    }
    return StoredAnswer(**(given | changes))


def test_a_paid_answer_is_on_disk_when_put_returns(tmp_path):
    store = open_store(tmp_path / "flywheel.duckdb")
    kept: AnswerStore = AnswerTable(store, "t-1")
    assert kept.get(["k-1"]) == {}
    kept.put([answer("k-1")])
    store.close()
    again = open_store(tmp_path / "flywheel.duckdb")
    assert AnswerTable(again, "t-1").get(["k-1"]) == {"k-1": answer("k-1")}
    again.close()


def test_an_answer_cannot_be_undone_by_a_transaction_around_it(store):
    with pytest.raises(RuntimeError, match="part of another"), store.write():
        AnswerTable(store, "t-1").put([answer("k-1")])
    assert AnswerTable(store, "t-1").get(["k-1"]) == {}


def test_the_first_answer_under_a_key_stays(store):
    kept = AnswerTable(store, "t-1")
    kept.put([answer("k-1")])
    kept.put([answer("k-1", usd=9.0)])
    assert kept.get(["k-1"]) == {"k-1": answer("k-1")}


def test_many_answers_are_put_and_found_at_once(store):
    kept = AnswerTable(store, "t-1")
    kept.put([answer("k-1"), answer("k-2"), answer("k-1", usd=9.0)])
    assert kept.get(["k-2", "k-3", "k-1"]) == {"k-1": answer("k-1"), "k-2": answer("k-2")}
    assert kept.get([]) == {}


def test_however_many_answers_are_put_a_bounded_part_of_them_is_in_memory(store, monkeypatch):
    monkeypatch.setattr(teacher, "_HELD_BYTES", 1 << 20)
    kept = AnswerTable(store, "t-1")
    held = []
    for number in range(12):
        text = f"{number}" * (1 << 19)
        kept.put([answer(f"k-{number}", response={"choices": [text]})])
        with store.read() as con:
            held.append(scalar(con, "SELECT sum(memory_usage_bytes) FROM duckdb_memory()"))
    assert max(held[6:]) <= max(held[:6])
    assert kept.get(["k-7"])["k-7"].response == {"choices": ["7" * (1 << 19)]}


def test_a_turn_has_paid_for_what_it_bought_and_for_nothing_else(store):
    for turn, key, usd in (("t-1", "k-1", 0.25), ("t-2", "k-2", 4.0), ("t-1", "k-3", 0.5)):
        AnswerTable(store, turn).put([answer(key, usd)])
    AnswerTable(store, "t-1").put([answer("k-2", 9.0)])  # bought before: nothing is paid
    with store.read() as con:
        assert spent(con, "t-1") == 0.75
        assert spent(con, "t-2") == 4.0
        assert spent(con, "t-3") == 0.0
