"""Does the loop pay? The real daemon against what a team would do without it.

    python benchmarks/loopbench.py [--quick] [--seeds N] [--data DIR] [--only clean|rots]
                                   [--rots a,b] [--jobs N] [--tree DIR] [--out DIR]

Shipped defaults: strict profile, margin .20, review mode with a scripted reviewer who approves only
what the decision recommends; labels only where the queue asks for them. In the same run, on the
same information at the same time: logistic regression on everything a person has labelled, the
same with raw feedback and no gate, and the loop's recipe on all of it. Clean streams on whole
sets, and fourteen ways in which a loop rots, on 30 intents. Nothing here reads the daemon but
by HTTP and the files of its contract, so that `--tree` measures another tree of the code.
docs/explanation/loopbench.md is the specification. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from loopbench_report import draw, figures, legend, table
from loopbench_rots import BY_NAME, CLEAN, QUICK, ROTS
from loopbench_scoring import StreamRun
from partition import deal_all, read

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "clinc150"
ROT_INTENTS, ROT_TURNS, QUICK_TURNS = 30, 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One stream to be run."""

    rot: str
    seed: int
    data: Path
    intents: int | None  # None: all
    turns: int
    utterances: int
    rated: int
    texts: int  # that the labeller may read a turn
    recipe: str
    cache: Path
    peers: str | None = None  # None: not asked for; else an interpreter, or "" for recorded runs


def main() -> int:
    """Run the benchmark; 0 when every stream ran, whatever the figures are."""
    asked = _arguments()
    _other_tree(asked)
    if not (asked.data / "train.jsonl").exists():
        print(f"{asked.data}: no train.jsonl; name a folder with --data", file=sys.stderr)
        return 2
    began = time.monotonic()
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="loopbench-cache-") as passing:
        cache = asked.cache or Path(passing)
        cases = _cases(asked, cache)
        _read_texts(asked, cases, cache)
        runs = []
        for run in _run_all(cases, asked.jobs):
            runs.append(run)
            with (asked.out / "runs.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(run), ensure_ascii=False) + "\n")
    if not runs:
        return 1
    order = {name: place for place, name in enumerate(BY_NAME)}
    runs.sort(key=lambda run: (order[run.rot], run.seed))
    lines = [*table(runs), "", *legend(runs)]
    (asked.out / "loopbench.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(asked.out / "loopbench.png", runs)
    print("", *lines, sep="\n")
    found = figures(runs) | {
        "quick": asked.quick,
        "data": asked.data.name,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "cpu_minutes": round(_cpu_s() / 60, 1),
    }
    print(json.dumps(found))
    return int(len(runs) < len(cases))


def _cases(asked: argparse.Namespace, cache: Path) -> list[Case]:
    """Clean streams first: they take longest."""
    few = asked.intents or ROT_INTENTS
    small = Case(
        rot="", seed=0, data=asked.data, intents=few, turns=asked.turns or ROT_TURNS,
        utterances=40 * few, rated=10 * few, texts=asked.texts, recipe="quick", cache=cache,
        peers=asked.peers,
    )  # fmt: skip
    if asked.quick:
        small = replace(small, turns=asked.turns or QUICK_TURNS)
    whole = replace(
        small, rot=CLEAN.name, intents=asked.intents, turns=asked.turns or 5, utterances=3000,
        rated=600, recipe="balanced",
    )  # fmt: skip
    clean = replace(small, rot=CLEAN.name) if asked.quick else whole
    first = range(asked.first, asked.first + asked.seeds)
    cases: list[Case] = []
    if asked.only != "rots":
        cases += [replace(clean, seed=seed) for seed in first]
    if asked.only != "clean":
        seeds = range(asked.first, asked.first + asked.rot_seeds)
        cases += [replace(small, rot=name, seed=seed) for name in asked.rots for seed in seeds]
    return cases


def _read_texts(asked: argparse.Namespace, cases: Sequence[Case], cache: Path) -> None:
    """Compute the frozen states of every text once, before the runs share them."""
    from loopbench_answers import Answers

    rows = [read(asked.data, split) for split in ("train", "val", "test")]
    texts: set[str] = set()
    for intents, seed in {(case.intents, case.seed) for case in cases}:
        dealt = deal_all(*rows, seed=seed, most_intents=intents)
        texts |= {row.text for rows in dealt.traffic.values() for row in rows}
        texts |= {row.text for row in (*dealt.seeds, *dealt.dev, *dealt.golden, *dealt.test)}
    Answers(cache).embeddings(sorted(texts))
    say(f"{len(texts)} texts read")


def _run_all(cases: Sequence[Case], jobs: int) -> Iterator[StreamRun]:
    """Every case, so many at a time; each in a process of its own. One that fails is told."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        started = {pool.submit(_run, case): case for case in cases}
        for future in as_completed(started):
            if error := future.exception():
                case = started[future]
                say(f"{case.rot} {case.seed} FAILED: {error!r}")
                traceback.print_exception(error)
            else:
                yield future.result()


def _cpu_s() -> float:
    """Processor seconds of this process and of all that it waited for: daemons and workers too."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _run(case: Case) -> StreamRun:
    from loopbench_run import run_stream

    return run_stream(case, say)


def _other_tree(asked: argparse.Namespace) -> None:
    """Start anew with another tree's package before ours: its daemon, worker and rules."""
    if asked.tree is None:
        return
    if not (asked.tree / "flywheel" / "__init__.py").exists():
        raise SystemExit(f"{asked.tree}: no flywheel/ there; name the folder of a checkout")
    told = sys.argv[1:]
    kept = [
        word
        for before, word in zip(["", *told], told, strict=False)
        if before != "--tree" and word != "--tree" and not word.startswith("--tree=")
    ]
    environment = {**os.environ, "PYTHONPATH": str(asked.tree.resolve())}
    os.execve(sys.executable, [sys.executable, __file__, *kept], environment)


def say(line: str) -> None:
    """One line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four rots, one small clean stream")
    parser.add_argument("--seeds", type=int, help="clean streams (3; 1 when quick)")
    parser.add_argument("--rot-seeds", type=int, default=1, help="of each rot (1)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train and test")
    parser.add_argument("--only", choices=("clean", "rots"), help="one of the two parts")
    parser.add_argument("--rots", help="names, with commas between (all; four when quick)")
    parser.add_argument("--intents", type=int, help="keep this many (all; 30 of rots)")
    parser.add_argument("--turns", type=int, help="after the first champion (5; 4 of rots)")
    parser.add_argument("--texts", type=int, default=30, help="read by the labeller a turn (30)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each (2)")
    parser.add_argument("--tree", type=Path, help="measure the code of this checkout")
    parser.add_argument("--cache", type=Path, help="keep states of texts here for further runs")
    recorded = "SetFit and AutoIntent too: as recorded, or run now by a Python that has them"
    parser.add_argument("--peers", nargs="?", const="", metavar="PYTHON", help=recorded)
    parser.add_argument("--out", type=Path, default=Path("loopbench.out"), help="table and PNG")
    asked = parser.parse_args()
    asked.seeds = asked.seeds or (1 if asked.quick else 3)
    names = (
        asked.rots.split(",") if asked.rots else QUICK if asked.quick else [r.name for r in ROTS]
    )
    unknown = sorted(set(names) - {rot.name for rot in ROTS})
    if unknown:
        parser.error(f"no such rot: {', '.join(unknown)}; known: {', '.join(r.name for r in ROTS)}")
    asked.rots = names
    return asked


if __name__ == "__main__":
    sys.exit(main())
