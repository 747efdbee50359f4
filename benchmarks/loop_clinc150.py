"""Does the loop turn on real input? Five turns of the real daemon on a public set.

    python benchmarks/loop_clinc150.py [--quick] [--seeds N] [--data DIR] [--teacher]

A first champion comes from five seeds an intent. In each turn the champion's answers to Zipf-like
traffic are logged, some get feedback, a tenth of it wrong; a turn is started, and labels that a
gate asks for are given while the pool lasts. After each turn the champion is scored on test rows
that the daemon never sees. Any folder with files of the same form can be put in. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon_harness import RunningDaemon
from loop_report import ROOT, Run, Turned, figures, log, table
from outside import Outside
from partition import Partition, Row, deal, read
from scores import intents_lost, score
from stand_in_teacher import Faults, StandIn, serving
from traffic import Load, Pool, Traffic

DATA = ROOT.parent / "shared" / "data" / "clinc150"
QUICK_INTENTS, QUICK_TURNS = 40, 2
QUICK_LOAD = Load(utterances=1200, rated=300)  # more an intent, so that two turns show something

TEACHER = """
[teacher]
base_url = "{url}"
model = "stand-in"
"""
CONFIG = """
[flywheel]
state_dir = "var"
[intents]
file = "intents.json"
[model]
threads = {threads}
[schedule]
cron = ""
[promotion]
mode = "auto"
bootstrap = "auto"
[gates.overall]
profile = "{profile}"
[gates.intents]
margin = 0.30
max_labels_per_intent = {labels}
max_labels_per_turn = {labels}
"""


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    if not (asked.data / "train.jsonl").exists():
        print(f"{asked.data}: no train.jsonl; name a folder with --data", file=sys.stderr)
        return 2
    rows = [read(asked.data, split) for split in ("train", "val", "test")]
    runs, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as name:
        outside = Outside(Path(name), asked.threads)
        for seed in range(asked.first, asked.first + asked.seeds):
            dealt = deal(*rows, seed=seed, most_intents=asked.intents)
            say(
                f"seed {seed}: {len(dealt.intents)} intents, {len(dealt.seeds)} seeds, "
                f"{len(dealt.dev)} dev, {len(dealt.golden)} golden, "
                f"{sum(map(len, dealt.traffic.values()))} traffic, {len(dealt.test)} test"
            )
            for profile in asked.profiles:
                folder = Path(name) / f"{seed}-{profile}"
                with _teacher(dealt, seed, asked) as url:
                    runs.append(one_run(dealt, seed, profile, folder, outside, asked, url))
                shutil.rmtree(folder)
    lines = list(table(runs))
    print("", *lines, sep="\n")
    found = figures(runs) | {
        "intents": asked.intents or "all",
        "quick": asked.quick,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    if not asked.quick and not asked.no_log:
        log(lines, found)
    print(json.dumps(found))
    return 0


def one_run(
    dealt: Partition,
    seed: int,
    profile: str,
    folder: Path,
    outside: Outside,
    asked: argparse.Namespace,
    url: str = "",
) -> Run:
    """One daemon from its first champion to its last."""
    run = Run(seed=seed, profile=profile)
    pool = Pool(dealt.labels)
    traffic = Traffic(dealt, asked.load, seed)
    config = CONFIG.format(threads=asked.threads, profile=profile, labels=max(1, pool.size))
    if url:
        config += TEACHER.format(url=url)
    texts = [row.text for row in dealt.test]
    with RunningDaemon(folder, config, dealt.intents) as daemon:
        for split, rows in (("seed", dealt.seeds), ("dev", dealt.dev), ("golden", dealt.golden)):
            daemon.post_lines("samples", _samples(rows, split))
        view, bought = _turn(daemon, pool)
        first = daemon.champion()
        _note(run, dealt, outside, first, view, bought, daemon)
        for number in range(1, asked.turns + 1):
            champion = daemon.champion()
            utterances = traffic.utterances()
            answers = outside.answers(champion, [row.text for row in utterances])
            _produce(daemon, traffic, utterances, answers, outside, champion, f"{seed}-{number}")
            view, bought = _turn(daemon, pool)
            _note(run, dealt, outside, daemon.champion(), view, bought, daemon)
        last = daemon.champion()
    run.lost = intents_lost(dealt.test, outside.answers(first, texts), outside.answers(last, texts))
    if run.lost:
        say(f"  intents lost against the first champion: {', '.join(run.lost)}")
    return run


@contextmanager
def _teacher(dealt: Partition, seed: int, asked: argparse.Namespace) -> Iterator[str]:
    """The stand-in's address, where a teacher is asked for; it has utterances of its own."""
    if not asked.teacher:
        yield ""
        return
    pool = {name: [row.text for row in rows] for name, rows in dealt.teacher.items()}
    faults = Faults(wrong_label=0.05, near_duplicate=0.05, blind_error=0.03)
    with serving(StandIn(pool=pool, faults=faults, seed=seed)) as url:
        yield url


def _produce(
    daemon: RunningDaemon,
    traffic: Traffic,
    utterances: Sequence[Row],
    answers: dict[str, str],
    outside: Outside,
    champion: Path,
    prefix: str,
) -> None:
    """Log the champion's answers and what raters say to some of them."""
    now = datetime.now(UTC).isoformat()
    daemon.post_lines(
        "predictions",
        (
            {
                "id": f"p-{prefix}-{position}",
                "ts": now,
                "text": row.text,
                "intent": answers[row.text],
                "adapter": champion.name,
            }
            for position, row in enumerate(utterances)
        ),
    )
    rated = traffic.rated(utterances)
    labels = {position: utterances[position].intent for position in rated}
    tempted, careless = traffic.mistaken(rated)
    asked = [(utterances[position].text, labels[position]) for position in tempted]
    labels |= dict(zip(tempted, outside.best_wrong(champion, asked), strict=True))
    labels |= {position: traffic.any_other(labels[position]) for position in careless}
    daemon.post_lines(
        "feedback",
        (
            {
                "id": f"f-{prefix}-{position}",
                "prediction_id": f"p-{prefix}-{position}",
                "ts": datetime.now(UTC).isoformat(),
                **_verdict(answers[utterances[position].text], label),
                "rater": f"u-{position % 97}",
            }
            for position, label in labels.items()
        ),
    )


def _verdict(answered: str, label: str) -> dict[str, str]:
    if answered == label:
        return {"verdict": "correct"}
    return {"verdict": "corrected", "intent": label}


def _turn(daemon: RunningDaemon, pool: Pool) -> tuple[dict[str, Any], int]:
    """Run one turn to its rest; give the labels that it asks for while there are any."""
    turn, bought = daemon.start_turn(), 0
    while True:
        view = daemon.wait_for(turn)
        rows = pool.take(view["labels_wanted"]) if view["state"] == "held" else []
        if not rows:
            return view, bought
        bought += len(rows)
        daemon.post_lines("samples", _samples(rows, "golden"))


def _samples(rows: Sequence[Row], split: str) -> Iterator[dict[str, str]]:
    for row in rows:
        yield {"text": row.text, "intent": row.intent, "split": split}


def _note(
    run: Run,
    dealt: Partition,
    outside: Outside,
    champion: Path,
    view: dict[str, Any],
    bought: int,
    daemon: RunningDaemon,
) -> None:
    """Keep and print what the turn did."""
    steps: Counter[str] = Counter()
    for step in view["steps"]:
        steps[step["name"]] += step["seconds"] or 0.0
    texts = [row.text for row in dealt.test]
    decision, gates, challenger = "no challenger", "", None
    if view["decision"]:
        decided = daemon.get("decisions", view["decision"])
        decision = decided["verdict"]
        trained = outside.answers(champion.parent / decided["challenger"], texts)
        challenger = score(dealt.test, trained).macro
        gates = ", ".join(f"{gate['gate']} {gate['verdict']}" for gate in decided["gates"])
    metrics = {each["id"]: each["metrics"] for each in daemon.get("adapters")}
    turned = Turned(
        turn=len(run.turns),
        score=score(dealt.test, outside.answers(champion, texts)),
        decision=decision,
        challenger=challenger,
        bought=bought,
        samples=int(metrics.get(view.get("challenger"), {}).get("train_rows", 0)),
        steps={name: round(seconds, 1) for name, seconds in steps.items()},
    )
    run.turns.append(turned)
    say(
        f"  seed {run.seed} {run.profile} turn {turned.turn}: macro {turned.score.macro:.2f}, "
        f"{decision}{'' if challenger is None else f' of {challenger:.2f}'}, "
        f"{bought} labels, {turned.seconds:.0f} s; {gates}"
    )


def say(line: str) -> None:
    """One line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Five turns of the real daemon on a public set.")
    parser.add_argument("--quick", action="store_true", help="one seed, few intents, fast profile")
    parser.add_argument("--seeds", type=int, default=3, help="partitions to run (3)")
    parser.add_argument("--first", type=int, default=0, help="the first partition (0)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train, val and test")
    parser.add_argument("--turns", type=int, default=5, help="turns after the first champion (5)")
    parser.add_argument("--intents", type=int, help="keep only this many (all)")
    parser.add_argument("--profiles", default="fast,strict", help="of the gates (fast,strict)")
    parser.add_argument("--threads", type=int, default=2, help="of the worker (2)")
    parser.add_argument("--teacher", action="store_true", help="let the stand-in teacher write")
    parser.add_argument("--no-log", action="store_true", help="leave docs/log.md as it is")
    asked = parser.parse_args()
    asked.load = Load()
    asked.profiles = asked.profiles.split(",")
    if asked.quick:
        asked.seeds, asked.profiles = 1, ["fast"]
        asked.intents, asked.turns = asked.intents or QUICK_INTENTS, min(asked.turns, QUICK_TURNS)
        asked.load = QUICK_LOAD
    return asked


if __name__ == "__main__":
    sys.exit(main())
