"""The closed loop on the starter set: one turn that is promoted, one that must be refused.

A real daemon in a folder of its own, a scripted teacher behind the OpenAI protocol, production
traffic answered by the champion itself. Only the people are played.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flywheel.demo import scripted_teacher
from flywheel.demo.daemon import Client, running
from flywheel.demo.grammar import STARTER
from flywheel.demo.production import Answered, Production
from flywheel.demo.telling import Teller, tell_decision, tell_examples, tell_turn
from flywheel.demo.traffic import stream
from flywheel.errors import FlywheelError

TRAFFIC = 900  # utterances of production traffic
FEEDBACK = 0.5  # share of them that somebody gives a verdict on
WRONG = 0.10  # share of the verdicts that are wrong
POISON = 500  # utterances of one night, all of them corrected falsely
_BROKEN, _TOWARDS = "set_timer", "set_alarm"
_LABEL_ROUNDS = 4
_POLL_S = 0.3

_CONFIG = """\
# The demo's daemon. `flywheel init` writes a config.toml with every key explained.
[flywheel]
state_dir = "var"

[model]
threads = 2

[intents]
file = "intents.toml"
max_error_rate = 0.25    # a tenth of this demo's feedback is wrong

[teacher]
base_url = "{teacher}"   # scripted: sentences of a grammar, no language model
model = "{model}"

[schedule]
cron = ""

[gates.overall]
profile = "fast"

[gates.intents]
margin = 0.30

[promotion]
mode = "auto"
bootstrap = "auto"
"""


def main(directory: Path | None, keep: bool) -> int:
    """Tell the story; returns the exit status.

    Args:
        directory: a new folder for it; None for a temporary one.
        keep: leave the folder behind, to look further. A named folder is always kept.
    """
    folder = directory or Path(tempfile.mkdtemp(prefix="flywheel-demo-"))
    if directory is not None:
        if directory.exists() and any(directory.iterdir()):
            raise FlywheelError(f"{directory} is not empty", hint="name a new folder")
        directory.mkdir(parents=True, exist_ok=True)
    kept = keep or directory is not None
    try:
        with scripted_teacher.serving() as teacher:
            config = folder.resolve() / "config.toml"
            text = _CONFIG.format(teacher=teacher, model=scripted_teacher.MODEL)
            config.write_text(text, encoding="utf-8")
            shutil.copy(STARTER / "intents.toml", folder / "intents.toml")
            with running(config, config.parent / "var" / "flywheel.sock") as client:
                return _Story(client, config).tell(kept=kept)
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


class _Story:
    """The chapters, in order."""

    def __init__(self, client: Client, config: Path) -> None:
        self._client = client
        self._config = config
        self._teller = Teller()
        self._production = Production(client, config.parent)
        self._day: list[Answered] = []

    def tell(self, *, kept: bool) -> int:
        """Both turns; 0 when the first was promoted and the second refused."""
        teller = self._teller
        teller.line("flywheel demo: a voice assistant's intent router that learns from its users.")
        teller.line("The teacher is scripted (a grammar, no language model); all else is real.")
        self._begin()
        promoted = self._improve()
        refused = self._poison()
        self._look_further(kept=kept)
        return 0 if promoted and refused else 1

    def _begin(self) -> None:
        teller = self._teller
        teller.chapter("1. The first champion")
        for split in ("seed", "dev", "golden"):
            rows = [json.loads(line) for line in _lines(STARTER / f"{split}.jsonl")]
            self._client.post("/v1/samples", rows)
            teller.timed(f"imported {len(rows)} {split} sentences")
        decision = self._turn()[1]
        if decision is None or decision["status"] != "applied":
            why = decision["because"] if decision else "it came to no decision"
            raise FlywheelError(f"the first turn made no champion: {why}")
        teller.timed(f"{decision['challenger']} serves: logistic regression on the seeds")

    def _improve(self) -> bool:
        teller = self._teller
        teller.chapter("2. Production traffic, imperfect feedback, and a turn of the wheel")
        teller.progress(f"the champion answers {TRAFFIC} requests")
        answered = self._day = self._production.answer(stream(TRAFFIC, seed=1), "day")
        right = sum(1 for row in answered if row.intent == row.said.intent)
        teller.timed(
            f"the champion answered {len(answered)} requests, "
            f"{_percent(right, len(answered))} rightly"
        )
        rated, wrong = self._production.rate(answered, "day", share=FEEDBACK, wrong=WRONG)
        teller.timed(f"users judged {rated} of them, {_percent(wrong, rated)} of the time wrongly")
        turn, decision = self._turn()
        tell_turn(teller, turn)
        if decision is None:
            return False
        decision = self._label(turn["id"], decision)
        tell_decision(teller, decision)
        tell_examples(teller, decision["fixed"], "fixed")
        tell_examples(teller, decision["broken"], "broken")
        return bool(decision["verdict"] == "promote" and decision["status"] == "applied")

    def _poison(self) -> bool:
        teller = self._teller
        teller.chapter("3. Poisoned feedback: a challenger that must be refused")
        only = {_BROKEN: 1.0}
        answered = self._production.answer(stream(POISON, seed=2, weights=only), "night")
        claims = sum(
            self._production.poison(rows, key, broken=_BROKEN, towards=_TOWARDS)
            for rows, key in ((self._day, "day"), (answered, "night"))
        )
        teller.timed(f"{claims} corrections claim that every {_BROKEN} is {_TOWARDS}")
        _, decision = self._turn()
        if decision is None:
            return False
        tell_decision(teller, decision)
        tell_examples(teller, decision["broken"], "would break")
        return bool(decision["status"] != "applied")

    def _look_further(self, *, kept: bool) -> None:
        teller = self._teller
        teller.chapter("4. What was decided, and how to look further")
        for row in reversed(self._client.get("/v1/decisions")):
            teller.line(
                f"  {row['id']:<5}{row['verdict']:<10}{row['status']:<10}{row['challenger']}"
            )
        teller.line()
        if not kept:
            teller.line("Keep the folder to look around in it: flywheel demo my-demo")
            return
        teller.line("Start its daemon again, then ask it:")
        at = f"flywheel -c {self._config}"
        for command in (
            "run &",
            "status",
            "intents",
            "turn list",
            "review show d-2",
            "adapters list",
        ):
            teller.line(f"  {at} {command}")

    def _turn(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Turn the wheel once and return the turn and its decision."""
        opened = self._client.post("/v1/turns", {})
        return self._wait(opened["id"])

    def _wait(self, turn_id: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
        step = ""
        while True:
            turn = self._client.get(f"/v1/turns/{turn_id}")
            if turn["state"] in ("done", "failed", "cancelled", "held"):
                break
            if turn["state"] != step:
                step = turn["state"]
                self._teller.progress(f"{turn_id}: {step}")
            time.sleep(_POLL_S)
        seconds = sum(row["seconds"] or 0 for row in turn["steps"])
        self._teller.timed(f"{turn_id}: {turn['state']} after {seconds:.0f} s")
        if turn["state"] == "failed":
            raise FlywheelError(f"{turn_id} failed: {turn['error']}")
        decision = (
            self._client.get(f"/v1/decisions/{turn['decision']}") if turn["decision"] else None
        )
        return turn, decision

    def _label(self, turn_id: str, decision: dict[str, Any]) -> dict[str, Any]:
        """Answer a gate's request for labels as a person would, from production texts."""
        spare = list(stream(4000, seed=3))
        for _ in range(_LABEL_ROUNDS):
            wanted = dict(decision["labels_wanted"])
            if decision["status"] != "pending" or not wanted:
                break
            rows = []
            for said in spare:
                if wanted.get(said.intent, 0) > 0:
                    wanted[said.intent] -= 1
                    rows.append({"text": said.text, "intent": said.intent, "split": "golden"})
            spare = [said for said in spare if said.text not in {row["text"] for row in rows}]
            self._teller.timed(f"a person labels {len(rows)} texts that the gates asked for")
            self._client.post("/v1/samples", rows)
            _, latest = self._wait(turn_id)
            decision = latest or decision
        return decision


def _lines(path: Path) -> Iterable[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.0f} %"
