"""`flywheel plugins`: which sources there are, and whether they keep their contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import examples, group, named_config
from flywheel.cli.place import find_config
from flywheel.cli.screen import paint, say
from flywheel.cli.table import Column, table
from flywheel.cli.text import clean
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
            "plugin": found.name,
            "kind": found.kind,
            "where": found.where,
            "configured_as": used.get(found.name, []),
        }
        for found in available(plugins_folder(config))
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
    is stored, but acknowledgements are real: on a queue, configure a copy. Exit code 1 when one
    does not keep the contract.
    """
    config = _config(ctx)
    wanted = names or list(config.sources)
    if not wanted:
        say("no source is configured", "next: flywheel plugins list")
        return
    bad = False
    for name in wanted:
        problems = examine(config, name)
        bad = bad or bool(problems)
        if not problems:
            say(f"{paint('ok')}    {clean(name)}")
        for problem in problems:
            say(f"{paint('FAIL')}  {clean(name)}: {clean(problem)}")
    if bad:
        raise typer.Exit(1)


def examine(config: Config, name: str) -> list[str]:
    """Return how the source `name` (of a [sources.NAME], or a plug-in's) breaks its contract."""
    from flywheel.sources import find
    from flywheel.sources.conformance import check as conform

    source = config.sources.get(name)
    plugin = source.plugin if source else name
    try:
        make = find(plugin, plugins_folder(config))
        if source is None:
            make()  # without options there is nothing to read
            return []
        checks = conform(make, source.options)
        return [f"{what}: {seen}" for what, holds, seen in checks if not holds]
    except FlywheelError as error:
        return [" → ".join(part for part in (error.message, error.hint) if part)]


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
