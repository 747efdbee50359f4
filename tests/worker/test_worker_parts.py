"""The worker's parts: base, frozen states, logistic regression, folds, scope, arguments."""

import dataclasses
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import TEXTS, spec

from flywheel.bases import catalogue
from flywheel.errors import FlywheelError
from flywheel.worker import crossfit, logistic, models
from flywheel.worker.logistic import Linear
from flywheel.worker.models import base
from flywheel.worker.models.encoder import heads, out_of_scope, slots
from flywheel.worker.models.encoder.frozen_states import FrozenStates
from flywheel.worker.progress import ProgressLog

LINES = [line for lines in TEXTS.values() for line in lines]
BUNDLED = base.load(base.BUNDLED)
TOKENIZER = base.open_tokenizer(BUNDLED, 64)


def test_a_base_of_other_bytes_is_refused(monkeypatch):
    other = dataclasses.replace(
        catalogue.CATALOGUE[0], outcomes={"": {"model.safetensors": "0" * 64}}
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", (other,))
    with pytest.raises(FlywheelError, match="is not the published file"):
        base.load(base.BUNDLED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bundled:gpt", "there is no bundled base model bundled:gpt"),
        ("{tmp}", r"config.json, model.safetensors and tokenizer.json"),
    ],
)
def test_a_base_that_is_not_one_is_refused(tmp_path, name, message):
    with pytest.raises(FlywheelError) as caught:
        base.load(name.format(tmp=tmp_path))
    text = f"{caught.value.message} {caught.value.hint}"
    assert message in text


@pytest.mark.parametrize(
    "told",
    [
        '{"model_type": "clip"}',
        """{"model_type": "t5", "d_model": 8,
    "num_layers": 2, "is_encoder_decoder": true}""",
    ],
)
def test_a_model_that_is_no_text_encoder_is_refused(tmp_path, told):
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "config.json").write_text(told)
    with pytest.raises(FlywheelError, match="model, not a text encoder"):
        models.find_base(str(tmp_path))


def test_a_local_folder_is_a_base(tmp_path):
    shutil.copytree(BUNDLED.folder, tmp_path / "mine", symlinks=True)
    assert base.load(str(tmp_path / "mine")).sha256 == BUNDLED.sha256


def test_states_do_not_depend_on_what_was_computed_with_them(tmp_path):
    one = FrozenStates(BUNDLED, 3, 64, None)
    together = one.states([*LINES, "我要听音乐", ""])
    for row in (7, len(LINES) + 1):
        text = [*LINES, "我要听音乐", ""][row]
        again = FrozenStates(BUNDLED, 3, 64, None)
        again.encoder = one.encoder
        alone = again.states([text])
        assert alone.hidden[0].equal(together.hidden[row])
        assert alone.embedding[0].equal(together.embedding[row])


def test_the_cache_on_disk_gives_the_same_states_and_survives_damage(tmp_path):
    first = FrozenStates(BUNDLED, 3, 64, tmp_path).states(LINES)
    again = FrozenStates(BUNDLED, 3, 64, tmp_path)
    assert again.states(LINES).embedding.equal(first.embedding)
    assert "encoder" not in vars(again)  # the model was not even loaded
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"damaged")
    mended = FrozenStates(BUNDLED, 3, 64, tmp_path).states(LINES)
    assert all(a.equal(b) for a, b in zip(mended.hidden, first.hidden, strict=True))


@pytest.mark.parametrize("damage", ["", "ye", "\0\0\0", "\u00ff"])
def test_a_damaged_note_of_whether_the_base_can_be_parted_is_found_out_again(tmp_path, damage):
    note = next(FrozenStates(BUNDLED, 3, 64, tmp_path)._folder.glob("parted"))
    note.write_text(damage, encoding="utf-8")
    assert FrozenStates(BUNDLED, 3, 64, tmp_path).depth == 3
    assert note.read_text() == "yes"


def test_logistic_regression_finds_the_minimum():
    generator = torch.Generator().manual_seed(3)
    x = torch.nn.functional.normalize(torch.randn(300, 20, generator=generator), dim=1)
    y = torch.randint(0, 5, (300,), generator=generator)
    weights = torch.rand(300, generator=generator)
    found = logistic.fit(x, y, 5, weights=weights, steps=200)
    w, b = found.weight.clone().requires_grad_(), found.bias.clone().requires_grad_()
    each = torch.nn.functional.cross_entropy(x @ w.T + b, y, reduction="none")
    loss = 10 * (each * weights).sum() + 0.5 * w.square().sum()
    gradients = torch.autograd.grad(loss, [w, b])
    assert max(float(g.abs().max()) for g in gradients) < 1e-2 * float(loss.detach())


def test_a_wrong_label_is_doubted_out_of_fold(tmp_path):
    rows = [(line, intent) for intent, lines in TEXTS.items() for line in lines if intent != "none"]
    rows.append(("call my sister", "weather"))
    rows.append(("please play some jazz", "play_music"))
    told = {
        "id": [f"s{i}" for i in range(len(rows))],
        "text": [text for text, _ in rows],
        "intent": [intent for _, intent in rows],
        "origin": ["feedback"] * len(rows),
    }
    pq.write_table(pa.table(told), tmp_path / "rows.parquet")
    values = crossfit.run(tmp_path, spec(tmp_path, folds=5), ProgressLog(tmp_path / "p"))
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert [row["id"] for row in scores] == told["id"]
    assert values["rows"] == len(rows)
    assert scores[-2]["top"] == "call"
    assert scores[-2]["odds"] > 6
    assert scores[-1]["top"] == "play_music"


def test_dev_rows_teach_the_crossfit_and_are_neither_neighbours_nor_anchors(tmp_path):
    lines = [(line, "play_music") for line in TEXTS["play_music"]]
    lines += [(line, "weather") for line in TEXTS["weather"]]
    half = len(lines) // 2
    odds, others = {}, {}
    for origin in ("unsettled", "dev"):  # what is unsettled teaches nothing
        rows = [*lines, ("is it going to rain", "play_music")]
        told = {
            "id": [f"s{i}" for i in range(len(rows))],
            "text": [text for text, _ in rows],
            "intent": [intent for _, intent in rows],
            "origin": [origin if i % 2 else "feedback" for i in range(2 * half)] + ["feedback"],
        }
        told["origin"] += ["feedback"] * (len(rows) - len(told["origin"]))
        pq.write_table(pa.table(told), tmp_path / "rows.parquet")
        crossfit.run(tmp_path, spec(tmp_path, folds=5), ProgressLog(tmp_path / "p"))
        scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
        odds[origin] = scores[-1]["odds"]
        others[origin] = ({row["anchor"] for row in scores}, scores[-1]["agree"])
    assert odds["dev"] > odds["unsettled"]
    assert others["dev"] == others["unsettled"]
    assert others["dev"][0] == {None}


def test_a_label_that_no_row_of_another_fold_has_is_not_taught():
    y, fold = torch.tensor([0, 0, 1, 2, 2, 3, 3]), torch.tensor([0, 1, 0, 1, 1, 0, 1])
    aside = torch.tensor([0, 0, 0, 0, 0, 1, 0], dtype=torch.bool)
    taught = crossfit.taught(y, fold, aside).tolist()
    assert taught == [True, True, False, False, False, True, False]
    nothing = torch.zeros(0, dtype=torch.int64)
    assert crossfit.taught(nothing, nothing, nothing.bool()).tolist() == []


def test_dev_tells_labels_that_were_rightly_refused_from_those_that_were_not(tmp_path):
    music, weather = TEXTS["play_music"], TEXTS["weather"]
    half = min(len(music), len(weather)) // 2
    taught = [(line, "play_music") for line in music[:half]]
    taught += [(line, "weather") for line in weather[:half]]
    wrong = [(line, "weather") for line in music[:half]]
    dev = [(line, "play_music") for line in music[half:]]
    dev += [(line, "weather") for line in weather[half:]]
    rows = [*taught, *wrong, *dev]
    told = {
        "id": [str(n) for n in range(len(rows))],
        "text": [text for text, _ in rows],
        "intent": [intent for _, intent in rows],
        "origin": ["train"] * (len(rows) - len(dev)) + ["dev"] * len(dev),
        "ruled": [1.0] * len(taught) + [0.0] * (len(rows) - len(taught)),
        "given": [0.2] * half + [1.0] * (len(taught) - half + len(wrong)) + [0.0] * len(dev),
    }
    pq.write_table(pa.table(told), tmp_path / "rows.parquet")
    found = crossfit.check(tmp_path, spec(tmp_path), ProgressLog(tmp_path / "p"))
    assert found["dev"] == len(dev)
    assert found["ruled"] > found["given"]
    assert found["gained"] > found["lost"] == 0


texts_and_intents = st.lists(
    st.tuples(st.sampled_from(["a", "b", "A", "音乐", "c", "d", "e"]), st.sampled_from("xyz")),
    min_size=1,
    max_size=30,
)


@given(texts_and_intents, st.integers(0, 9))
@settings(max_examples=50)
def test_equal_texts_share_a_fold(rows, seed):
    texts = [text for text, _ in rows]
    found = crossfit.folds(texts, [intent for _, intent in rows], 5, seed).tolist()
    for text in set(texts):
        same = {f for t, f in zip(texts, found, strict=True) if t.casefold() == text.casefold()}
        assert len(same) == 1
    assert set(found) <= set(range(5))


def test_an_intent_of_five_texts_is_spread_over_five_folds():
    texts = [f"{intent} {i}" for intent in "xyz" for i in range(5)]
    found = crossfit.folds(texts, [text[0] for text in texts], 5, 0).tolist()
    for low in (0, 5, 10):
        assert sorted(found[low : low + 5]) == [0, 1, 2, 3, 4]


def test_the_threshold_separates_what_dev_can_separate():
    labels = ["a", "b"]
    logits = torch.tensor([[9.0, 0], [0, 8.0], [7.0, 0], [1.0, 0.9], [0.5, 0.6]])
    truth = ["a", "b", "a", "none", "none"]
    rule = out_of_scope.choose(logits, labels, truth)
    assert out_of_scope.answer(logits, labels, rule).intents == truth


def test_an_answer_says_how_far_its_text_lies_from_the_threshold():
    """So that parity asks those that another threshold would turn first."""
    logits, labels = torch.tensor([[9.0, 0], [1.0, 0.5]]), ["a", "none"]
    for kind in ("margin", "both", "energy", "confidence"):
        rule = out_of_scope.ScopeRule(kind, 0.75)
        found = out_of_scope.answer(logits, labels, rule)
        assert found.margin.tolist() == pytest.approx(
            (out_of_scope.score(logits, labels, kind) - 0.75).tolist()
        )
        turned = [margin < 0 for margin in found.margin.tolist()]
        assert [intent == "none" for intent in found.intents] == turned
    assert out_of_scope.answer(logits, ["a", "b"], out_of_scope.ScopeRule()).margin is None


def test_without_dev_rows_of_none_every_text_is_in_scope():
    logits = torch.tensor([[9.0, 0], [0, 0.1]])
    rule = out_of_scope.choose(logits, ["a", "b"], ["a", "a"])
    assert rule == out_of_scope.ScopeRule()
    assert out_of_scope.answer(logits, ["a", "b"], rule).intents == ["a", "b"]


def test_without_dev_rows_the_class_none_decides():
    logits = torch.tensor([[1.0, 0, 3.0], [5.0, 0, 3.0]])
    rule = out_of_scope.choose(logits[:0], ["a", "b", "none"], [])
    answers = out_of_scope.answer(logits, ["a", "b", "none"], rule)
    assert answers.intents == ["none", "a"]
    assert answers.confidence.tolist() == pytest.approx([0.886, 0.876], abs=0.01)


@given(
    st.lists(st.tuples(*[st.floats(-9, 9)] * 3), min_size=1, max_size=20),
    st.sampled_from([["a", "b"], ["a", "b", "none"]]),
    st.integers(1, 40),
    st.data(),
)
@settings(max_examples=100)
def test_the_threshold_costs_a_stated_share_of_right_calls_or_what_dev_says_it_is_worth(
    rows, labels, times, data
):
    logits = torch.tensor(rows)[:, : len(labels)].repeat(times, 1)
    truth = [data.draw(st.sampled_from(["a", "b", "none"])) for _ in rows] * times
    rule = out_of_scope.choose(logits, labels, truth)
    before = out_of_scope.answer(logits, labels, out_of_scope.ScopeRule()).intents
    after = out_of_scope.answer(logits, labels, rule).intents
    inside = [n for n, intent in enumerate(truth) if intent != "none"]
    lost = sum(before[n] == truth[n] != after[n] for n in inside)
    found = sum(truth[n] == "none" == after[n] for n in range(len(truth)))
    if any(before[n] == truth[n] for n in inside):
        assert lost <= max(out_of_scope.LOST * (len(inside) + 1), 2 * found)


def test_where_dev_is_small_what_it_has_of_none_is_found_all_the_same():
    scores = [*torch.arange(2.0, 12.0, 0.1).tolist(), *torch.arange(0.0, 2.6, 0.2).tolist()]
    logits = torch.stack(
        [torch.tensor(scores), torch.zeros(len(scores))], 1
    )  # 100 in scope, 13 not
    rule = out_of_scope.choose(logits, ["a", "b"], ["a"] * 100 + ["none"] * 13)
    below = out_of_scope.score(logits, ["a", "b"], rule.score) < rule.threshold
    assert int(below[100:].sum()) >= 10
    assert int(below[:100].sum()) <= 6


def test_without_dev_rows_of_none_the_threshold_of_few_rows_lies_below_all_that_are_right():
    logits = torch.stack([torch.arange(5.0, 25.0), torch.zeros(20), torch.zeros(20)], 1)
    rule = out_of_scope.choose(logits, ["a", "b", "none"], ["a"] * 20)
    scores = out_of_scope.score(logits, ["a", "b", "none"], rule.score)
    assert rule.score == "both"
    spread = scores.max() - scores.min()
    assert scores.min() - spread < rule.threshold < scores.min()


def test_with_few_dev_rows_the_threshold_lies_below_all_that_are_right():
    logits = torch.stack([torch.arange(5.0, 25.0), torch.zeros(20)], 1)
    logits = torch.cat([logits, torch.tensor([[0.2, 0.1]])])
    rule = out_of_scope.choose(logits, ["a", "b"], ["a"] * 20 + ["none"])
    scores = out_of_scope.score(logits, ["a", "b"], rule.score)
    assert scores[-1] < rule.threshold < scores[:-1].min()


@pytest.mark.parametrize(
    ("text", "values", "spans"),
    [
        ("wake me at seven", {"time": "seven"}, {"time": (11, 16)}),
        ("Wake me at Seven", {"time": "seven"}, {"time": (11, 16)}),
        ("sevens and seven", {"time": "seven"}, {"time": (11, 16)}),
        ("我要听周杰伦的歌", {"artist": "周杰伦"}, {"artist": (3, 6)}),
        ("new york to new york", {"from": "new york", "to": "new york"},
         {"from": (0, 8), "to": (12, 20)}),
        ("wake me", {"time": "seven"}, None),
        ("at 7", {"hour": 7}, None),
        ("hello", {}, {}),
        ("hello", None, None),
    ],
)  # fmt: skip
def test_values_are_found_as_said(text, values, spans):
    assert slots.locate(text, values) == spans


@given(
    st.lists(st.sampled_from(["play", "jazz", "音乐", "at", "7pm", "R&B", "naïve"]), min_size=3),
    st.data(),
)
@settings(max_examples=50)
def test_perfect_tags_spell_the_values_they_were_made_from(words, data):
    text = " ".join(words)
    start = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(start + 1, min(len(words), start + 3)))
    values = {"what": " ".join(words[start:stop])}
    encoding = base.encode(base.open_tokenizer(BUNDLED, 512), [text])[0]
    tags = slots.tags_of(encoding, text, values, ["what"]).tags
    log_p = torch.nn.functional.one_hot(tags, 3).float() * 20
    units = slots.units(encoding, text)
    assert slots.read(units, text, log_p, ["what"], {"what"}) == values
    assert slots.read(units, text, log_p, ["what"], {"other"}) == {}


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_to_doubt_have_scores_all_the_same(tmp_path, count):
    told = {"id": ["s1"], "text": ["hello"], "intent": ["greet"], "origin": ["feedback"]}
    rows = pa.table({name: pa.array(value[:count], pa.string()) for name, value in told.items()})
    pq.write_table(rows, tmp_path / "rows.parquet")
    values = crossfit.run(tmp_path, spec(tmp_path, folds=5), ProgressLog(tmp_path / "p"))
    assert values["rows"] == count
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == count


def test_an_intent_that_training_slighted_is_given_its_due_on_dev():
    y = torch.arange(3).repeat(20)
    x = torch.nn.functional.one_hot(y, 3).float() + 0.3 * torch.randn(
        60, 3, generator=torch.Generator().manual_seed(3)
    )
    slighted = Linear(4 * torch.eye(3), torch.tensor([0.0, 0.0, -4.0]))
    mended = heads.calibrated(slighted, *heads.calibration(slighted.logits(x), y))
    wrong = [int((head.logits(x).argmax(1) != y).sum()) for head in (slighted, mended)]
    assert wrong[1] < wrong[0] / 2


def test_an_intent_without_dev_rows_keeps_its_place():
    y = torch.arange(2).repeat(20)
    x = torch.nn.functional.one_hot(y, 3).float()
    start = Linear(torch.eye(3), torch.zeros(3))
    temperature, shift = heads.calibration(start.logits(x), y)
    head = heads.calibrated(start, temperature, shift)
    assert float(head.bias[2]) == 0.0
    assert temperature > 0
