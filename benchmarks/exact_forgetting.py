"""Is what is trained after an erasure what would have been trained without the person?

One daemon gets everybody's predictions and feedback, learns from them, erases one person and
learns anew (`erase --and-retrain`). A second daemon never gets the person's rows; the samples that
a teacher wrote in the first and that remain are put into its database. Both train on the same
machine with the same threads. An adapter is named by a hash of its tensors, labels and thresholds,
so equal names are equal adapters. In two of five a teacher writes. Run by `forgetting.py --erase`.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon_harness import RunningDaemon
from partition import Partition, Row, deal, read
from stand_in_teacher import StandIn, serving
from traffic import Load, Traffic

from flywheel.records import NONE, Sample
from flywheel.store import open_store, samples

INTENTS, PEOPLE = 8, 12
LOAD = Load(utterances=400, rated=160)
WITH_TEACHER = 2  # of the erasures, the first ones
STARTED = datetime(2026, 11, 1, tzinfo=UTC)
CONFIG = """
[flywheel]
state_dir = "var"
[intents]
file = "intents.json"
max_error_rate = 0.10
[model]
threads = 1
[training]
recipe = "quick"
[schedule]
cron = ""
[promotion]
mode = "auto"
bootstrap = "auto"
"""
TEACHER = """
[teacher]
base_url = "{url}"
model = "stand-in"
"""


def compare(data: Path, erasures: int) -> int:
    """Run so many erasures; 0 when they ran, whatever they found."""
    rows = [read(data, split) for split in ("train", "val", "test")]
    began, equal, gone = time.monotonic(), 0, 0
    for seed in range(erasures):
        dealt = deal(*rows, seed=seed, most_intents=INTENTS)
        with tempfile.TemporaryDirectory(prefix="forgetting-") as place:
            found = _one(dealt, seed, Path(place))
        equal += found["after"] == found["without"]
        gone += found["before"] != found["after"]
        print(f"erasure {seed}: {json.dumps(found)}", flush=True)
    minutes = round((time.monotonic() - began) / 60, 1)
    figures = {"equal_hashes": equal, "erasures": erasures, "changed": gone, "minutes": minutes}
    print(json.dumps({"benchmark": "forgetting", "erase": True, **figures}))
    return 0


def _one(dealt: Partition, seed: int, place: Path) -> dict[str, Any]:
    """Names of the adapters before and after an erasure, and of the one that never knew."""
    person = f"u-{random.Random(f'person {seed}').randrange(PEOPLE)}"
    predictions, feedback = _traffic(dealt, seed)
    config = CONFIG
    with ExitStack() as stack:
        if seed < WITH_TEACHER:
            pool = {name: [row.text for row in rows] for name, rows in dealt.teacher.items()}
            url = stack.enter_context(serving(StandIn(pool=pool, seed=seed)))
            config += TEACHER.format(url=url)
        with RunningDaemon(place / "all", config, dealt.intents) as daemon:
            _first_champion(daemon, dealt)
            daemon.post_lines("predictions", predictions)
            daemon.post_lines("feedback", feedback)
            before = _trained(daemon, daemon.start_turn())
            said = daemon.post("erase", rater=person, and_retrain=True)
            after = _trained(daemon, said["turn"])
    written = _of_teacher(place / "all")
    own = {row["id"] for row in predictions if row["rater"] == person}
    others = [row for row in predictions if row["id"] not in own]
    verdicts = [r for r in feedback if r["rater"] != person and r["prediction_id"] not in own]
    with RunningDaemon(place / "others", CONFIG, dealt.intents) as daemon:
        _first_champion(daemon, dealt)
        daemon.post_lines("predictions", others)
        daemon.post_lines("feedback", verdicts)
    _put(place / "others", written)
    with RunningDaemon(place / "others", CONFIG, dealt.intents) as daemon:
        without = _trained(daemon, daemon.start_turn())
    return {
        "before": before,
        "after": after,
        "without": without,
        "erased_predictions": len(own),
        "erased_feedback": len(feedback) - len(verdicts),
        "teacher": len(written),
        "left": said["left"],
    }


def _traffic(dealt: Partition, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Predictions, a tenth of them wrong, and feedback, a tenth of it wrong.

    Of the intent that is said most, raters name another nearly always: it fails, and a teacher is
    asked for it.
    """
    traffic, chance = Traffic(dealt, LOAD, seed), random.Random(f"answers {seed}")
    utterances = traffic.utterances()
    weak = Counter(row.intent for row in utterances if row.intent != NONE).most_common(1)[0][0]
    predictions, answers = [], []
    for number, row in enumerate(utterances):
        wrong = chance.random() < 0.1
        answers.append(traffic.any_other(row.intent) if wrong else row.intent)
        predictions.append(
            {
                "id": f"p-{number}",
                "ts": (STARTED + timedelta(minutes=number)).isoformat(),
                "text": row.text,
                "intent": answers[-1],
                "adapter": "a-before",
                "rater": f"u-{chance.randrange(PEOPLE)}",
            }
        )
    feedback = []
    for position in traffic.rated(utterances):
        right = utterances[position].intent
        wrong = chance.random() < (0.95 if right == weak else 0.1)
        said = traffic.any_other(right) if wrong else right
        verdict = {"verdict": "correct"} if said == answers[position] else {}
        feedback.append(
            {
                "id": f"f-{position}",
                "prediction_id": f"p-{position}",
                "ts": (STARTED + timedelta(minutes=position, seconds=30)).isoformat(),
                "rater": f"u-{chance.randrange(PEOPLE)}",
                **(verdict or {"verdict": "corrected", "intent": said}),
            }
        )
    return predictions, feedback


def _first_champion(daemon: RunningDaemon, dealt: Partition) -> None:
    for split, rows in (("seed", dealt.seeds), ("dev", dealt.dev), ("golden", dealt.golden)):
        daemon.post_lines("samples", _lines(rows, split))
    daemon.wait_for(daemon.start_turn())


def _lines(rows: Sequence[Row], split: str) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {"text": row.text, "intent": row.intent, "split": split}


def _trained(daemon: RunningDaemon, turn: str) -> str:
    """The adapter that a turn trained; the champion's where it gave that again."""
    view = daemon.wait_for(turn)
    return str(view["challenger"] or daemon.get("status")["champion"])


def _of_teacher(folder: Path) -> list[Sample]:
    store = open_store(folder / "var" / "flywheel.duckdb")
    try:
        with store.read() as con:
            return [sample for sample in samples.training(con) if sample.origin == "teacher"]
    finally:
        store.close()


def _put(folder: Path, written: Sequence[Sample]) -> None:
    store = open_store(folder / "var" / "flywheel.duckdb")
    try:
        with store.write() as con:
            samples.add(con, written, generation=None, bought_for=None, at=STARTED)
    finally:
        store.close()
