"""Loading proves what was loaded: the faults that served models really have are all caught."""

import dataclasses
import json

import pytest
import torch
from tokenizers import Tokenizer

from flywheel import Router
from flywheel.errors import FlywheelError
from flywheel.worker import known_answers
from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter as adapters
from flywheel.worker.models.encoder import answering, lora
from flywheel.worker.models.encoder.engines import TorchEncoder
from flywheel.worker.models.encoder.layers import Encoder

NOT_AS_EVALUATED = "does not answer as it was evaluated: '"


def other_base(adapter, folder, **changed):
    """Point the adapter to a copy of its base in which some files are others."""
    folder.mkdir()
    there = base.load(base.BUNDLED).folder
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        if name in changed:
            (folder / name).write_bytes(changed[name](there / name))
        else:
            (folder / name).symlink_to(there / name)
    path = adapter / "flywheel.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"base": str(folder)}))


@pytest.mark.parametrize(
    "field",
    ["kind", "base", "base_sha256", "max_length", "depth", "rank", "alpha", "labels", "arguments",
     "slots", "scope", "graph_sha256", "id"],
)  # fmt: skip
@pytest.mark.parametrize("value", [None, [[]], {"x": []}, 10**9, -1, "x"])
def test_a_field_of_flywheel_json_that_was_damaged_is_an_error_and_no_traceback(
    adapter, field, value
):
    path = adapter / "flywheel.json"
    facts = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(facts | {field: value}), encoding="utf-8")
    with pytest.raises(FlywheelError):
        Router.load(adapter, engine="torch", verify=False)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b'{"base": NaN}'])
def test_a_flywheel_json_that_is_no_object_is_an_error_and_no_traceback(adapter, content):
    (adapter / "flywheel.json").write_bytes(content)
    with pytest.raises(FlywheelError, match="cannot be read"):
        Router.load(adapter, engine="torch", verify=False)


def test_the_whole_vector_is_asked(adapter):
    assert Router.load(adapter, engine="torch").proved == 20
    assert Router.load(adapter, engine="torch", verify=False).proved == 0


def test_the_rule_that_is_in_use_is_the_one_of_the_files(adapter):
    router = Router.load(adapter, engine="torch")
    facts = json.loads((adapter / "flywheel.json").read_text("utf-8"))
    assert router.rule == {name: facts[name] for name in ("labels", "max_length", "scope")}
    moved = dataclasses.replace(router._answerer._adapter.scope, threshold=0.125)
    router._answerer._adapter = dataclasses.replace(router._answerer._adapter, scope=moved)
    router._answerer._tokenizer = Tokenizer.from_str(router._answerer._tokenizer.to_str())
    router._answerer._tokenizer.enable_truncation(6)
    assert (router.rule["scope"]["threshold"], router.rule["max_length"]) == (0.125, 6)


def test_stale_weights_are_caught(adapter):
    tensors = adapters.load_file(adapter / "heads.safetensors")
    tensors["intents.bias"][0] += 1e-4
    adapters.save_file(tensors, adapter / "heads.safetensors")
    with pytest.raises(FlywheelError, match="its files are those of a-"):
        Router.load(adapter)


def test_stale_weights_of_the_base_are_caught(adapter, tmp_path):
    def changed(path):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        return content

    other_base(adapter, tmp_path / "base", **{"model.safetensors": changed})
    with pytest.raises(FlywheelError, match="is not the one the adapter was trained on"):
        Router.load(adapter)


def test_the_same_base_in_another_folder_is_the_same_base(adapter, tmp_path):
    other_base(adapter, tmp_path / "base")
    assert Router.load(adapter, engine="torch").adapter == adapter.name


def test_another_tokenizer_is_caught(adapter, tmp_path):
    def cased(path):
        return path.read_bytes().replace(b'"lowercase":true', b'"lowercase":false')

    other_base(adapter, tmp_path / "base", **{"tokenizer.json": lambda p: cased(p) + b" "})
    with pytest.raises(FlywheelError, match="has another tokenizer") as error:
        Router.load(adapter)
    assert "put the old file back" in error.value.hint


def test_lora_that_is_ignored_is_caught(adapter, monkeypatch):
    monkeypatch.setattr(lora, "merged_weights", lambda *_: {})
    with pytest.raises(FlywheelError, match=NOT_AS_EVALUATED):
        Router.load(adapter, engine="torch")


def test_a_model_in_bfloat16_is_caught(adapter, monkeypatch):
    exact = TorchEncoder.last_states

    def rounded(self, ids, mask):
        with torch.autocast("cpu", torch.bfloat16):
            return exact(self, ids, mask).float()

    monkeypatch.setattr(TorchEncoder, "last_states", rounded)
    with pytest.raises(FlywheelError, match=NOT_AS_EVALUATED):
        Router.load(adapter, engine="torch")


@pytest.mark.parametrize("length", [8, 64])
def test_another_length_of_texts_is_caught(adapter, monkeypatch, length):
    exact = base.open_tokenizer
    monkeypatch.setattr(base, "open_tokenizer", lambda of, _: exact(of, length))
    with pytest.raises(FlywheelError, match=NOT_AS_EVALUATED):
        Router.load(adapter, engine="torch")


def test_another_threshold_in_the_engine_is_caught(adapter, monkeypatch):
    exact = answering.calls

    def wrong(of, *rest):
        return exact(
            dataclasses.replace(of, scope=dataclasses.replace(of.scope, threshold=1e9)), *rest
        )

    monkeypatch.setattr(answering, "calls", wrong)
    router = Router.load(adapter, engine="torch", verify=False)
    assert "is answered none() " in router.verify()


def test_a_vector_that_was_changed_is_caught(adapter):
    path = adapter / known_answers.FILE
    path.write_text(path.read_text("utf-8").replace('"confidence": 0.', '"confidence": 0.0', 1))
    with pytest.raises(FlywheelError, match=NOT_AS_EVALUATED):
        Router.load(adapter, engine="torch")


def test_an_adapter_of_an_earlier_version_still_loads_and_proves_nothing(adapter, tmp_path):
    earlier = dataclasses.replace(adapters.load(adapter), tokenizer_sha256="")
    folder = tmp_path / "earlier"
    name = adapters.write(folder, earlier, Encoder.load(base.load(base.BUNDLED)), {})
    assert "tokenizer_sha256" not in json.loads((folder / "flywheel.json").read_text("utf-8"))
    router = Router.load(folder, engine="torch")
    assert (router.adapter, router.proved, router.verify()) == (name, 0, "")
    assert torch.get_num_threads() == 1
