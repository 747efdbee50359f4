"""`flywheel plugins`: which sources there are, and whether they keep their contract."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import examples, find_config, group, named_config
from flywheel.cli.screen import Column, columns, paint, say, table
from flywheel.cli.text import clean, cut, plural
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config

app = group("Plug-ins: which sources there are, and a check of each.")


@app.command(name="list", epilog=examples("flywheel plugins list"))
def list_(
    ctx: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
) -> None:
    """List every source that could be configured, and which are. Works without the daemon.

    A source is used when a table [sources.NAME] in config.toml names it: installed is not active.
    """
    from flywheel.sources import available

    config = _config(ctx)
    used: dict[str, list[str]] = {}
    for name, source in config.sources.items():
        used.setdefault(plugin_name(source.plugin), []).append(name)
    rows = [
        {
            "plugin": each.name,
            "kind": each.kind,
            "where": each.where,
            "configured_as": used.get(each.name, []),
        }
        for each in available(plugins_folder(config))
    ]
    if as_json:
        say(json.dumps(rows, ensure_ascii=False))
        return
    heads = (
        Column(title="plugin", least=12),
        Column(title="kind"),
        Column(title="configured as", least=14),
        Column(title="where", least=20),
    )
    say(*table(heads, [_row(row) for row in rows]))


@app.command(
    epilog=examples("flywheel plugins check", "flywheel plugins check csv_drop"),
)
def check(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PLUGIN", help="Default: the configured ones."),
    ] = None,
) -> None:
    """Import plug-ins and hold them to the contract of a source. Works without the daemon.

    A configured source is opened with its options and read from the start, several times; nothing
    is stored, but acknowledgements are real: on a queue, configure a copy. What was read is counted
    and its first event shown. Exit code 1 when one does not keep the contract, or when none of its
    events can be taken in.
    """
    config = _config(ctx)
    wanted = names or list(config.sources)
    if not wanted:
        say("no source is configured", "next: flywheel plugins list")
        return
    bad = False
    for name in wanted:
        problems, seen = examine(config, name)
        bad = bad or bool(problems)
        if not problems:
            say(f"{paint('ok')}    {clean(name)}")
        for problem in problems:
            say(f"{paint('FAIL')}  {clean(name)}: {clean(problem)}")
        say(*(cut(f"      {clean(line)}", columns()) for line in seen))
    if bad:
        raise typer.Exit(1)


def examine(config: Config, name: str) -> tuple[list[str], list[str]]:
    """Hold the source `name` (of a [sources.NAME], or a plug-in's) to its contract.

    Returns:
        How it breaks it; and what was read: the counts and the first event.
    """
    from flywheel.sources import find
    from flywheel.sources.conformance import check as conform

    seen: list[str] = []

    def understood(events: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
        taken, counts = _taken_in(config, events)
        seen[:] = [counts, f"first: {_shown(events[0])}"]
        return taken, counts

    source = config.sources.get(name)
    plugin = source.plugin if source else name
    try:
        make = find(plugin, plugins_folder(config))
        if source is None:
            make()  # without options there is nothing to read
            return [], []
        checks = conform(make, source.options, understood=understood)
        return [f"{what}: {detail}" for what, holds, detail in checks if not holds], seen
    except FlywheelError as error:
        return [" → ".join(part for part in (error.message, error.hint) if part)], []


def _shown(event: Mapping[str, Any]) -> str:
    """An event as JSON, or as Python has it where it is none."""
    try:
        if _encoded([event])[0]:
            return json.dumps(event, ensure_ascii=False, default=str)
        return ascii(event)
    except RecursionError:
        return "it is nested too deeply to be shown"


def _encoded(events: Sequence[Mapping[str, Any]]) -> tuple[list[bytes], list[str]]:
    """The events as the daemon writes them, and why some cannot be written."""
    import msgspec

    lines: list[bytes] = []
    faults: list[str] = []
    for number, event in enumerate(events, 1):
        try:
            lines.append(msgspec.json.encode(event))
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            faults.append(f"event {number}: {error}")
    return lines, faults


def _taken_in(config: Config, events: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    """Whether any of the events would be stored, and how many would, by kind."""
    from datetime import UTC, datetime

    from flywheel import formats
    from flywheel.config import load_intents
    from flywheel.records import NONE, Intent

    lines, faults = _encoded(events)
    if faults:
        return False, f"{plural(len(faults), 'event')} cannot be written as JSON: {faults[0]}"
    known = None  # `doctor` tells of intents that cannot be read
    with contextlib.suppress(FlywheelError):
        listed = load_intents(config.root / config.intents.file)
        known = {each.name: each for each in (*listed, Intent(name=NONE))}
    parsed = formats.read_lines(
        None,
        lines,
        context_turns=config.intents.context_turns,
        received=datetime.now(UTC),
        known=known,
        max_line_bytes=config.api.max_line_kb * 1024,
    )
    counts = f"{plural(len(events), 'event')} read: " + ", ".join(
        f"{len(getattr(parsed, kind)):,} {kind}" for kind in ("predictions", "feedback", "samples")
    )
    if parsed.rejected:
        first = parsed.rejected[0]
        why = ": ".join(part for part in (first.field, first.why) if part)
        counts += f"; {len(parsed.rejected):,} rejected, the first because {why}"
    return len(parsed.rejected) < len(events), counts


def plugins_folder(config: Config) -> Path:
    """Where plugins/NAME.py is looked for."""
    return config.root / "plugins"


def plugin_name(plugin: str) -> str:
    """`csv_drop` for `plugins/csv_drop.py`."""
    return plugin.removeprefix("plugins/").removesuffix(".py")


def _config(ctx: typer.Context) -> Config:
    from flywheel.config import load

    return load(find_config(named_config(ctx)))


def _row(row: dict[str, Any]) -> list[str]:
    used = ", ".join(clean(name) for name in row["configured_as"]) or "-"
    return [clean(row["plugin"]), clean(row["kind"]), used, clean(row["where"])]
