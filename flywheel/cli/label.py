"""`flywheel samples label`: one text after another, and what it means.

With a terminal, a key chooses; without one, a line does. Every answer is kept by the daemon when
it is given, so a session can end anywhere and another goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import Json, daemon
from flywheel.cli.label_session import QuestionKind, nothing_left
from flywheel.cli.screen import Column, raw_json, remark, say, table
from flywheel.cli.text import clean, counted, number, plural

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient


class Tool(StrEnum):
    """A labelling tool whose files are written and read."""

    argilla = "argilla"
    labelstudio = "labelstudio"


Export = Annotated[
    tuple[Tool, Path] | None,
    typer.Option(metavar="TOOL FILE", help="Write the queue for argilla or labelstudio."),
]
Import = Annotated[
    tuple[Tool, Path] | None,
    typer.Option(
        "--import", metavar="TOOL FILE", help="Take the answers given there, as your word."
    ),
]


def label(
    ctx: typer.Context,
    *,
    kind: Annotated[
        QuestionKind | None, typer.Option(help="Only these; default: all, the most valuable first.")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Print the queue and ask nothing.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many texts.", show_default=False)
    ] = None,
    export: Export = None,
    import_: Import = None,
    as_json: Json = False,
) -> None:
    """Label what is worth most, one text after another.

    First what held decisions wait for; where there is no champion, what a first one is made of;
    then the audit sample, texts on which raters differ, and what the champion was least sure of.
    Choose by number, by the first letters of an intent, or by any of its letters; 0 none, - skip,
    < undo, . quit. Texts for the gates, a first champion and the audit are shown without any
    model's answer.
    """
    if sum(map(bool, (listed, export, import_))) > 1:
        raise typer.BadParameter("--list, --export and --import exclude one another")
    if as_json and not (listed or import_):
        raise typer.BadParameter(
            "there is nothing to print without --list or --import", param_hint="--json"
        )
    ask = daemon(ctx)
    query = {"kind": kind.value} if kind else {}
    if limit:
        query["limit"] = str(limit)
    if export:
        _export(ask, *export, query)
    elif import_:
        _import(ask, *import_, as_json=as_json)
    elif listed:
        _list(ask, query, as_json=as_json)
    else:
        from flywheel.cli.label_session import session

        raise typer.Exit(session(ask, query, limit))


def _list(ask: DaemonClient, query: Mapping[str, str], *, as_json: bool) -> None:
    reply = ask.get("labels", query=query)
    if as_json:
        return raw_json(reply.body)
    queue: Mapping[str, Any] = reply.value
    if not queue["items"]:
        say(*nothing_left(queue))
        return None
    rows = [[clean(item["kind"]), clean(item["text"]), _said(item)] for item in queue["items"]]
    say(*table(_COLUMNS, rows), "")
    say(f"{counted(queue['waiting'])} wait for you")
    return None


_COLUMNS = (
    Column(title="kind"),
    Column(title="text", least=30),
    Column(title="", least=12),
)


def _said(item: Mapping[str, Any]) -> str:
    names = ", ".join(clean(name) for name in item["said"])
    return f"said: {names}" if names else "second opinion" if item["again"] else ""


def _export(ask: DaemonClient, tool: Tool, path: Path, query: Mapping[str, str]) -> None:
    reply = ask.get("labels", query={**query, "format": tool.value})
    with path.open("xb") as file:
        file.write(reply.body + b"\n")
    say(f"wrote {clean(path)}: {plural(len(reply.value), 'text')}")
    if tool is Tool.labelstudio:
        interface = ask.get("labels", query={"format": "labelstudio.xml"}).body
        beside = path.with_suffix(".xml")
        with beside.open("xb") as file:
            file.write(interface)
        say(f"wrote {clean(beside)}: the labelling interface of the project")


def _import(ask: DaemonClient, tool: Tool, path: Path, *, as_json: bool) -> None:
    reply = ask.post_lines(
        "labels", "import", lines=path.read_bytes(), query={"format": tool.value}
    )
    answer: Mapping[str, Any] = reply.value
    if as_json:
        raw_json(reply.body)
    else:
        parts = [
            f"{number(answer['accepted'])} new",
            f"{number(answer['duplicates'])} known already",
        ]
        parts += [f"{number(answer['unanswered'])} unanswered"] if answer["unanswered"] else []
        rejected = answer["rejected"]
        parts += [f"{number(len(rejected))} rejected"] if rejected else []
        say(f"{clean(path)}: {', '.join(parts)}")
        for each in rejected[:10]:
            remark(f"{path}: {each['line']}: {each['item']}: {each['why']}")
    if answer["rejected"]:
        raise typer.Exit(1)
