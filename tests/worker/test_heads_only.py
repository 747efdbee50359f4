"""The recipe `heads`: the champion's encoder stays, and its heads are fitted anew."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny_training import COLUMNS, TEXTS, dataset, spec

from flywheel.worker import adapter, predict
from flywheel.worker.progress import Progress
from flywheel.worker.train import run

NEWS = ["what is in the news", "read me the headlines", "any news today", "top stories please"]


def with_news(folder, champion, **changes):
    """The tiny dataset and four texts of an intent that the champion does not know."""
    path = dataset(folder / "ds-more.parquet", learn_dev=True)
    rows = pq.read_table(path).to_pylist()
    rows += [{**rows[0], "id": f"n-{n}", "text": text, "intent": "news"}
             for n, text in enumerate(NEWS)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows).select(COLUMNS), path)
    names = [{"name": n, "arguments": ["time"] if n == "set_alarm" else []}
             for n in (*TEXTS, "news")]  # fmt: skip
    told = {"recipe": "heads", "champion": str(champion), "dataset": str(path), "intents": names}
    return spec(folder, **(told | changes))


@pytest.fixture(scope="module")
def again(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    return folder, run(folder, with_news(folder, trained[0] / "adapter"), Progress(folder / "p"))


def test_the_encoder_is_the_champions_and_the_heads_know_what_is_new(trained, again):
    old, new = (adapter.load(folder / "adapter") for folder, _ in (trained, again))
    assert all(torch.equal(value, new.factors[name]) for name, value in old.factors.items())
    assert set(new.labels) == {*old.labels, "news"}
    assert not torch.equal(old.tag_head.weight, new.tag_head.weight)
    assert again[1]["metrics"]["recipe"] == "heads"
    assert again[1]["metrics"]["dev_learned"] == 14
    assert again[1]["metrics"]["dev_accuracy"] >= 0.8


def test_it_answers_with_the_new_intent_and_spells_arguments(again, tmp_path):
    texts = ["are there any news", "set an alarm for noon", "play some jazz"]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "text": texts}), tmp_path / "rows.parquet")
    told = {"adapters": {"x": str(again[0] / "adapter")}, "cache_dir": str(tmp_path)}
    predict.run(tmp_path, told, Progress(tmp_path / "p"))
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [row["intent"] for row in rows] == ["news", "set_alarm", "play_music"]
    assert json.loads(rows[1]["arguments"]) == {"time": "noon"}


def test_the_same_heads_come_of_the_same_samples(trained, again, tmp_path):
    made = run(tmp_path, with_news(tmp_path, trained[0] / "adapter"), Progress(tmp_path / "p"))
    assert made["adapter"] == again[1]["adapter"]


@pytest.mark.parametrize("champion", [None, "of another base", "that adapted nothing"])
def test_where_there_is_no_encoder_to_keep_it_trains_as_usual(trained, tmp_path, champion):
    folder: Path | None = None
    if champion:
        folder = tmp_path / "champion"
        changes = {"recipe": "frozen"} if champion == "that adapted nothing" else {}
        (tmp_path / "c").mkdir()
        run(tmp_path / "c", spec(tmp_path / "c", **changes), Progress(tmp_path / "p"))
        (tmp_path / "c" / "adapter").rename(folder)
        if not changes:
            facts = json.loads((folder / "flywheel.json").read_text())
            (folder / "flywheel.json").write_text(json.dumps(facts | {"base_sha256": "0" * 64}))
    told = spec(tmp_path, recipe="heads", champion=str(folder) if folder else None)
    made = run(tmp_path, told, Progress(tmp_path / "p"))
    assert made["metrics"]["recipe"] == "balanced"
    assert made["adapter"] == trained[1]["adapter"]
