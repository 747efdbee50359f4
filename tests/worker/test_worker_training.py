"""Training makes an adapter that plain PEFT loads, that is the same each time, and that learns."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pages import ROOT, blocks
from PIL import Image
from tiny_training import COLUMNS, DEV, TEXTS, spec

from flywheel.errors import FlywheelError
from flywheel.worker import predict, recipes
from flywheel.worker.models import base
from flywheel.worker.models.encoder import adapter, lora
from flywheel.worker.models.encoder.frozen_states import FrozenStates, padded_ids, run_upper
from flywheel.worker.models.encoder.layers import pool
from flywheel.worker.models.encoder.model import TrainedEncoder
from flywheel.worker.progress import ProgressLog
from flywheel.worker.train import run

LINES = [line for lines in (*TEXTS.values(), *DEV.values()) for line in lines]


def test_the_adapter_knows_what_it_was_taught(trained):
    folder, values = trained
    calls = answers(folder / "adapter", LINES[:40])
    truth = [intent for intent, lines in TEXTS.items() for _ in lines]
    assert sum(a == b for a, b in zip(calls.intents, truth, strict=True)) >= 38
    assert values["metrics"]["dev_accuracy"] >= 0.8
    assert [line["epoch"] for line in values["metrics"]["curve"]] == [1, 2, 3]


def exported(home, folder, name):
    """The adapter as `flywheel adapters export` packs it, unpacked elsewhere."""
    shutil.copytree(folder, home / "var" / "adapters" / name)
    (home / "config.toml").write_text('[flywheel]\nstate_dir = "var"\n')
    command = ["--config", "config.toml", "adapters", "export", name, "out.tar.gz"]
    subprocess.run([sys.executable, "-m", "flywheel", *command], cwd=home, check=True)
    (home / "elsewhere").mkdir()
    unpack = ["tar", "-xzf", "out.tar.gz", "-C", "elsewhere"]
    subprocess.run(unpack, cwd=home, check=True)
    return home / "elsewhere" / name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_plain_peft_loads_the_adapter_and_agrees_on_the_embedding(trained, tmp_path, packed):
    import peft
    import transformers

    folder, values = trained
    place = folder / "adapter"
    if packed:
        place = exported(tmp_path, place, values["adapter"])
    told = adapter.load(folder / "adapter")
    model = transformers.AutoModel.from_pretrained(base.load(told.base).folder)
    tuned = peft.PeftModel.from_pretrained(model, place).eval()
    one = frozen_states()
    ids, mask = padded_ids(base.encode(one.tokenizer, LINES))
    with torch.no_grad():
        theirs = pool(
            tuned(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask, "mean"
        )
    states = one.states(LINES)
    upper = lora.merged(one.encoder, told.depth, told.factors, told.alpha)
    ours = run_upper(upper, one.base.width, states.hidden).embedding
    assert not told.unchanged
    assert float((ours - theirs).abs().max()) < 1e-3
    assert float((states.embedding - theirs).abs().max()) > 1e-2  # LoRA did move them
    logits = told.head.logits(torch.stack([ours, theirs])[:])
    assert logits[0].argmax(1).equal(logits[1].argmax(1))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_the_page_on_serving_answers_as_the_worker_does(trained):
    folder, _ = trained
    page = ROOT / "docs" / "how-to" / "serve-the-champion.md"
    code = next(block.text for block in blocks(page) if block.text.startswith("# champion.py"))
    names = {"__name__": "champion"}
    exec(compile(code, str(page), "exec"), names)
    told = adapter.load(folder / "adapter")
    served = names["Champion"](folder / "adapter", str(base.load(told.base).folder))
    theirs = [served.answer(line) for line in LINES]
    ours = answers(folder / "adapter", LINES)
    assert [answer["intent"] for answer in theirs] == list(ours.intents)
    assert [answer["arguments"] for answer in theirs] == list(ours.arguments)
    assert [answer["confidence"] for answer in theirs] == pytest.approx(
        ours.confidence.tolist(), abs=1e-3
    )
    assert len(set(ours.intents)) == 8
    assert sum(map(bool, ours.arguments)) >= 5


def test_the_folder_holds_safetensors_metadata_and_a_model_card(trained):
    folder, values = trained
    files = sorted(path.name for path in (folder / "adapter").iterdir())
    assert files == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "flywheel.json",
        "heads.safetensors", "test_vector.jsonl",
    ]  # fmt: skip
    facts = json.loads((folder / "adapter" / "flywheel.json").read_text("utf-8"))
    assert facts["id"] == values["adapter"] == adapter.content_id(adapter.load(folder / "adapter"))
    assert facts["labels"] == sorted(TEXTS)
    assert (facts["recipe"], facts["dataset"], facts["parent"]) == ("balanced", "ds-tiny", None)
    assert facts["scope"]["threshold"] == values["threshold"]
    assert (folder / "adapter" / "README.md").read_text("utf-8").startswith("---\nbase_model:")


def test_the_same_job_elsewhere_later_and_for_another_parent_makes_the_same_adapter(
    trained, tmp_path
):
    changes = {"created_at": "2030-01-01T00:00:00Z", "parent": "a-000000000000"}
    again = run(tmp_path, spec(tmp_path, **changes), ProgressLog(tmp_path / "p"))
    assert again["adapter"] == trained[1]["adapter"]


def test_another_seed_makes_another_adapter(trained, tmp_path):
    again = run(tmp_path, spec(tmp_path, seed=1), ProgressLog(tmp_path / "p"))
    assert again["adapter"] != trained[1]["adapter"]


def test_the_frozen_recipe_leaves_the_base_as_it_is(tmp_path):
    values = run(tmp_path, spec(tmp_path, recipe="frozen"), ProgressLog(tmp_path / "p"))
    told = adapter.load(tmp_path / "adapter")
    assert told.unchanged
    assert values["metrics"]["curve"] == []
    assert values["metrics"]["dev_accuracy"] >= 0.7


def test_predictions_name_every_row_adapter_and_hash(trained, tmp_path):
    folder, values = trained
    texts = ["wake me at seven", "放一首歌", "", "🎵 play", "x" * 5000]
    ids = [f"r{i}" for i in range(len(texts))]
    pq.write_table(pa.table({"id": ids, "text": texts}), tmp_path / "rows.parquet")
    told = spec(tmp_path, adapters={"a-1": str(folder / "adapter"), "b": str(folder / "adapter")})
    said = predict.run(tmp_path, told, ProgressLog(tmp_path / "p"))
    assert said == {"hashes": {"a-1": values["adapter"], "b": values["adapter"]}, "rows": 5}
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [(row["id"], row["adapter"]) for row in rows] == [
        (i, name) for name in ("a-1", "b") for i in ids
    ]
    assert rows[0]["intent"] == "set_alarm"
    assert json.loads(rows[0]["arguments"]) == {"time": "seven"}
    assert all(0 <= row["confidence"] <= 1 for row in rows)
    assert all(row["intent"] in TEXTS for row in rows)


def test_answers_are_timed_one_at_a_time_for_each_adapter_in_turn(trained, tmp_path):
    folder, _ = trained
    ids = [f"r{i}" for i in range(9)]
    pq.write_table(pa.table({"id": ids, "text": LINES[:9]}), tmp_path / "rows.parquet")
    places = {"a-1": str(folder / "adapter"), "b": str(folder / "adapter")}
    told = spec(tmp_path, adapters=places, timed=8)
    said = predict.run(tmp_path, told, ProgressLog(tmp_path / "p"))["latency_ms"]
    assert {name: len(times) for name, times in said.items()} == {"a-1": 5, "b": 5}
    assert all(0 < ms < 10_000 for times in said.values() for ms in times)


def test_an_intent_is_given_only_arguments_of_its_own_schema(trained):
    told = adapter.load(trained[0] / "adapter")
    calls = answers(trained[0] / "adapter", LINES)
    for intent, arguments in zip(calls.intents, calls.arguments, strict=True):
        assert set(arguments) <= set(told.arguments[intent])


def test_nothing_is_predicted_for_no_rows(trained):
    calls = answers(trained[0] / "adapter", [])
    assert (calls.intents, list(calls.arguments), len(calls.confidence)) == ([], [], 0)


def test_a_damaged_adapter_is_named(trained, tmp_path):
    (tmp_path / "flywheel.json").write_text("{}")
    with pytest.raises(FlywheelError, match=r"adapter .* cannot be read"):
        adapter.load(tmp_path)


def test_one_intent_is_not_enough_to_train_on(tmp_path):
    told = spec(tmp_path)
    rows = pq.read_table(told["dataset"]).select(COLUMNS)
    pq.write_table(rows.slice(0, 5), told["dataset"])
    with pytest.raises(FlywheelError, match="at least two are needed"):
        run(tmp_path, told, ProgressLog(tmp_path / "p"))


def test_an_unknown_recipe_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(FlywheelError) as caught:
        run(tmp_path, spec(tmp_path, recipe="fast"), ProgressLog(tmp_path / "p"))
    assert (
        caught.value.hint == "[training] recipe is one of frozen, quick, balanced, thorough, auto"
    )


def test_auto_takes_the_recipe_that_does_best_on_dev_and_says_what_it_tried(tmp_path):
    values = run(tmp_path, spec(tmp_path, recipe="auto"), ProgressLog(tmp_path / "p"))
    first, second = values["metrics"]["tried"]
    assert (first["share"], sorted(first["dev_accuracy"])) == (0.25, sorted(halves()))
    assert (second["share"], len(second["dev_accuracy"])) == (0.5, 2)
    best = max(second["dev_accuracy"], key=lambda name: second["dev_accuracy"][name])
    assert values["metrics"]["recipe"] == best
    with Image.open(tmp_path / "curve.png") as picture:
        assert (picture.format, len(picture.convert("L").getcolors() or ())) > ("PNG", 2)


@given(st.integers(1, 10_000), st.floats(0, 3600), st.data())
def test_the_recipe_search_keeps_within_its_budget_and_takes_the_best(rows, budget_s, data):
    spent = []

    def score(recipe, share):
        spent.append(share * recipe.epochs * rows / 100)
        return data.draw(st.floats(0, 1))

    chosen, rounds = recipes.search(recipes.TRAINING, rows, budget_s, score)
    if rounds:
        assert sum(spent) + chosen.epochs * rows / 100 <= budget_s + 1e-6
        last = rounds[-1]["dev_accuracy"]
        assert last[chosen.name] == max(last.values())


def halves():
    return [recipe.name for recipe in recipes.TRAINING]


def answers(folder, texts):
    return TrainedEncoder(adapter.load(folder), frozen_states()).answer(texts)


def frozen_states():
    return FrozenStates(base.load(base.BUNDLED), 3, 32, None)
