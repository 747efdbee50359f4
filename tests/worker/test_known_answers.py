"""The test vector: twenty texts of nobody, the least sure ones, answered by the evaluated model."""

import dataclasses
import json

import pytest
import torch
from tiny_training import TEXTS

from flywheel.errors import FlywheelError
from flywheel.worker import known_answers
from flywheel.worker.models.protocol import Calls

SEEDS = [f"seed {number}" for number in range(60)]
INTENTS = [{"name": "set_alarm", "description": "Wake the user"}, {"name": "joke"}]


class Model:
    """Answers by the number in the text; a text without one is sure."""

    def answer(self, texts, report):
        numbers = [int(text.split()[-1]) if text[-1].isdigit() else 99 for text in texts]
        self.asked = texts
        return Calls(
            [f"i{number % 9}" for number in numbers],
            [{"n": str(number)} for number in numbers],
            torch.tensor(numbers, dtype=torch.float32) / 100,
        )


def written(folder, seeds=(), intents=INTENTS):
    spec = {"intents": intents, "vector_seeds": list(seeds)}
    known_answers.write(folder, Model(), spec, 16)
    return known_answers.read(folder)


def test_twenty_lines_are_written_and_read_again(tmp_path):
    lines = written(tmp_path, SEEDS)
    assert len(lines) == 20
    assert lines[0] == known_answers.KnownAnswer(
        text="seed 0", intent="i0", arguments={"n": "0"}, confidence=0.0
    )
    first = json.loads((tmp_path / "test_vector.jsonl").read_text("utf-8").splitlines()[0])
    assert list(first) == ["text", "intent", "arguments", "confidence"]


def test_the_least_sure_seeds_are_taken_and_then_one_an_intent(tmp_path):
    numbers = [int(line.text.split()[-1]) for line in written(tmp_path, SEEDS)[:-1]]
    assert numbers[:12] == list(range(12))
    assert len({number % 9 for number in numbers[12:]}) == 7


def test_one_text_is_longer_than_the_model_reads(tmp_path):
    assert len(written(tmp_path, SEEDS)[-1].text.split()) == 32
    assert "Wake the user" in written(tmp_path, SEEDS)[-1].text


@pytest.mark.parametrize("intents", [INTENTS, INTENTS[1:], [{"name": "听音乐"}]])
@pytest.mark.parametrize("count", [0, 3])
def test_where_seeds_are_few_texts_are_written_from_the_intents(tmp_path, count, intents):
    texts = [line.text for line in written(tmp_path, SEEDS[:count], intents)]
    assert len(set(texts)) == 20
    assert set(SEEDS[:count]) <= set(texts)
    assert any(intents[0]["name"].replace("_", " ") in text for text in texts)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"intent": "joke"}, "'seed 3' is answered joke"),
        ({"arguments": {}}, "'seed 3' is answered i3() 0.0300, and was i3"),
        ({"confidence": 0.0304}, "'seed 3' is answered i3"),
        ({"confidence": float("nan")}, "'seed 3' is answered i3"),
        ({"confidence": 0.0302}, ""),
    ],
)
def test_the_first_difference_is_named(tmp_path, changed, told):
    known = written(tmp_path, SEEDS)
    now = [
        dataclasses.replace(line, **changed) if line.text == "seed 3" else line for line in known
    ]
    sure = torch.tensor([line.confidence for line in now])
    calls = Calls([line.intent for line in now], [line.arguments for line in now], sure)
    difference = known_answers.first_difference(known, calls)
    assert difference.startswith(told.removesuffix("() 0.0300, and was i3"))
    assert bool(difference) is bool(told)


def test_a_damaged_vector_is_refused_and_an_adapter_without_one_has_none(tmp_path):
    assert known_answers.read(tmp_path) == []
    for damage in ('{"text": "a"', '{"text": "a"}', "[]"):
        (tmp_path / "test_vector.jsonl").write_text(damage)
        with pytest.raises(FlywheelError, match="cannot be read: test_vector"):
            known_answers.read(tmp_path)


def test_a_trained_adapter_has_one_of_its_own_answers(trained):
    lines = known_answers.read(trained[0] / "adapter")
    assert len(lines) == 20
    asked = {text for texts in TEXTS.values() for text in texts}
    assert not asked & {line.text for line in lines}  # rows of the dataset are not taken unasked
