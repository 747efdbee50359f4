"""A folder in which a promotion waits for a person, as several files' tests begin."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from runtimes import produce_failures, runtime_in, seed_runtime, turn_once

from flywheel import turn as turning
from flywheel.config import PromotionTable
from flywheel.store import decisions

REVIEW = PromotionTable(mode="review", bootstrap="auto")


@dataclasses.dataclass(frozen=True)
class Story:
    """Adapters of the folder: `first` was replaced by `champion`, `better` waits in d-3."""

    folder: Path
    first: str
    champion: str
    better: str


def story_in(folder: Path) -> Story:
    """Two promotions, then a turn whose promotion waits for a person."""
    runtime = runtime_in(folder)
    with contextlib.closing(runtime.store):
        seed_runtime(runtime, golden=48)
        turn_once(runtime)
        produce_failures(runtime, lacking=slice(2, 4))
        turn_once(runtime)
        produce_failures(runtime, lacking=slice(4, 6))
        runtime.config = dataclasses.replace(runtime.config, promotion=REVIEW)
        turn_once(runtime)
        turning.reconcile(runtime)
        with runtime.store.read() as con:
            waiting = decisions.get(con, "d-3")
            first = decisions.get(con, "d-1").challenger
    assert (waiting.verdict, waiting.status) == ("promote", "pending")
    assert waiting.champion is not None
    return Story(folder, first, waiting.champion, waiting.challenger)
