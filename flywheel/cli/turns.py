"""`flywheel turn`: start, watch, list and cancel turns.

A turn that is watched prints each step as it ends, and meanwhile how long the rest will take.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import Json, daemon, examples, group
from flywheel.cli.screen import Column, ProgressLine, facts, heading, raw_json, remark, say, table
from flywheel.cli.status import progress
from flywheel.cli.text import clean, moment, pad, span
from flywheel.errors import NotFound

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient


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


def watch(ask: DaemonClient, turn_id: str, *, quiet: bool) -> Mapping[str, Any]:
    """Print each step as it ends, until the turn does; return the turn."""
    progress = ProgressLine()
    usual = _usual_seconds(ask.get("turns").value, turn_id)
    printed: set[str] = set()
    try:
        while True:
            turn: Mapping[str, Any] = ask.get("turns", turn_id).value
            for step in turn.get("steps") or []:
                if step["state"] in _OVER and step["name"] not in printed:
                    printed.add(step["name"])
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


app = group("Turns: start, watch, list, cancel.")

_FAILED = frozenset({"failed", "cancelled"})

TurnId = Annotated[str, typer.Argument(metavar="TURN", help="As `flywheel turn list` prints it.")]


@app.command(
    epilog=examples(
        "flywheel turn start", "flywheel turn start --wait", "flywheel turn start --dry-run"
    )
)
def start(
    ctx: typer.Context,
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Show its steps until it ends.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what the teacher would be asked, and its price."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Open a turn now instead of at the next scheduled time.

    With --wait, exit code 1 when it fails or is cancelled. Ctrl-C stops the watching only.
    """
    ask = daemon(ctx)
    if dry_run:
        return _preview(ask, as_json=as_json)
    reply = ask.post("turns")
    turn_id = str(reply.value["id"])
    if not wait:
        if as_json:
            return raw_json(reply.body)
        say(f"{clean(turn_id)} is open", f"next: flywheel turn show {clean(turn_id)}")
        return None
    turn = watch(ask, turn_id, quiet=as_json)
    if as_json:
        raw_json(ask.get("turns", turn_id).body)
    else:
        say("", *_ending(turn))
    if turn["state"] in _FAILED:
        raise typer.Exit(1)
    return None


@app.command(name="list", epilog=examples("flywheel turn list", "flywheel turn list --json"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the turns, the latest first."""
    reply = daemon(ctx).get("turns")
    if as_json:
        return raw_json(reply.body)
    turns: list[Mapping[str, Any]] = reply.value
    if not turns:
        say("no turn yet", "next: flywheel turn start --wait")
        return None
    say(*table(_TURNS, [_row(turn) for turn in turns]))
    return None


@app.command(epilog=examples("flywheel turn show", "flywheel turn show t-3"))
def show(
    ctx: typer.Context,
    turn_id: Annotated[
        str | None,
        typer.Argument(metavar="TURN", help="Default: the newest.", show_default=False),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show one turn: its steps, times, cost and decision."""
    ask = daemon(ctx)
    reply = ask.get("turns", turn_id or _newest(ask))
    if as_json:
        return raw_json(reply.body)
    turn: Mapping[str, Any] = reply.value
    steps = turn.get("steps") or []
    doing = progress(turn)
    say(
        heading(f"turn {clean(turn['id'])}: {clean(turn['state'])}"),
        "",
        *facts(
            [
                ("opened", f"{moment(turn.get('opened_at'))}, {clean(turn.get('trigger', '?'))}"),
                *([("closed", moment(turn["closed_at"]))] if turn.get("closed_at") else []),
                *([("now", doing)] if doing else []),
                ("cost", _cost(turn)),
                ("decision", _decision_id(turn) or "none"),
                *([("error", clean(turn["error"]))] if turn.get("error") else []),
            ]
        ),
    )
    if steps:
        say("", *table(_STEPS, [step_cells(step) for step in steps]))
    briefs = turn.get("briefs") or []
    if briefs:
        say("", *table(_BRIEFS, [_brief(brief) for brief in briefs]))
    say(*_after(turn))
    return None


@app.command(
    epilog=examples("flywheel turn refused", "flywheel turn refused t-3 --reason label_noise")
)
def refused(
    ctx: typer.Context,
    turn_id: Annotated[
        str | None,
        typer.Argument(metavar="TURN", help="Default: the newest.", show_default=False),
    ] = None,
    *,
    reason: Annotated[
        str, typer.Option(help="One kind: leak, label_noise, doubted, conflict, duplicate, …")
    ] = "",
    as_json: Json = False,
) -> None:
    """List samples that were refused or count less, with why.

    leak: near a golden, fresh or dev text; a seed so is named with the sample it is near.
    label_noise: its label is likely wrong. doubted: it is learned, and counts less.
    """
    ask = daemon(ctx)
    query = {"reason": reason} if reason else None
    reply = ask.get("turns", turn_id or _newest(ask), "refused", query=query)
    if as_json:
        return raw_json(reply.body)
    rows: list[Mapping[str, Any]] = reply.value
    if not rows:
        say("nothing was refused")
        return None
    say(*table(_REFUSED, [_refused(row) for row in rows]))
    if any(row["near"] for row in rows):
        say(
            "",
            "what judges is never learned: where an intent has no other seed, write others, or",
            "leave the text out of golden: flywheel samples import FILE --split golden "
            "--new-generation",
        )
    return None


@app.command(epilog=examples("flywheel turn cancel t-3"))
def cancel(ctx: typer.Context, turn_id: TurnId, *, as_json: Json = False) -> None:
    """End an open turn; its worker is stopped and the champion stays."""
    reply = daemon(ctx).post("turns", turn_id, "cancel")
    if as_json:
        return raw_json(reply.body)
    say(f"{clean(turn_id)} is {clean(reply.value.get('state', 'cancelled'))}")
    return None


def _newest(ask: DaemonClient) -> str:
    """Id of the turn that was opened last; raises NotFound without any."""
    rows: list[Mapping[str, Any]] = ask.get("turns").value
    if not rows:
        raise NotFound("no turn yet", hint="start one with `flywheel turn start --wait`")
    return str(rows[0]["id"])  # the route gives the latest first


_BRIEFS = (
    Column(title="to mend", least=16, names=True),
    Column(title="failure"),
    Column(title="samples", right=True),
    Column(title="mends", right=True),  # errors, by expectation
    Column(title="per $", right=True, spare=1),
    Column(title="why", least=30),
)
_REFUSED = (
    Column(title="reason"),
    Column(title="origin"),
    Column(title="intent", least=12, names=True),
    Column(title="text", least=20),
    Column(title="why", least=30),
)
_TURNS = (
    Column(title="turn"),
    Column(title="state"),
    Column(title="opened"),
    Column(title="trigger", least=10),
    Column(title="took", right=True),
    Column(title="cost", right=True),
    Column(title="decision"),
)
_STEPS = (
    Column(title="step"),
    Column(title="state"),
    Column(title="took", right=True),
    Column(title="what happened", least=24),
)


def _row(turn: Mapping[str, Any]) -> list[str]:
    return [
        clean(turn["id"]),
        clean(turn["state"]),
        moment(turn.get("opened_at")),
        clean(turn.get("trigger") or "-"),
        span(sum(float(step.get("seconds") or 0) for step in turn.get("steps") or [])),
        _cost(turn),
        _decision_id(turn) or "-",
    ]


def _brief(brief: Mapping[str, Any]) -> list[str]:
    expected, usd = brief.get("expected"), brief.get("usd")
    return [
        clean(brief["intent"]),
        clean(brief.get("failure") or "").replace("_", " "),
        str(brief.get("ask", "-")),
        "-" if expected is None else f"{float(expected):.1f}",
        f"{float(expected) / float(usd):,.0f}" if expected and usd else "-",
        clean(brief.get("why") or ""),
    ]


def _preview(ask: DaemonClient, *, as_json: bool) -> None:
    reply = ask.get("synthesis")
    if as_json:
        return raw_json(reply.body)
    plan: Mapping[str, Any] = reply.value
    briefs = plan["briefs"]
    if not briefs:
        say("no intent fails; a teacher would be asked nothing")
        return None
    say(
        f"{plan['requests']} requests for {plan['samples']} samples, about "
        f"${float(plan['usd']):.4f} of at most ${float(plan['max_usd']):.2f}; nothing was bought",
        "",
        *table(_BRIEFS, [_brief(brief) for brief in briefs]),
    )
    for brief in briefs:
        for prompt in brief["prompts"]:
            say("", heading(f"to the teacher, for {clean(brief['intent'])}"), *_lines(prompt))
    return None


def _lines(prompt: str) -> list[str]:
    return [clean(line) for line in prompt.splitlines()]


def _cost(turn: Mapping[str, Any]) -> str:
    return f"${float(turn.get('cost_usd') or 0):.2f}"


def _decision_id(turn: Mapping[str, Any]) -> str:
    decision = turn.get("decision")
    return clean(decision["id"] if isinstance(decision, Mapping) else decision or "")


def _after(turn: Mapping[str, Any]) -> list[str]:
    decision = _decision_id(turn)
    if decision:
        return ["", f"next: flywheel review show {decision}"]
    if turn["state"] == "failed":
        return ["", f"next: flywheel log --turn {clean(turn['id'])}"]
    return []


def _ending(turn: Mapping[str, Any]) -> list[str]:
    why = f": {clean(turn['error'])}" if turn.get("error") else ""
    words = {"held": "waits for a person", "done": "is done", "failed": "failed"}
    state = str(turn["state"])
    head = f"{clean(turn['id'])} {words.get(state, f'is {clean(state)}')}{why}"
    return [head, *_after(turn)[1:]]


def _refused(row: Mapping[str, Any]) -> list[str]:
    why = f"{row['detail']} ({row['near']})" if row["near"] else row["detail"]
    return [clean(cell) for cell in (row["reason"], row["origin"], row["intent"], row["text"], why)]
