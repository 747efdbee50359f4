"""`flywheel review`: what waits for a person, and the word that person gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import Because, Json, daemon, examples, group, reason
from flywheel.cli.decision_page import page
from flywheel.cli.screen import Column, paint, raw_json, say, table
from flywheel.cli.text import clean, moment, standing
from flywheel.errors import FlywheelError, NotFound

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient, DaemonReply

app = group("Decisions: what waits for you, why, and your word on it.")

_LOOK_S = 0.5

Wait = Annotated[
    bool, typer.Option("--wait", help="Until the server is proved, or the decision is ended.")
]
DecisionId = Annotated[
    str, typer.Argument(metavar="DECISION", help="As `flywheel review list` prints it.")
]


@app.command(name="list", epilog=examples("flywheel review list", "flywheel review list --pending"))
def list_(
    ctx: typer.Context,
    *,
    pending: Annotated[bool, typer.Option("--pending", help="Only what waits.")] = False,
    as_json: Json = False,
) -> None:
    """List the decisions: what waits for a person first, then the latest."""
    reply = daemon(ctx).get("decisions")
    if as_json and not pending:
        return raw_json(reply.body)
    rows = [row for row in reply.value if row["status"] == "pending" or not pending]
    if as_json:
        import json

        return raw_json(json.dumps(rows, ensure_ascii=False).encode())
    waiting = [row for row in rows if row["status"] == "pending"]
    waiting.sort(key=lambda row: str(row["at"]))  # what waits longest comes first
    ordered = waiting + [row for row in rows if row["status"] != "pending"]
    if ordered:
        why = [clean(row.get("because") or "") for row in ordered]
        say(*table(_COLUMNS, [_row(row) for row in ordered], notes=why), "")
    if waiting:
        say(f"next: flywheel review show {clean(waiting[0]['id'])}")
    else:
        say("nothing waits for you")
    return None


@app.command(epilog=examples("flywheel review show", "flywheel review show d-7 --html > d-7.html"))
def show(
    ctx: typer.Context,
    decision_id: Annotated[
        str | None,
        typer.Argument(
            metavar="DECISION",
            help="Default: the one that waits longest, else the latest.",
            show_default=False,
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Every intent, example and added sample.")
    ] = False,
    as_html: Annotated[
        bool, typer.Option("--html", help="One self-contained HTML document with plots.")
    ] = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="The same as Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show a decision, and what to do about it.

    First the verdict in a sentence; then why: the gates with their numbers, the intents that
    moved or are undecided, examples fixed and broken, and where each training sample came from.
    """
    ask = daemon(ctx)
    reply = ask.get("decisions", decision_id or _most_urgent(ask))
    if as_json:
        return raw_json(reply.body)
    if as_html or as_markdown:
        from flywheel.cli import report

        say((report.html if as_html else report.markdown)(reply.value).rstrip("\n"))
        return None
    say(*page(reply.value, everything=everything))
    return None


@app.command(epilog=examples("flywheel review acts", "flywheel review acts --limit 500 --json"))
def acts(
    ctx: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 50,
    as_json: Json = False,
) -> None:
    """List who did what besides deciding, the latest first.

    Golden imports, disputes, backups, restores, erasures, reloads, and what was refused for want
    of a role. They stand in the chain of decisions, which `flywheel db check` holds together.
    """
    reply = daemon(ctx).get("acts", query={"limit": str(limit)})
    if as_json:
        return raw_json(reply.body)
    if not reply.value:
        say("nobody did anything besides deciding")
        return None
    rows = [(moment(act["at"]), clean(act["what"]), clean(act["by"])) for act in reply.value]
    say(*table(_ACTS, rows, notes=[clean(act["because"]) for act in reply.value]))
    return None


@app.command(epilog=examples("flywheel review verify d-7"))
def verify(ctx: typer.Context, decision_id: DecisionId, *, as_json: Json = False) -> None:
    """Recompute a decision from its stored outcomes.

    Exit code 1 when the bytes differ. The rules and the evidence are those that were stored with
    the decision, not those of today.
    """
    reply = daemon(ctx).get("decisions", decision_id, "verify")
    result: Mapping[str, Any] = reply.value
    if as_json:
        raw_json(reply.body)
    else:
        for check in result["checks"]:
            say(
                f"{paint('ok' if check['ok'] else 'FAIL')}  {clean(check['what'])}: "
                f"{clean(check['detail'])}"
            )
    if not result["same"]:
        raise FlywheelError(
            f"{decision_id} cannot be recomputed to the same bytes",
            hint="`flywheel db check` says whether the log was changed",
        )


@app.command(epilog=examples('flywheel review approve d-7 --because "checked the broken examples"'))
def approve(
    ctx: typer.Context,
    decision_id: DecisionId,
    *,
    because: Because,
    override: Annotated[
        list[str] | None,
        typer.Option(metavar="GATE", help="A gate that did not pass; where config allows it."),
    ] = None,
    looked: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="Beside the texts that few raters turned, if any."),
    ] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Approve a held promotion; its adapter is served from then on.

    Where [serving] has a server that can be asked, the adapter is proved first: the server loads it
    beside the champion and has to answer as it did in evaluation.
    """
    more: dict[str, Any] = {"override": override} if override else {}
    more |= {"looked": looked} if looked else {}
    _give(ctx, decision_id, "approve", because, as_json=as_json, more=more, wait=wait)


@app.command(epilog=examples('flywheel review reject d-7 --because "refunds must not get worse"'))
def reject(
    ctx: typer.Context, decision_id: DecisionId, *, because: Because, as_json: Json = False
) -> None:
    """Reject what is held or being applied; the champion stays."""
    _give(ctx, decision_id, "reject", because, as_json=as_json)


_ACTS = (Column(title="at"), Column(title="what", least=16), Column(title="by", least=16))
_COLUMNS = (
    Column(title="decision"),
    Column(title="status", least=12),
    Column(title="made"),
    Column(title="challenger", least=12),
    Column(title="champion", least=12),
)


def _row(decision: Mapping[str, Any]) -> list[str]:
    return [
        clean(decision["id"]),
        standing(decision),
        moment(decision.get("at")),
        clean(decision.get("challenger") or "-"),
        clean(decision.get("champion") or "-"),
    ]


def _most_urgent(ask: DaemonClient) -> str:
    """Id of the decision that waits longest, else of the latest; raises NotFound without any."""
    rows: list[Mapping[str, Any]] = ask.get("decisions").value
    if not rows:
        raise NotFound("no decision yet", hint="a turn ends in one: `flywheel turn start --wait`")
    waiting = [row for row in rows if row["status"] == "pending"]
    if waiting:
        return str(min(waiting, key=lambda row: row["at"])["id"])
    return str(max(rows, key=lambda row: row["at"])["id"])


def _give(
    ctx: typer.Context,
    decision_id: str,
    word: str,
    because: str,
    *,
    as_json: bool,
    more: Any = None,
    wait: bool = False,
) -> None:
    """Tell the daemon a person's word, and print what came of it."""
    body = {"because": reason(because), **(more or {})}
    ask = daemon(ctx)
    tell(ask, ask.post("decisions", decision_id, word, value=body), as_json=as_json, wait=wait)


def tell(ask: DaemonClient, reply: DaemonReply, *, as_json: bool, wait: bool) -> None:
    """Print what a word came to, after its end where that is waited for.

    Raises:
        FlywheelError: it was waited for, and the decision was not applied.
    """
    if wait:
        reply = _settled(ask, reply)
    if as_json:
        raw_json(reply.body)
    else:
        say(outcome(reply.value), *filter(None, [clean(reply.value.get("watched") or "")]))
    if wait and reply.value["status"] != "applied":
        raise FlywheelError(
            clean(reply.value.get("because") or outcome(reply.value)),
            hint=f"flywheel review show {clean(reply.value['id'])}",
        )


def _settled(ask: DaemonClient, reply: DaemonReply) -> DaemonReply:
    """The decision once it is no longer being applied; says once what it waits for."""
    import time

    told = ""
    while reply.value["status"] == "applying":
        waiting = str((ask.get("status").value.get("serving") or {}).get("waiting") or "")
        if waiting and waiting != told:
            typer.echo(clean(waiting), err=True)
        told = waiting
        time.sleep(_LOOK_S)
        reply = ask.get("decisions", str(reply.value["id"]))
    return reply


def outcome(decision: Mapping[str, Any]) -> str:
    """One line on what a decision came to: who is champion now.

    >>> outcome({"id": "d-7", "verdict": "promote", "status": "applied",
    ...          "challenger": "a-2", "champion": "a-1"})
    'd-7 approved: a-2 replaces a-1'
    """
    name, status = clean(decision["id"]), decision["status"]
    challenger = clean(decision.get("challenger") or "-")
    champion = clean(decision["champion"]) if decision.get("champion") else ""
    if status == "rejected":
        return f"{name} rejected: {champion or 'no adapter'} stays"
    if status == "pending" and decision.get("verdict") != "rollback":
        last = (decision.get("events") or [{}])[-1].get("what", "")
        if str(last).startswith("approved"):
            return f"{name} is {clean(last)}: another person's word is needed"
    if status == "applying":
        return (
            f"{name} is being applied: {challenger} serves once the server answers as evaluated\n"
            f"follow it: flywheel review show {name}"
        )
    if status == "parity_failed":
        return f"{name} was not put into service: {champion or 'no adapter'} stays"
    if status != "applied":
        return f"{name} is {clean(status)}"
    if decision["verdict"] == "rollback":
        return f"{name} rolled back: {challenger} replaces {champion or 'no adapter'}"
    change = f"replaces {champion}" if champion else "is the first champion"
    return f"{name} approved: {challenger} {change}"
