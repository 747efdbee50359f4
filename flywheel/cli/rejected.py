"""`flywheel rejected` and `flywheel feedback`: what was not taken, and what does not count."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from flywheel.cli.command import Json, daemon, examples, group
from flywheel.cli.screen import Column, facts, heading, prose, raw_json, remark, say, table
from flywheel.cli.text import clean, cut, moment, number, plural
from flywheel.content import BASE64, kept_bytes
from flywheel.errors import Refused

rejected = group("Lines that were not taken: look, read again, delete.")
feedback = group("Feedback: which scores of other tools count as verdicts.")

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

_SHOWN = 20  # lines that a listing shows; --json has all
LineIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Of `rejected list`.")]


@rejected.command(
    name="list", epilog=examples("flywheel rejected list", "flywheel rejected list --why UTF-8")
)
def list_(
    ctx: typer.Context,
    *,
    why: Annotated[str, typer.Option(help="Only with this in the reason.")] = "",
    kind: Annotated[str, typer.Option(help="Only what was sent as this, as in feedback.")] = "",
    as_json: Json = False,
) -> None:
    """List the reasons with their counts, and the latest lines."""
    query = {name: value for name, value in (("why", why), ("kind", kind)) if value}
    reply = daemon(ctx).get("rejected", query=query)
    if as_json:
        return raw_json(reply.body)
    lines = reply.value["lines"]
    if not lines:
        say("nothing was rejected" if not query else "no rejected line is like that")
        return None
    reasons = [_reason(row) for row in reply.value["reasons"]] if not query else []
    if reasons:
        say(*table(_REASONS, reasons), "")
    say(*table(_LINES, [_line(line) for line in lines[:_SHOWN]]))
    total = len(lines) if query else reply.value["total"]
    say("", f"{plural(total, 'line')}; next: flywheel rejected show {clean(lines[0]['id'])}")
    return None


@rejected.command(epilog=examples("flywheel rejected show r-3f2c9a10b7de"))
def show(
    ctx: typer.Context,
    line_id: Annotated[str, typer.Argument(metavar="ID", help="Of `rejected list`.")],
    *,
    as_json: Json = False,
) -> None:
    """Show one line as it came, and what is wrong with it."""
    reply = daemon(ctx).get("rejected", quote(line_id, safe=""))
    if as_json:
        return raw_json(reply.body)
    line: Mapping[str, Any] = reply.value
    raw = _content(line).decode("utf-8", "backslashreplace")
    say(
        heading(f"{clean(line['id'])}: {clean(_why(line))}"),
        "",
        *facts(
            [
                ("sent as", clean(line["kind"])),
                ("read as", clean(line.get("format") or "-")),
                ("line", number(line["line"]) if line["line"] else "-"),
                ("at", moment(line["at"])),
            ]
        ),
        "",
        *prose(clean(cut(raw, 4_000)), "  "),
        "",
        *_next_step(line),
    )
    return None


@rejected.command(epilog=examples("flywheel rejected export rejected.jsonl"))
def export(
    ctx: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    *,
    why: Annotated[str, typer.Option(help="Only with this in the reason.")] = "",
) -> None:
    """Write the lines into a file, as they came.

    Byte by byte: mend them there and ingest it.
    """
    if to.exists():
        raise Refused(f"{to} exists already", hint="name a new file")
    query = {"limit": "100000000", **({"why": why} if why else {})}
    lines = daemon(ctx).get("rejected", query=query).value["lines"]
    with to.open("xb") as file:
        for line in reversed(lines):
            file.write(_content(line) + b"\n")
    say(f"wrote {clean(to)}: {plural(len(lines), 'line')}")
    if lines:
        say(f"next: mend them, then flywheel ingest {clean(to)} and flywheel rejected drop --all")


@rejected.command(
    epilog=examples("flywheel rejected drop r-3f2c9a10b7de", "flywheel rejected drop --all")
)
def drop(
    ctx: typer.Context,
    ids: LineIds = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every rejected line.")] = False,
    as_json: Json = False,
) -> None:
    """Delete lines for good."""
    if everything == bool(ids):
        raise typer.BadParameter("name lines, or say --all")
    reply = daemon(ctx).post("rejected", "drop", value={"ids": ids or []})
    if as_json:
        return raw_json(reply.body)
    say(f"{plural(reply.value['dropped'], 'line')} deleted")
    return None


@rejected.command(
    epilog=examples("flywheel rejected retry", "flywheel rejected retry --encoding gbk")
)
def retry(
    ctx: typer.Context,
    ids: LineIds = None,
    *,
    encoding: Annotated[
        str, typer.Option(help="Of lines that are no UTF-8, as in cp1252 or gbk.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Read lines again, all or those named.

    With the formats, intents and scores of today.
    """
    retried(daemon(ctx), {"ids": ids or [], "encoding": encoding}, as_json=as_json)


def retried(ask: DaemonClient, asked: Mapping[str, Any], *, as_json: bool) -> None:
    """Have rejected lines read again, and exit 1 when some still cannot be."""
    answer = ask.post("rejected", "retry", value=asked).value
    if as_json:
        say(json.dumps(answer, ensure_ascii=False))
    else:
        parts = f"{answer['accepted']:,} new, {answer['duplicates']:,} known already"
        say(f"{parts}, {len(answer['rejected']):,} still rejected")
        for one in answer["rejected"][:10]:
            words = (one["kind"], one["field"], one["why"])
            remark(clean(": ".join(word for word in words if word)))
    if answer["rejected"]:
        raise typer.Exit(1)


@feedback.command(epilog=examples("flywheel feedback scores", "flywheel feedback scores --json"))
def scores(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the scores that other tools gave.

    What was seen, what counts, and the line to add to config.toml.

    A score counts as a verdict only where [feedback.scores] says how, or where a person gave a
    thumb, true or false, or a correction.
    """
    reply = daemon(ctx).get("scores")
    if as_json:
        return raw_json(reply.body)
    if not reply.value:
        say("no score of another tool was seen")
        return None
    say(*table(_SCORES, [_score(row) for row in reply.value]))
    silent = [row for row in reply.value if not row["counted"] and row["rule"] is None]
    if silent:
        say("", "to have one count, add its line to config.toml, and flywheel reload:", "")
        lines = {str(row["name"]): clean(row["add"]) for row in silent}  # TOML: a key comes once
        say("  [feedback.scores]", *[f"  {line}" for line in lines.values()])
    return None


_REASONS = (
    Column(title="lines", right=True),
    Column(title="sent as", spare=2),
    Column(title="read as", spare=1),
    Column(title="why", least=30),
)
_LINES = (
    Column(title="id"),
    Column(title="at", spare=1),
    Column(title="why", least=30),
)
_SCORES = (
    Column(title="name", least=12, names=True),
    Column(title="source", spare=1),
    Column(title="seen", right=True),
    Column(title="counted", right=True),
    Column(title="range", spare=3),
    Column(title="latest", spare=2),
    Column(title="rule", least=8),
)


def _reason(row: Mapping[str, Any]) -> list[str]:
    sent = clean(row["kind"])
    return [number(row["lines"]), sent, clean(row["format"] or "-"), clean(_why(row))]


def _line(line: Mapping[str, Any]) -> list[str]:
    return [clean(line["id"]), moment(line["at"]), clean(_why(line))]


def _why(row: Mapping[str, Any]) -> str:
    return f"{row['field']} {row['why']}".strip()


def _score(row: Mapping[str, Any]) -> list[str]:
    if row["labels"]:
        seen = cut(", ".join(map(clean, row["labels"])), 24)
    elif row["low"] is not None:
        seen = f"{row['low']:g}..{row['high']:g}"
    else:
        seen = clean(row["kind"])
    rule = "by default" if row["rule"] is None and row["counted"] else clean(row["rule"] or "-")
    cells = [clean(row["name"]), clean(row["source"]), number(row["count"]), number(row["counted"])]
    return [*cells, seen, moment(row["latest"]), rule]


def _content(line: Mapping[str, Any]) -> bytes:
    return kept_bytes(str(line["raw"]), line.get("encoding") or "")


def _next_step(line: Mapping[str, Any]) -> list[str]:
    name = clean(line["id"])
    if line.get("encoding") == BASE64:
        return [f"next: flywheel rejected retry {name} --encoding cp1252 (or gbk, shift_jis …)"]
    return [f"next: mend its sender, then flywheel rejected retry {name}, or drop it"]
