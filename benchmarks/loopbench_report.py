"""The table, the picture and the figures of a benchmark of the loop. Pure but for `draw`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import peer_runs
from loopbench_rots import BY_NAME, CLEAN
from loopbench_scoring import StreamRun, failing_counts
from PIL import Image, ImageDraw, ImageFont
from scores import Score

_WIDTH, _ROW, _LEFT, _EDGE = 1100, 34, 190, 60  # pixels
_MARKS = (("first", "#999999"), ("labelled", "#1f618d"), ("naive", "#b9770e"), ("loop", "#b03a2e"))


def table(runs: Sequence[StreamRun]) -> Iterator[str]:
    """One line a run, as Markdown: per cents of macro accuracy unless a column says otherwise."""
    yield (
        "| stream | seed | first | loop | lowest | (0) labelled | (1) naive | its lowest "
        "| (2) recipe | over the best | over (1) ± SE | worst tenth | oos recall | texts read "
        "| promoted, by the gates alone | held without end | lost | passed |"
    )
    yield "| --- " * 18 + "|"
    for run in runs:
        yield "| " + " | ".join(_cells(run)) + " |"


def _cells(run: StreamRun) -> Iterator[str]:
    last, later = run.last, run.turns[1:]
    yield run.rot
    yield str(run.seed)
    yield f"{run.first:.1f}"
    yield f"{last.score.macro:.1f}"
    yield f"{min(turn.score.macro for turn in run.turns):.1f}"
    yield _macro(last.labelled)
    yield _macro(last.naive)
    yield _macro(min((turn.naive for turn in run.turns if turn.naive), key=lambda one: one.macro))
    yield _macro(run.recipe)
    yield f"{run.gain:+.1f}"
    yield f"{run.ahead[0]:+.1f} ± {run.ahead[1]:.1f}"
    yield f"{last.score.worst_decile:.0f}"
    outside = last.score.out_of_scope
    yield "–" if outside is None else f"{outside:.0f}"
    yield str(last.texts)
    alone = sum(turn.by_gates for turn in later)
    yield f"{sum(turn.promoted for turn in later)} of {len(later)}, {alone}"
    yield str(sum(turn.without_end for turn in later))
    yield str(sum(len(turn.lost) for turn in later))
    yield "yes" if run.passed else "no"


def _macro(score: Score | None) -> str:
    return "–" if score is None else f"{score.macro:.1f}"


def figures(runs: Sequence[StreamRun]) -> dict[str, Any]:
    """The keys that the benchmark ends with; None where no run tells."""
    clean = [run for run in runs if run.rot == CLEAN.name]
    rots = [run for run in runs if run.rot != CLEAN.name]
    hits, false, failing = (
        sum(counts)
        for counts in zip(
            *(failing_counts(turn.flags) for run in runs for turn in run.turns), strict=True
        )
    )
    right, wrong, learned = (
        sum(getattr(run, name) for run in runs)
        for name in ("refused_right", "refused_wrong", "learned_wrong")
    )
    outside = [
        [turn.score.out_of_scope for turn in run.turns if turn.score.out_of_scope is not None]
        for run in clean
    ]
    swings = [abs(b - a) for values in outside for a, b in pairwise(values)]
    return {
        "gain_over_best_baseline": _mean(run.gain for run in clean),
        "error_cut": _mean(
            (run.gain / (100 - run.best_baseline) for run in clean if run.best_baseline < 100), 3
        ),
        "texts_read": _mean(float(run.last.texts) for run in clean),
        "macro": _mean(run.last.score.macro for run in clean),
        "worst_decile": _mean(run.last.score.worst_decile for run in clean),
        "harmed": sum(len(run.harmed) for run in clean),
        "first_macro": _mean(run.first for run in clean),
        "labelled_macro": _mean(run.last.labelled.macro for run in clean if run.last.labelled),
        "naive_macro": _mean(run.last.naive.macro for run in clean if run.last.naive),
        "recipe_macro": _mean(run.recipe.macro for run in clean if run.recipe),
        **{
            f"{peer}_micro": _mean(run.peers[peer] for run in clean if peer in run.peers)
            for peer in peer_runs.PEERS
        },
        "rot_passed": sum(run.passed for run in rots),
        "rot_cases": len(rots),
        "beats_naive": sum(run.beats_naive for run in rots),
        "behind_naive": sum(run.behind_naive for run in rots),
        "deadlocks": sum(run.deadlocks for run in runs),
        "failing_precision": _share(hits, hits + false),
        "failing_recall": _share(hits, failing),
        "noise_precision": _share(wrong, wrong + right),
        "noise_recall": _share(wrong, wrong + learned),
        "oos_recall_min": _rounded(min((min(each) for each in outside if each), default=None)),
        "oos_swing": _rounded(max(swings, default=None)),
        "intents_lost": sum(len(turn.lost) for run in runs for turn in run.turns),
        "promoted": sum(turn.promoted for run in runs for turn in run.turns[1:]),
        "promoted_by_gates_alone": sum(turn.by_gates for run in runs for turn in run.turns[1:]),
        "seeds": len({run.seed for run in runs}),
    }


def _mean(values: Iterable[float], digits: int = 2) -> float | None:
    known = list(values)
    return round(fmean(known), digits) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def draw(path: Path, runs: Sequence[StreamRun]) -> None:
    """Write a picture: a line a run, with the first champion, both baselines and the loop.

    The thin red line goes from the loop's lowest turn to its highest.
    """
    height = _ROW * (len(runs) + 3)
    picture = Image.new("RGB", (_WIDTH, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    places = [_values(run) for run in runs]
    low = min(value for each in places for value in (*each.values(), 100.0)) - 1
    usable = _WIDTH - _LEFT - _EDGE

    def x(value: float) -> float:
        return _LEFT + usable * (value - low) / (100 - low)

    for number, (key, colour) in enumerate(_MARKS):
        at = _LEFT + 190 * number
        pen.ellipse((at, 10, at + 10, 20), fill=colour)
        pen.text((at + 16, 15), _SAYS[key], fill=colour, font=font, anchor="lm")
    for tick in range(int(low) + 1, 101, max(1, round((100 - low) / 10))):
        pen.line([(x(tick), _ROW), (x(tick), height - _ROW)], fill="#eeeeee")
        pen.text((x(tick), height - 8), f"{tick}", fill="black", font=font, anchor="mb")
    for row, (run, values) in enumerate(zip(runs, places, strict=True)):
        y = _ROW * (row + 1.5)
        pen.text((8, y), f"{run.rot} {run.seed}", fill="black", font=font, anchor="lm")
        over = [turn.score.macro for turn in run.turns]
        pen.line([(x(min(over)), y), (x(max(over)), y)], fill=_MARKS[-1][1])
        for key, colour in _MARKS:
            if key in values:
                at = x(values[key])
                pen.ellipse((at - 5, y - 5, at + 5, y + 5), fill=colour)
    picture.save(path)


_SAYS = {
    "first": "first champion",
    "labelled": "(0) labelled",
    "naive": "(1) naive",
    "loop": "the loop",
}


def _values(run: StreamRun) -> dict[str, float]:
    last = run.last
    values = {"first": run.first, "loop": last.score.macro}
    values |= {"labelled": last.labelled.macro} if last.labelled else {}
    return values | ({"naive": last.naive.macro} if last.naive else {})


def legend(runs: Sequence[StreamRun]) -> Iterator[str]:
    """What each stream of the table is."""
    for name in dict.fromkeys(run.rot for run in runs):
        yield f"{name}: {BY_NAME[name].says}"
