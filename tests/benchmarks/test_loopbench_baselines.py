"""The baselines of the loop's benchmark: what they learn, and where they put the threshold."""

import json
import math

import peer_runs
import pytest
import torch
from loopbench_answers import neighbours
from loopbench_baselines import logistic, peers
from partition import Row

ANGLES = {"play_music": 0, "set_alarm": 40, "订票": 200, "none": 120}  # degrees on a circle


class OnACircle:
    """Embeds a text, an angle in degrees, as a point of the unit circle."""

    def embeddings(self, texts):
        turned = torch.tensor([math.radians(float(text)) for text in texts])
        return torch.stack([turned.cos(), turned.sin()], dim=1)


def around(name, count, spread=10):
    return [Row(str(ANGLES[name] + spread * (n / (count - 1) - 0.5)), name) for n in range(count)]


IN_SCOPE = [row for name in ("play_music", "set_alarm", "订票") for row in around(name, 12)]


def test_without_rows_of_none_every_text_is_in_scope():
    said = logistic(OnACircle(), IN_SCOPE, ["0", "40", "200", "120"])
    assert [said[text] for text in ("0", "40", "200")] == ["play_music", "set_alarm", "订票"]
    assert "none" not in said.values()


def test_with_rows_of_none_a_threshold_finds_it_and_keeps_the_others():
    said = logistic(OnACircle(), IN_SCOPE + around("none", 12), ["1", "41", "201", "121"])
    assert list(said.values()) == ["play_music", "set_alarm", "订票", "none"]


def test_contradictions_are_learned_as_they_come():
    twice = [Row("0", "set_alarm")] * 40
    assert logistic(OnACircle(), IN_SCOPE + twice, ["0"]) == {"0": "set_alarm"}


@pytest.mark.parametrize(
    ("name", "other"), [("play_music", "set_alarm"), ("set_alarm", "play_music")]
)
def test_the_nearest_intent_is_another_one_and_never_none(name, other):
    rows = [(row.text, row.intent) for row in (*IN_SCOPE, *around("none", 12))]
    found = neighbours(rows, OnACircle().embeddings([text for text, _ in rows]))
    assert found[name] == other
    assert set(found) == {"play_music", "set_alarm", "订票"}


def test_a_recorded_run_of_a_peer_counts_for_its_rows_alone(tmp_path, monkeypatch):
    record = tmp_path / "peers.jsonl"
    monkeypatch.setattr(peer_runs, "RECORD", record)
    pairs = [(row.text, row.intent) for row in IN_SCOPE]
    line = {
        "peer": "setfit",
        "rows": peer_runs.rows_id(pairs, pairs[:3], 0),
        "accuracy": 91.5,
        "cpu_s": 1,
        "steps": 9,
    }
    record.write_text(json.dumps(line) + "\n", encoding="utf-8")
    outside = [Row("120", "none")]
    said = peers(tmp_path, IN_SCOPE + outside, IN_SCOPE[:3] + outside, 0, "")
    assert said == {"setfit": 91.5}
    assert peers(tmp_path, IN_SCOPE[1:], IN_SCOPE[:3], 0, "") == {}
