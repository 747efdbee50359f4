"""From traffic alone to a first champion, by a real daemon and a real training."""

import json
import random
from pathlib import Path

import pytest

from tests.faults.daemon_under_test import CONFIG, Daemon

CLINC = Path(__file__).parents[2].parent / "shared" / "data" / "clinc150" / "train.jsonl"


def traffic(count, intents):
    """Texts with their intents: few intents are most of what is asked."""
    by_intent = {}
    for line in CLINC.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_intent.setdefault(row["intent"], []).append(row["text"])
    choose = random.Random(3)
    names = choose.sample(sorted(by_intent.keys() - {"oos"}), intents)
    weights = [1 / rank for rank in range(1, intents + 1)]
    truth = {}
    while len(truth) < count:
        name = "oos" if choose.random() < 0.05 else choose.choices(names, weights)[0]
        truth[choose.choice(by_intent[name])] = "none" if name == "oos" else name
    return truth, names


def answered(number, text, intent):
    """As the server in front of another model logs it."""
    event = {"id": f"p-{number}", "ts": f"2026-11-22T05:{number // 60:02}:{number % 60:02}Z"}
    said = {"text": text, "intent": intent, "adapter": "upstream:x", "cost_usd": 0.001}
    return event | said


@pytest.mark.slow
@pytest.mark.skipif(not CLINC.exists(), reason="CLINC150 is not beside this checkout")
def test_traffic_that_people_label_blind_makes_a_first_champion(tmp_path):
    truth, names = traffic(400, 30)
    (tmp_path / "intents.toml").write_text(
        "\n".join(f'[[intent]]\nname = "{name}"\n' for name in names)
    )
    (tmp_path / "config.toml").write_text(CONFIG)
    with Daemon(tmp_path) as daemon:
        daemon.start()
        client = daemon.client
        rows = [answered(*place, intent) for *place, intent in _numbered(truth)]
        assert client.post("/v1/predictions", rows)["accepted"] == 400
        first = client.get("/v1/status")["first_champion"]
        assert {name: first[name]["need"] for name in ("seeds", "dev", "golden", "intents")} == {
            "seeds": 120,
            "dev": 40,
            "golden": 40,
            "intents": 2,
        }
        while not client.get("/v1/status")["first_champion"]["ready"]:
            asked = [one for one in client.get("/v1/labels")["items"] if one["kind"] == "first"]
            assert all(one["guesses"] == [] for one in asked)
            for one in asked:
                client.post("/v1/labels", {"item": one["item"], "intent": truth[one["text"]]})
        assert daemon.turn()["state"] == "done"
        status = client.get("/v1/status")
        assert status["champion"]
        assert status["first_champion"] is None
        assert status["costs"] == [{"adapter": "upstream:x", "usd": 0.4, "answers": 400}]
        (adapter,) = client.get("/v1/adapters")
        assert adapter["metrics"]["dev_accuracy"] > 0.8
        daemon.stop()


def _numbered(truth):
    return [(number, text, intent) for number, (text, intent) in enumerate(truth.items())]
