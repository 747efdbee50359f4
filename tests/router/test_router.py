"""The library answers as the model that was evaluated, and refuses what is not that model."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_training import DEV, TEXTS

from flywheel import Answer, Router
from flywheel.errors import FlywheelError
from flywheel.worker import models

LINES = [line for texts in (TEXTS, DEV) for lines in texts.values() for line in lines]
ODD = ["", " ", "\x00", "\ud800 half a pair", "我要听音乐" * 40, "wake me at seven, " * 90]


@pytest.fixture(scope="module")
def router(job):
    return Router.load(job[0] / "adapter", engine="torch")


def test_it_answers_as_the_evaluated_model(router, job):
    evaluated = models.load({"": job[0] / "adapter"})[""].answer(LINES + ODD, lambda _: None)
    answers = router.answer_batch(LINES + ODD)
    assert [answer.intent for answer in answers] == list(evaluated.intents)
    assert [answer.arguments for answer in answers] == list(evaluated.arguments)
    sure = torch.tensor([answer.confidence for answer in answers])
    assert float((sure - evaluated.confidence).abs().max()) < 1e-4


def test_the_documented_example(router, job):
    answer = router.answer("wake me at seven")
    assert answer == Answer("set_alarm", {"time": "seven"}, answer.confidence, job[1]["adapter"])
    assert router.answer_batch(["wake me at seven"]) == [answer]
    assert 0 < answer.confidence < 1


def test_it_says_how_many_tokens_it_read_which_a_long_text_has_more_of(router):
    """Four words, and a mark before and after them."""
    read = [answer.tokens for answer in router.answer_batch(["wake me at seven", "wake " * 999])]
    assert read == [6, router.rule["max_length"]]


def test_an_answer_does_not_depend_on_the_texts_asked_with_it(router):
    for text, among in zip(LINES, router.answer_batch(LINES), strict=True):
        alone = router.answer(text)
        assert (alone.intent, alone.arguments) == (among.intent, among.arguments)
        assert alone.confidence == pytest.approx(among.confidence, abs=1e-5)


def test_nothing_asked_is_nothing_answered_and_one_text_is_no_list(router):
    assert router.answer_batch([]) == []
    with pytest.raises(TypeError, match="answer_batch takes a list of texts"):
        router.answer_batch("wake me at seven")


def test_what_it_was_trained_on_is_said(router, job):
    assert router.adapter == job[1]["adapter"]
    assert router.labels == tuple(sorted(TEXTS))
    assert router.arguments["set_alarm"] == ("time",)
    assert router.engine == "torch"
    assert router.tools.startswith("t-")


def test_a_state_folder_and_a_folder_of_adapters_mean_the_champion(adapter, tmp_path):
    (adapter.parent / "champion").symlink_to(adapter.name)
    for place in (tmp_path, str(adapter.parent), adapter.parent / "champion"):
        assert Router.load(place, engine="torch", verify=False).adapter == adapter.name


def test_the_base_is_loaded_once_for_two_adapters(router, adapter):
    second = Router.load(adapter, engine="torch", beside=router)
    assert second.answer("tell me a joke").intent == "joke"
    first, again = (
        {name: p.data_ptr() for name, p in r._answerer._whole._model.named_parameters()}
        for r in (router, second)
    )
    own = [name for name in first if first[name] != again[name]]
    assert own
    assert all(".layer.3." in n or ".layer.4." in n or ".layer.5." in n for n in own)


def test_an_engine_that_is_not_there_is_named(adapter):
    with pytest.raises(FlywheelError, match="there is no engine 'tensorrt'") as error:
        Router.load(adapter, engine="tensorrt")
    assert error.value.hint == 'use "auto", "torch" or "onnx"'


def test_a_place_without_an_adapter_says_what_to_name(tmp_path):
    with pytest.raises(FlywheelError, match="is no adapter's folder, and has no champion") as error:
        Router.load(tmp_path / "adapters" / "gpt-9")
    assert "a production model that is known by its answers has no files" in error.value.hint


def test_a_link_to_a_folder_that_is_gone_is_told(tmp_path):
    (tmp_path / "champion").symlink_to("a-0123456789ab")
    with pytest.raises(FlywheelError, match="is a-0123456789ab, and it has no adapter's folder"):
        Router.load(tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "heads.safetensors"])
@pytest.mark.parametrize("left", [0, 0.5])
def test_a_half_written_adapter_is_refused(adapter, name, left):
    whole = (adapter / name).read_bytes()
    (adapter / name).write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(FlywheelError, match=f"adapter {adapter.name} cannot be read") as error:
        Router.load(adapter)
    assert "restore it from a backup" in error.value.hint


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "heads.safetensors", "flywheel.json"]
)
def test_an_adapter_with_a_file_missing_is_refused(adapter, name):
    (adapter / name).unlink()
    with pytest.raises(FlywheelError, match="cannot be read"):
        Router.load(adapter)


@pytest.mark.parametrize(
    "facts",
    [
        {"scope": {"score": "energy", "threshold": 99.0}},
        {"max_length": 8},
        {"labels": sorted(TEXTS, reverse=True)},
        {"alpha": 1},
        {"id": "a-0123456789ab"},
    ],
)
def test_changed_facts_are_not_the_adapter_that_they_name(adapter, facts):
    path = adapter / "flywheel.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | facts), "utf-8")
    with pytest.raises(FlywheelError, match="its files are those of a-"):
        Router.load(adapter)


def test_an_old_adapter_under_a_new_name_is_refused(adapter):
    renamed = adapter.rename(adapter.with_name("a-0123456789ab"))
    with pytest.raises(FlywheelError, match="its folder's name says a-0123456789ab"):
        Router.load(renamed)


def test_a_base_of_other_bytes_is_refused(adapter):
    path = adapter / "flywheel.json"
    facts = json.loads(path.read_text("utf-8")) | {"base_sha256": "0" * 64}
    path.write_text(json.dumps(facts), "utf-8")
    with pytest.raises(FlywheelError, match="is not the one the adapter was trained on"):
        Router.load(adapter)


def test_flywheel_itself_imports_neither_torch_nor_the_router():
    code = "import sys, flywheel; flywheel.__version__; print({'torch', 'flywheel.router'} & "
    code += "set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_a_name_that_flywheel_does_not_offer_is_an_attribute_error():
    import flywheel

    with pytest.raises(AttributeError, match="has no attribute 'Roter'"):
        _ = flywheel.Roter
