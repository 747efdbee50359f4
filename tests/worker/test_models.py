"""A kind of model is one module and one row: the jobs know it by its protocol alone."""

import json

import pyarrow.parquet as pq
import pytest
import word_model
from tiny_training import DEV, TEXTS, spec

from flywheel.errors import FlywheelError
from flywheel.worker import crossfit, models, predict, train
from flywheel.worker.models.base import BUNDLED
from flywheel.worker.progress import ProgressLog


@pytest.fixture
def base(monkeypatch, tmp_path):
    """A base of the second kind, whose row is in the registry."""
    monkeypatch.setattr(models, "KINDS", (word_model.ROW, *models.KINDS))
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(word_model.BASE))
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize("recipe", ["balanced", "auto"])
def test_a_second_kind_is_trained_and_answers_through_the_same_jobs(base, tmp_path, recipe):
    told = spec(tmp_path, base=base, recipe=recipe, learn_dev=True)
    values = train.run(tmp_path, told, ProgressLog(tmp_path / "p"))
    assert values["metrics"]["dev_accuracy"] > 0.5
    assert values["metrics"]["dev_learned"] == sum(len(DEV[i]) for i in DEV if i != "none")
    assert len(pq.read_table(tmp_path / "dev.parquet")) == sum(map(len, DEV.values()))
    rows = pq.read_table(told["dataset"])
    pq.write_table(rows, tmp_path / "rows.parquet")
    told |= {"adapters": {"a-1": str(tmp_path / "adapter")}, "timed": 5, "folds": 2}
    answered = predict.run(tmp_path, told, ProgressLog(tmp_path / "p"))
    assert answered["hashes"] == {"a-1": values["adapter"]}
    assert len(answered["latency_ms"]["a-1"]) == 2
    assert crossfit.run(tmp_path, told, ProgressLog(tmp_path / "p"))["rows"] == len(rows)


def test_the_base_decides_the_kind(base):
    assert models.find_base(base)[1].name == "words"
    assert models.find_base(BUNDLED)[1].name == "encoder"


def test_adapters_on_one_base_share_it_and_each_has_its_own_kind(base, tmp_path, trained):
    told = spec(tmp_path, base=base)
    train.run(tmp_path, told, ProgressLog(tmp_path / "p"))
    words, encoder = tmp_path / "adapter", trained[0] / "adapter"
    loaded = models.load({"w": words, "v": words, "e": encoder})
    assert loaded["w"].model is loaded["v"].model
    assert loaded["e"].content_id == trained[1]["adapter"]
    assert loaded["e"].answer([TEXTS["joke"][0]], lambda _: None).intents == ["joke"]


def test_an_adapter_from_before_kinds_were_written_is_an_encoder(trained, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for path in (trained[0] / "adapter").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    facts = json.loads((folder / "flywheel.json").read_text("utf-8"))
    assert facts.pop("kind") == "encoder"
    (folder / "flywheel.json").write_text(json.dumps(facts), "utf-8")
    assert models.load({"a": folder})["a"].content_id == trained[1]["adapter"]


@pytest.mark.parametrize("facts", ["", "{}", '{"kind": "tree", "base": "b", "max_length": 1}'])
def test_an_adapter_of_no_known_kind_is_refused_by_name(tmp_path, facts):
    (tmp_path / "flywheel.json").write_text(facts)
    with pytest.raises(FlywheelError, match=f"adapter {tmp_path.name} cannot be read"):
        models.load({"a": tmp_path})


def test_an_adapter_on_other_bytes_of_its_base_is_refused(base, tmp_path, trained):
    folder = tmp_path / "a"
    folder.mkdir()
    for path in (trained[0] / "adapter").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    facts = json.loads((folder / "flywheel.json").read_text("utf-8"))
    (folder / "flywheel.json").write_text(json.dumps(facts | {"base_sha256": "0"}), "utf-8")
    with pytest.raises(FlywheelError, match="is not the one the adapter was trained on"):
        models.load({"a": folder})
