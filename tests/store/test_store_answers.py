from __future__ import annotations

import pytest

from flywheel.protocols import AnswerStore, StoredAnswer
from flywheel.store import open_store
from flywheel.store.teacher import Answers, spent


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
    kept: AnswerStore = Answers(store)
    assert kept.get("k-1") is None
    kept.put(answer("k-1"))
    store.close()
    again = open_store(tmp_path / "flywheel.duckdb")
    assert Answers(again).get("k-1") == answer("k-1")
    again.close()


def test_an_answer_cannot_be_undone_by_a_transaction_around_it(store):
    with pytest.raises(RuntimeError, match="part of another"), store.write():
        Answers(store).put(answer("k-1"))
    assert Answers(store).get("k-1") is None


def test_the_first_answer_under_a_key_stays(store):
    kept = Answers(store)
    kept.put(answer("k-1"))
    kept.put(answer("k-1", usd=9.0))
    assert kept.get("k-1") == answer("k-1")


def test_money_is_summed_over_the_keys_asked_for(store):
    kept = Answers(store)
    for key, usd in (("k-1", 0.25), ("k-2", 0.5), ("k-3", 4.0)):
        kept.put(answer(key, usd))
    with store.read() as con:
        assert spent(con, {"k-1", "k-2", "absent"}) == 0.75
        assert spent(con, []) == 0.0
