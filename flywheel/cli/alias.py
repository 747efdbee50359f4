"""`flywheel intents alias OLD NEW`: another spelling of an intent becomes one of its former names.

The intents file is edited in place; its comments and its order stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.cli.command import daemon, place
from flywheel.cli.screen import say
from flywheel.cli.text import clean
from flywheel.errors import DaemonUnreachable, FlywheelError, Refused


def alias(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name as it came.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The intent that it means.")],
) -> None:
    """Read one name of an intent as another from now on, in history too.

    It is kept as `renamed_from` in the intents file; a running daemon reads the file again.
    """
    from flywheel import files  # it is a part of what `--help` would wait for
    from flywheel.config import load, load_intents
    from flywheel.lineage import nearest
    from flywheel.records import NONE

    config = load(place(ctx).config)
    path = config.root / config.intents.file
    intents = load_intents(path)
    names = [intent.name for intent in intents]
    if old in names or old == NONE:
        raise Refused(f"{old} is an intent of {path}", hint="an alias is a name that is none")
    if new not in names:
        near = nearest(new, names)
        raise Refused(
            f"{new} is no intent of {path}",
            hint=f"did you mean {near}?" if near else "`flywheel intents` lists them",
        )
    if any(old in (*intent.renamed_from, *intent.merged_from) for intent in intents):
        raise Refused(f"{old} is a former name already", hint=f"see {path}")
    edited = _edited(path, old, new)
    with files.replacing(path) as staged:
        staged.write_text(edited, encoding="utf-8")
    load_intents(path)
    say(f"{clean(old)} is read as {clean(new)}: renamed_from in {clean(path)}")
    _read_again(ctx)


def _edited(path: Path, old: str, new: str) -> str:
    """The intents file with one more former name."""
    import tomlkit

    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        value = json.loads(text)
        entry = _entry(value["tools"] if isinstance(value, Mapping) else value, new)
        entry["renamed_from"] = [*entry.get("renamed_from", []), old]
        return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    document = tomlkit.parse(text)
    for intent in document["intent"]:
        if intent["name"] == new:
            intent["renamed_from"] = [*intent.get("renamed_from", []), old]
    return tomlkit.dumps(document)


def _entry(tools: Any, name: str) -> dict[str, Any]:
    """The object of a tool list that holds the name."""
    for tool in tools:
        entry: dict[str, Any] = tool.get("function", tool)
        if entry.get("name") == name:
            return entry
    raise Refused(f"{name} is in no tool of the file", hint="write renamed_from there by hand")


def _read_again(ctx: typer.Context) -> None:
    try:
        waits = daemon(ctx).post("reload").value.get("waits_for")
    except DaemonUnreachable:
        say("no daemon runs; the next start reads it")
        return
    except FlywheelError as error:
        say(f"next: flywheel reload ({clean(error.message)})")
        return
    say(f"the daemon reads it when {clean(waits)} has ended" if waits else "the daemon reads it")
