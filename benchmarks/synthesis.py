"""Do samples written for the failures help, and does curation keep the bad ones out?

    python benchmarks/synthesis.py [--quick] [--seeds N] [--data DIR] [--no-loop]

The real briefs, teacher client and curation against a stand-in teacher that answers from held-out
utterances of the set. Arms buy the same number of samples: for the failures, the same allocation
without failures and contrast, uniformly, and where there are fewest samples. The model is logistic
regression on the frozen embedding. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from attacks import Attack, Obedience, attacks
from loop_report import ROOT
from partition import Partition, deal, read
from stand_in_teacher import Faults, StandIn, serving
from synthesis_model import Model, Written, buy, curated, round_of
from traffic import Load

from flywheel.config.tables import SynthesisTable
from flywheel.content import content_id
from flywheel.curation import normalise
from flywheel.records import NONE, Brief, Intent, Sample

DATA = ROOT.parent / "shared" / "data" / "clinc150"
PER_INTENT = 10  # samples an intent may get in the arms that choose
A_TURN = 200  # samples bought, of 150 intents
FAULTY = Faults(
    wrong_label=0.20,
    golden_leak=0.10,
    off_topic=0.05,
    near_duplicate=0.10,
    blind_error=0.03,
    malformed=0.02,
    wrong_count=0.03,
    refusal=0.01,
    storm=0.05,
    cut=0.01,
)


def main() -> int:
    """Run the benchmark; 0 when it ran, whatever the figures are."""
    asked = _arguments()
    if asked.buy:
        return _buy_and_die(*asked.buy)
    rows = [read(asked.data, split) for split in ("train", "val", "test")]
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="flywheel-synthesis-") as name:
        model = Model(asked.cache or Path(name) / "cache", asked.threads)
        for seed in range(asked.first, asked.first + asked.seeds):
            dealt = deal(*rows, seed=seed, most_intents=asked.intents)
            runs.append(_one_seed(dealt, seed, model))
        found = {key: round(fmean(run[key] for run in runs), 3) for key in runs[0]}
        found["injection_success"] = _injections(dealt)
        found["repeat_purchases"] = _repeats(Path(name) / "killed", dealt)
    found["final_macro"] = None if asked.quick or asked.no_loop else _loop(asked)
    print(json.dumps(found))
    return 0


def _one_seed(dealt: Partition, seed: int, model: Model) -> dict[str, float]:
    """All arms on one deal of the set."""
    load = Load() if len(dealt.intents) > 100 else Load(utterances=1200, rated=300)
    round_ = round_of(dealt, model, load, seed)
    table = SynthesisTable(
        max_samples=A_TURN * len(dealt.intents) // 150,
        per_intent=PER_INTENT,
        per_request=PER_INTENT,
    )
    chosen = round_.briefs(table)
    total = sum(brief.ask for brief in chosen)
    failing = sorted({b.intent.name for b in chosen if b.failure != "border"} - {NONE})
    neighbours = sorted(
        {brief.neighbour.name for brief in chosen if brief.neighbour} - {*failing, NONE}
    )
    say(
        f"seed {seed}: {len(failing)} of {len(dealt.intents)} intents fail, {total} samples, "
        f"{len(neighbours)} neighbours"
    )
    plans = {
        "failure": chosen,
        "blank": [_blank(brief) for brief in chosen],
        "uniform": _spread(dealt, round_.counts, total, even=True),
        "balance": _spread(dealt, round_.counts, total, even=False),
    }
    scores = {}
    for arm, briefs in plans.items():
        written = _bought(dealt, briefs, Faults(), seed)
        kept = curated(round_, model, written)
        scores[arm] = model.score(round_, kept.kept, failing, neighbours)
        say(f"  {arm:8} {len(written.samples):4} written, {scores[arm]}")
    before = model.score(round_, curated(round_, model, Written()).kept, failing, neighbours)
    say(f"  {'none':8} {before}")
    noisy = curated(
        round_, model, _bought(dealt, chosen, Faults(wrong_label=0.20, blind_error=0.03), seed)
    )
    after = model.score(round_, noisy.kept, failing, neighbours)
    say(f"  {'noisy':8} {after}")
    return {
        "failing_gain_vs_uniform": scores["failure"].failing - scores["uniform"].failing,
        "failing_gain_vs_balance": scores["failure"].failing - scores["balance"].failing,
        "failing_gain_vs_blank": scores["failure"].failing - scores["blank"].failing,
        "neighbour_change": scores["failure"].neighbours - before.neighbours,
        "macro_gain": scores["failure"].macro - before.macro,
        "noisy_teacher_loss": scores["failure"].macro - after.macro,
        **_caught(dealt, chosen, round_, model, seed),
    }


def _blank(brief: Brief) -> Brief:
    return replace(brief, id=f"{brief.id}-blank", failed_texts=(), contrast=(), neighbour=None)


def _spread(dealt: Partition, counts: dict[str, int], total: int, *, even: bool) -> list[Brief]:
    """Samples by intent without regard to failures: evenly, or to those with fewest samples."""
    asks = dict.fromkeys(dealt.intents, 0)
    for _ in range(total):
        room = [name for name in asks if asks[name] < len(dealt.teacher[name])]
        if not room:
            break
        least = min(room, key=lambda name: (asks[name] + (0 if even else counts[name]), name))
        asks[least] += 1
    return [_plain_brief(name, ask) for name, ask in asks.items() if ask]


def _plain_brief(name: str, ask: int) -> Brief:
    intent = Intent(name=name, description=name.replace("_", " "))
    return Brief(
        id=content_id("b", [name, ask]),
        intent=intent,
        neighbour=None,
        failed_texts=(),
        examples=(),
        contrast=(),
        ask=ask,
        why="",
    )


def _pool(dealt: Partition) -> dict[str, list[str]]:
    return {name: [row.text for row in rows] for name, rows in dealt.teacher.items()}


def _truth(dealt: Partition) -> dict[str, str]:
    groups = (dealt.seeds, dealt.dev, dealt.golden, *dealt.traffic.values())
    return {normalise(row.text): row.intent for rows in groups for row in rows}


def _stand_in(dealt: Partition, faults: Faults, seed: int) -> StandIn:
    golden = [row.text for row in (*dealt.golden, *dealt.dev)]
    return StandIn(pool=_pool(dealt), golden=golden, faults=faults, seed=seed, truth=_truth(dealt))


def _bought(dealt: Partition, briefs: Sequence[Brief], faults: Faults, seed: int) -> Written:
    stand_in = _stand_in(dealt, faults, seed)
    with serving(stand_in) as url:
        written = buy(url, briefs, _intents(dealt))
    return replace(written, planted=dict(stand_in.planted), truth=dict(stand_in.truth))


def _intents(dealt: Partition) -> tuple[Intent, ...]:
    return tuple(Intent(name=n, description=n.replace("_", " ")) for n in dealt.intents)


def _caught(
    dealt: Partition, briefs: Sequence[Brief], round_: Any, model: Model, seed: int
) -> dict[str, float]:
    """What curation does to each planted fault."""
    written = _bought(dealt, briefs, FAULTY, seed)
    result = curated(round_, model, written)
    kept = {sample.id for sample in result.kept}
    teacher = [sample for sample in written.samples if sample.origin == "teacher"]
    bad: dict[str, list[bool]] = {"wrong_label": [], "golden_leak": [], "off_topic": []}
    good: list[bool] = []
    for sample in teacher:
        key = normalise(sample.text)
        fault = written.planted.get(key)
        if fault is None and written.truth.get(key) == sample.intent:
            good.append(sample.id in kept)
        elif (fault in bad and written.truth.get(key) != sample.intent) or fault == "golden_leak":
            bad[fault].append(sample.id not in kept)
    reasons = result.by_label
    wronged = Counter(
        reasons[s.id]
        for s in teacher
        if s.id in reasons and written.truth.get(normalise(s.text)) == s.intent
    )
    refused = wronged.total()
    say(
        "  planted and caught: "
        + ", ".join(f"{name} {sum(hits)} of {len(hits)}" for name, hits in bad.items())
        + f"; good kept {sum(good)} of {len(good)}, refused for their label {dict(wronged)}"
    )
    reasons = result.reasons
    say(f"  all refused: {dict(Counter(reasons[s.id] for s in teacher if s.id in reasons))}")
    return {
        "leak_recall": fmean(bad["golden_leak"]) if bad["golden_leak"] else 1.0,
        "wrong_label_recall": fmean(bad["wrong_label"]) if bad["wrong_label"] else 1.0,
        "good_refused": refused / max(1, len(good)),
    }


def _injections(dealt: Partition) -> int:
    """Attacks after which a sample with a wrong label, or of the attacker's, was kept."""
    function, other = sorted(dealt.intents)[:2]
    known = attacks(function, other)
    golden = [row.text for row in dealt.golden if row.intent not in (function, NONE)]
    stand_in = _stand_in(dealt, Faults(), 0)
    stand_in.obeys = Obedience(known, golden)
    briefs = [_attacked(dealt, attack, function, other) for attack in known]
    with serving(stand_in) as url:
        written = buy(url, briefs, _intents(dealt))
        bare = buy(url, briefs, _intents(dealt), verify=False)
    held_out = [row.text for row in (*dealt.golden, *dealt.dev)]
    kept = curated(None, None, written, briefs=briefs, held_out=held_out).kept
    done = _wrong(kept, stand_in)
    undefended = _wrong(bare.samples, stand_in)
    say(
        f"injection: {len(known)} attacks in 3 languages, {len(done)} succeeded "
        f"({len(undefended)} with the tolerant parser alone); {len(kept)} samples kept"
    )
    return len(done)


def _wrong(samples: Sequence[Sample], stand_in: StandIn) -> set[str]:
    return {
        str(sample.provenance["brief"])
        for sample in samples
        if stand_in.truth.get(normalise(sample.text)) != sample.intent
    }


def _attacked(dealt: Partition, attack: Attack, function: str, other: str) -> Brief:
    failed = [row.text for row in dealt.traffic[function][:4]]
    seeds = [row for row in dealt.seeds if row.intent in (function, other)]
    intents = {intent.name: intent for intent in _intents(dealt)}
    return Brief(
        id=content_id("b", [attack.text]),
        intent=intents[function],
        neighbour=intents[other],
        failed_texts=(attack.text, *failed),
        examples=tuple(row.text for row in seeds if row.intent == function),
        contrast=tuple(row.text for row in seeds if row.intent == other),
        ask=4,
        why="",
    )


def _repeats(folder: Path, dealt: Partition) -> int:
    """Kill a buyer in the middle; how many answers that it had stored are bought again?"""
    folder.mkdir(parents=True)
    briefs = [_plain_brief(name, 10) for name in dealt.intents]
    stand_in = _stand_in(dealt, Faults(), 0)
    with serving(stand_in) as url:
        command = [sys.executable, __file__, "--buy", str(folder), url]
        (folder / "names.json").write_text(json.dumps([b.intent.name for b in briefs]))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, env=environment)
        while stand_in.requests < len(briefs) // 2 and child.poll() is None:
            time.sleep(0.005)
        child.kill()
        child.wait()
        stored = _stored(folder)
        before = stand_in.requests
        subprocess.run(command, env=environment, check=True)
        again = stand_in.requests - before
        subprocess.run(command, env=environment, check=True)
        idle = stand_in.requests - before - again
    wanted = len(stand_in.bodies)
    say(f"killed with {stored} of {wanted} answers stored; {again} bought after, {idle} later")
    return max(0, again - (wanted - stored)) + idle


def _stored(folder: Path) -> int:
    from flywheel.store import open_store

    store = open_store(folder / "flywheel.duckdb")
    try:
        with store.read() as con:
            row = con.execute("SELECT count(*) FROM teacher_answers").fetchone()
            return int(row[0]) if row else 0
    finally:
        store.close()


def _buy_and_die(folder: str, url: str) -> int:
    from flywheel.store import open_store
    from flywheel.store.teacher import AnswerTable

    names = json.loads((Path(folder) / "names.json").read_text())
    store = open_store(Path(folder) / "flywheel.duckdb")
    buy(
        url,
        [_plain_brief(name, 10) for name in names],
        (),
        kept=AnswerTable(store, "t-1"),
        verify=False,
    )
    store.close()
    return 0


def _loop(asked: argparse.Namespace) -> float | None:
    """The loop benchmark with the teacher on: macro accuracy after its last turn."""
    command = [sys.executable, str(Path(__file__).with_name("loop_clinc150.py")), "--teacher"]
    command += ["--seeds", "1", "--profiles", "fast", "--no-log", "--data", str(asked.data)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = child.stdout.splitlines()
    for line in lines:
        if " turn " in line:
            say(line)
    if child.returncode or not lines:
        say(f"the loop failed: {child.stderr[-500:]}")
        return None
    return float(json.loads(lines[-1])["final_macro"])


def say(line: str) -> None:
    """One line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Samples for the failures, and only good ones.")
    parser.add_argument("--quick", action="store_true", help="one seed, few intents, no loop")
    parser.add_argument("--seeds", type=int, default=3, help="partitions to run (3)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train, val and test")
    parser.add_argument("--intents", type=int, help="keep only this many (all)")
    parser.add_argument("--threads", type=int, default=2, help="of the model (2)")
    parser.add_argument("--no-loop", action="store_true", help="leave the five turns out")
    parser.add_argument("--first", type=int, default=0, help="seed of the first partition (0)")
    parser.add_argument("--cache", type=Path, help="folder for embeddings, kept (none is kept)")
    parser.add_argument("--buy", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.quick:
        asked.seeds, asked.intents = 1, asked.intents or 60
    return asked


if __name__ == "__main__":
    sys.exit(main())
