"""ONNX Runtime answers as torch does, from a graph without weights that the adapter carries."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny_training import DEV, TEXTS

from flywheel import Router
from flywheel.errors import FlywheelError
from flywheel.worker import engine_choice
from flywheel.worker.models.encoder import adapter as adapters
from flywheel.worker.models.encoder import engines, lora

LINES = [line for texts in (TEXTS, DEV) for lines in texts.values() for line in lines]
LINES += ["", "我要听音乐" * 40, "wake me at seven, " * 90]


@pytest.fixture(scope="module")
def both(job):
    torch_router = Router.load(job[0] / "adapter", engine="torch")
    return torch_router, Router.load(job[0] / "adapter", engine="onnx", beside=torch_router)


def test_both_engines_give_the_same_answers(both):
    expected, found = (router.answer_batch(LINES) for router in both)
    assert [a.intent for a in found] == [a.intent for a in expected]
    assert [a.arguments for a in found] == [a.arguments for a in expected]
    confidences = [[a.confidence for a in answers] for answers in (expected, found)]
    assert confidences[1] == pytest.approx(confidences[0], abs=1e-4)
    assert [router.engine for router in both] == ["torch", "onnx"]
    assert [router.proved for router in both] == [20, 20]


def test_threads_that_ask_at_a_time_are_answered_as_one_is(both):
    parts = [[line] for line in LINES[:12]] + [LINES[n : n + 5] for n in range(0, 30, 5)]
    for router in both:
        expected = [router.answer_batch(part) for part in parts]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(router.answer_batch, parts))
        assert found == expected


def test_the_bare_model_is_asked_for_measurements(both, monkeypatch):
    shapes = []
    for router in both:
        whole = router._answerer._whole
        monkeypatch.setattr(whole, "last_states", lambda ids, mask: shapes.append(tuple(ids.shape)))
        assert router.forward(["wake me", "at seven", "now"]) is None
    assert shapes == [(3, 4), (3, 4)]


def test_the_graph_holds_no_weight_and_its_hash_is_a_fact_of_the_adapter(job):
    folder = job[0] / "adapter"
    assert (folder / "graph.onnx").stat().st_size < 200_000
    facts = json.loads((folder / "flywheel.json").read_text("utf-8"))
    assert len(facts["graph_sha256"]) == 64
    without = adapters.content_id(adapters.load(folder))
    assert without == facts["id"]  # how it is computed is no part of what is answered


def test_a_table_that_is_only_looked_up_in_is_not_copied(both):
    tables = both[1]._answerer._whole._session._tables
    model = both[0]._answerer._whole._model
    table = dict(model.named_parameters())["embeddings.word_embeddings.weight"]
    assert tables["[table embeddings.word_embeddings.weight]"].data_ptr() == table.data_ptr()


def test_a_graph_that_was_changed_is_refused(adapter):
    graph = adapter / "graph.onnx"
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(FlywheelError, match="is not the one that it was trained with"):
        Router.load(adapter)


def test_lora_that_is_ignored_is_caught_with_onnx_too(adapter, monkeypatch):
    monkeypatch.setattr(lora, "merged_weights", lambda *_: {})
    with pytest.raises(FlywheelError, match="does not answer as it was evaluated"):
        Router.load(adapter, engine="onnx")


def test_where_onnx_gives_other_answers_auto_takes_torch(adapter, monkeypatch):
    exact = engines.OnnxEncoder.last_states
    monkeypatch.setattr(
        engines.OnnxEncoder, "last_states", lambda self, ids, mask: -exact(self, ids, mask)
    )
    monkeypatch.setattr(engine_choice, "measured", lambda answerers: {"torch": 9, "onnx": 1})
    assert Router.load(adapter).engine == "torch"
    assert Router.load(adapter, verify=False).engine == "onnx"


def test_an_adapter_without_a_graph_is_answered_with_torch(adapter):
    path = adapter / "flywheel.json"
    facts = json.loads(path.read_text("utf-8"))
    del facts["graph_sha256"]
    path.write_text(json.dumps(facts), "utf-8")
    assert Router.load(adapter).engine == "torch"
    with pytest.raises(FlywheelError, match="has no graph for ONNX Runtime") as error:
        Router.load(adapter, engine="onnx")
    assert "train again where flywheel" in error.value.hint


def test_without_onnx_runtime_torch_answers_and_the_installation_is_named(adapter, monkeypatch):
    monkeypatch.setattr(engines, "onnx_installed", lambda: False)
    assert Router.load(adapter).engine == "torch"
    with pytest.raises(FlywheelError, match="it is not installed") as error:
        Router.load(adapter, engine="onnx")
    assert "pip install 'flywheel" in error.value.hint


def test_the_fastest_is_measured_once_and_noted_in_the_state_folder(adapter, monkeypatch):
    asked = []
    monkeypatch.setattr(
        engine_choice, "measured", lambda a: asked.append(sorted(a)) or {"onnx": 5.0, "torch": 4.0}
    )
    assert [Router.load(adapter).engine for _ in range(2)] == ["torch", "torch"]
    assert asked == [["onnx", "torch"]]
    note = adapter.parent.parent / "cache" / "engines.json"
    assert list(json.loads(note.read_text()).values()) == ["torch"]
    note.write_text("{")
    assert Router.load(adapter).engine == "torch"
    assert len(asked) == 2


def test_beside_another_adapter_its_engine_is_taken(adapter, both, monkeypatch):
    monkeypatch.setattr(engine_choice, "fastest", None)
    assert [Router.load(adapter, beside=router).engine for router in both] == ["torch", "onnx"]


def test_every_engine_is_timed_on_the_same_texts():
    texts = {"a": [], "b": []}
    answerers = {name: lambda batch, n=name: texts[n].extend(batch) for name in texts}
    assert set(engine_choice.measured(answerers)) == {"a", "b"}
    assert texts["a"] == texts["b"]
    assert len(texts["a"]) == 15
