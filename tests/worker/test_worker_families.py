"""Any encoder of `transformers` is a base: tiny ones of several families, made at random."""

import dataclasses
import json

import pyarrow.parquet as pq
import pytest
import torch
import transformers
from tiny_training import TEXTS, spec
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter, lora, onnx_export
from flywheel.worker.models.encoder.engines import weight_name
from flywheel.worker.models.encoder.frozen_states import FrozenStates, padded_ids, run_upper
from flywheel.worker.models.encoder.layers import Encoder, pool
from flywheel.worker.models.encoder.model import TrainedEncoder
from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run

SIZES = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2,
         "intermediate_size": 64, "max_position_embeddings": 40, "pad_token_id": 1}  # fmt: skip
FAMILIES = {
    "distilbert": transformers.DistilBertConfig(
        dim=32, n_layers=4, n_heads=2, hidden_dim=64, max_position_embeddings=40, pad_token_id=1
    ),
    "xlm-roberta": transformers.XLMRobertaConfig(**SIZES),
    "mpnet": transformers.MPNetConfig(**SIZES),
    "albert": transformers.AlbertConfig(**SIZES, embedding_size=16),
}
LINES = [line for lines in TEXTS.values() for line in lines]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_of_a_family_is_exported_without_its_weights(tmp_path, family):
    encoder = Encoder.load(base.load(str(made(tmp_path / family, FAMILIES[family]))))
    graph = onnx_export.graph(encoder, 0 if family == "albert" else 1, tmp_path)
    assert all(weight_name(name) in graph for name in encoder.linear_weights(0))
    assert len(graph) < 200_000
    (kept,) = (tmp_path / "graphs").glob("*.onnx")
    assert kept.read_bytes() == graph


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_encoder_of_another_family_is_trained_and_plain_peft_loads_it(tmp_path, family):
    import peft

    folder = made(tmp_path / family, FAMILIES[family])
    told = spec(tmp_path, base=str(folder), recipe="balanced")
    metrics = run(tmp_path, told, ProgressLog(tmp_path / "p"))["metrics"]
    trained = adapter.load(tmp_path / "adapter")
    assert not trained.unchanged
    parted = family != "albert"  # its layers share their weights, so none of them is alone
    assert trained.depth == (1 if parted else 0)
    assert metrics["kept"].split(":")[0] == ("states below layer 1" if parted else "token ids")
    model = transformers.AutoModel.from_pretrained(folder)
    tuned = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    frozen = FrozenStates(base.load(str(folder)), trained.depth, 32, None)
    ids, mask = padded_ids(base.encode(frozen.tokenizer, LINES))
    with torch.no_grad():
        ids = ids.masked_fill(~mask, 1)
        theirs = pool(
            tuned(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask, "mean"
        )
    states = frozen.states(LINES)
    upper = lora.merged(frozen.encoder, trained.depth, trained.factors, trained.alpha)
    ours = run_upper(upper, 32, states.hidden).embedding
    assert float((ours - theirs).abs().max()) < 1e-3
    assert float((states.embedding - theirs).abs().max()) > 1e-3


def test_the_same_job_makes_the_same_adapter_in_a_base_that_cannot_be_parted(tmp_path):
    folder = made(tmp_path / "base", FAMILIES["albert"])
    names = set()
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        told = spec(tmp_path / place, base=str(folder), cache_dir=str(tmp_path))
        names.add(run(tmp_path / place, told, ProgressLog(tmp_path / "p"))["adapter"])
    assert len(names) == 1


def test_predictions_need_no_model_when_nothing_was_adapted_and_all_is_known(tmp_path):
    folder = made(tmp_path / "base", FAMILIES["distilbert"])
    told = spec(tmp_path, base=str(folder), recipe="frozen")
    run(tmp_path, told, ProgressLog(tmp_path / "p"))
    trained = dataclasses.replace(adapter.load(tmp_path / "adapter"), tag_head=None)
    frozen = FrozenStates(base.load(str(folder)), trained.depth, 32, tmp_path / "cache")
    texts = pq.read_table(told["dataset"])["text"].to_pylist()
    assert len(TrainedEncoder(trained, frozen).answer(texts).intents) == len(texts)
    assert "encoder" not in vars(frozen)


def made(folder, config):
    """Save a random model of that family, and a tokenizer that knows the tiny dataset."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<unk>", "<pad>", "<s>", "</s>"]
    tokenizer.train_from_iterator(LINES, trainers.WordLevelTrainer(special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    config.vocab_size = tokenizer.get_vocab_size()
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == config.vocab_size
    return folder
