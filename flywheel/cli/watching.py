"""What `flywheel turn start --wait` shows: each step as it ends, and what is left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from flywheel.cli.screen import Progress, remark, say
from flywheel.cli.text import clean, pad, span

if TYPE_CHECKING:
    from flywheel.cli.client import Daemon

STEPS = (
    "diagnose",
    "synthesize",
    "curate",
    "train",
    "evaluate",
    "gate",
    "decide",
    "apply",
    "watch",
)
ENDED = frozenset({"done", "failed", "cancelled", "held"})
_OVER = frozenset({"done", "skipped", "failed"})
_POLL_S = 1.0


def watch(ask: Daemon, turn_id: str, *, quiet: bool) -> Mapping[str, Any]:
    """Print each step as it ends, until the turn does; return the turn."""
    progress = Progress()
    usual = _usual_seconds(ask.get("turns").value, turn_id)
    told: set[str] = set()
    try:
        while True:
            turn: Mapping[str, Any] = ask.get("turns", turn_id).value
            for step in turn.get("steps") or []:
                if step["state"] in _OVER and step["name"] not in told:
                    told.add(step["name"])
                    progress.clear()
                    if not quiet:
                        say(_told(step))
            if turn["state"] in ENDED:
                return turn
            progress.show(running(turn, usual))
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        progress.clear()
        remark(f"stopped watching; {turn_id} goes on", f"next: flywheel turn show {turn_id}")
        raise typer.Exit(130) from None
    finally:
        progress.clear()


def step_cells(step: Mapping[str, Any]) -> list[str]:
    """Name, state, duration and result of a step, as a table shows them."""
    seconds = step.get("seconds")
    took = "-" if seconds is None else span(float(seconds))
    return [clean(step["name"]), clean(step["state"]), took, clean(step.get("detail") or "")]


def _told(step: Mapping[str, Any]) -> str:
    name, state, took, detail = step_cells(step)
    shown = "" if state == "done" else state
    return f"{name:<11}{pad(took, 12, right=True)}  {' '.join(w for w in (shown, detail) if w)}"


def running(turn: Mapping[str, Any], usual: Mapping[str, float]) -> str:
    """`4/9 train: epoch 3 of 12; about 40 s left`.

    What is left is the job's own estimate, or the step's usual time, and the usual time of the
    steps after it.
    """
    state = str(turn["state"])
    if state not in STEPS:
        return state
    at = STEPS.index(state)
    now: Mapping[str, Any] = turn.get("progress") or {}
    text = f"{at + 1}/{len(STEPS)} {state}"
    if now.get("detail"):
        text += f": {now['detail']}"
    this = now.get("eta_s")
    left = float(usual.get(state, 0) if this is None else this)
    left += sum(usual.get(name, 0) for name in STEPS[at + 1 :])
    return text + (f"; about {span(left)} left" if left >= 1 else "")


def _usual_seconds(turns: Sequence[Mapping[str, Any]], turn_id: str) -> dict[str, float]:
    """Seconds of each step in the latest turn that was finished: the best guess there is."""
    for turn in turns:
        if turn["id"] != turn_id and turn["state"] in {"done", "held"}:
            return {step["name"]: float(step["seconds"] or 0) for step in turn.get("steps") or []}
    return {}
