"""Commands of a daemon's life: init, run, demo, doctor, reload."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.cli.command import ConfigFile, Json, daemon, find_config, named_config
from flywheel.cli.screen import ProgressLine, columns, paint, raw_json, say
from flywheel.cli.text import clean, wrap
from flywheel.errors import Refused

_TEMPLATES = Path(__file__).parent / "templates"
_FILES = ("config.toml", "intents.toml")
_FOLDERS = ("plugins", "logs")
_SAMPLE = "plugins/csv_drop.py"
_UNITS = "deploy"
_LEFT = 18  # columns of the level and the check's name in doctor's lines


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)] = Path(),
    *,
    units: Annotated[
        bool, typer.Option("--units", help="Write deploy/ too: the units for systemd.")
    ] = False,
) -> None:
    """Write a commented configuration that runs as it is.

    That is config.toml, intents.toml, logs/, and plugins/ with a sample to start from. DIR is the
    current folder when not given. Nothing that exists is overwritten.
    """
    files = [*_FILES, _SAMPLE, *(_unit_files() if units else [])]
    there = [name for name in files if (directory / name).exists()]
    if there:
        raise Refused(
            f"{directory / there[0]} exists already; nothing was written",
            hint="move it away, or name another folder: `flywheel init DIR`",
        )
    for folder in _FOLDERS:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for name in files:
        text = (_TEMPLATES / name).read_text(encoding="utf-8")
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        with (directory / name).open("x", encoding="utf-8") as file:
            file.write(text)
    say(*(f"wrote {clean(directory / name)}" for name in files))
    say(*(f"made {clean(directory / name)}/" for name in _FOLDERS))
    here = directory == Path()
    named = "" if here else f" --config {shlex.quote(clean(directory / 'config.toml'))}"
    say("", "next:", f"  list your functions in {clean(directory / 'intents.toml')}")
    say(f"  flywheel doctor{named}", f"  flywheel run{named}")


def _unit_files() -> list[str]:
    folder = _TEMPLATES / _UNITS
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(_TEMPLATES).as_posix() for path in paths]


def run(
    ctx: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="One turn, then exit.")] = False,
    config: ConfigFile = None,
) -> None:
    """Be the daemon, in the foreground.

    It is what systemd starts. SIGTERM or Ctrl-C ends it cleanly; a turn that was under way goes
    on at the next start.
    """
    path = find_config(config or named_config(ctx))
    from flywheel.daemon import run as be_the_daemon

    raise typer.Exit(be_the_daemon(path, once))


def demo(
    directory: Annotated[
        Path | None,
        typer.Argument(help="A new folder for it; default: a temporary one.", show_default=False),
    ] = None,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder behind; a terminal always does.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the traffic, the feedback and the training.")
    ] = 0,
) -> None:
    """Show the closed loop on an embedded example.

    No key, no network. It takes two to three minutes on two idle cores, and ends with what was
    decided and why, and the commands to look further. Exit code 1 when the decisions are not
    those that it promises.
    """
    from flywheel.demo import main as show

    raise typer.Exit(show(directory, keep, seed))


def doctor(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check whether the daemon could work here.

    Libraries, config, database, base model, teacher, disk, plug-ins, golden set: each line is ok,
    or says what to do. Works without a daemon. Exit code 1 when the daemon could not work (a line
    says FAIL).
    """
    from flywheel.cli.doctor import examine

    path = find_config(config or named_config(ctx))
    progress = ProgressLine()
    findings = []
    try:
        for finding in examine(path, announce=progress.show):
            progress.clear()
            findings.append(finding)
            if not as_json:
                say(*_lines(finding.level, finding.check, finding.text, finding.todo))
    finally:
        progress.clear()
    if as_json:
        rows = [
            {"level": each.level, "check": each.check, "text": each.text, "todo": each.todo}
            for each in findings
        ]
        say(json.dumps(rows, ensure_ascii=False))
    if any(finding.level == "FAIL" for finding in findings):
        raise typer.Exit(1)


def _lines(level: str, check: str, text: str, todo: str) -> list[str]:
    """`ok    disk        12 GB free`, continued below itself; `→` starts what to do."""
    body = clean(text) + (f"  → {clean(todo)}" if todo else "")
    first, *rest = wrap(body, columns() - _LEFT)
    head = paint(f"{level:<6}", level) + f"{check:<{_LEFT - 6}}"
    return [head + first, *(" " * _LEFT + line for line in rest)]


def reload(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Have the daemon read config.toml and intents.toml anew.

    What can change does so at once, or when the open turn has ended; [promotion] never waits.
    What needs a restart is named. A file that cannot be used changes nothing. SIGHUP does the same.
    """
    reply = daemon(ctx).post("reload")
    if as_json:
        return raw_json(reply.body)
    answer: Mapping[str, Any] = reply.value
    changed, restart, turn = answer["changed"], answer["restart"], answer["waits_for"]
    if not changed and not restart:
        say("nothing has changed")
    at_once = [name for name in changed if not turn or name in answer.get("at_once", ())]
    if at_once:
        say("changed:", *(f"  {clean(name)}" for name in at_once))
    if waits := [name for name in changed if name not in at_once]:
        say(f"changes when {clean(turn)} has ended:", *(f"  {clean(name)}" for name in waits))
    if restart:
        say("changes only with a restart (systemctl restart flywheel):")
        say(*(f"  {clean(name)}" for name in restart))
    return None
