"""`flywheel adapters`: what was trained, what serves, and the way back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel import files
from flywheel.cli.command import Because, Json, daemon, examples, group, place, reason, running
from flywheel.cli.review import Wait, tell
from flywheel.cli.screen import Column, facts, heading, raw_json, say, table
from flywheel.cli.text import clean, moment, number, share
from flywheel.errors import NotFound, Refused

app = group("The registry of adapters: look, export, roll back.")

_ARCHIVE = ".tar.gz"
_NEEDED = "adapter_config.json"  # what makes a folder an adapter that peft loads

AdapterId = Annotated[
    str, typer.Argument(metavar="ADAPTER", help="Its id, or the beginning of it; or champion.")
]


@app.command(name="list", epilog=examples("flywheel adapters list"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the adapters, the latest first."""
    reply = daemon(ctx).get("adapters")
    if as_json:
        return raw_json(reply.body)
    if not reply.value:
        say("no adapter yet", "next: flywheel turn start --wait")
        return None
    say(*table(_COLUMNS, [_row(adapter) for adapter in reply.value]))
    return None


@app.command(epilog=examples("flywheel adapters show a-3f2c"))
def show(ctx: typer.Context, adapter_id: AdapterId, *, as_json: Json = False) -> None:
    """Show one adapter: what it was trained on, from, and how it did."""
    adapter = _one(daemon(ctx).get("adapters").value, adapter_id)
    if as_json:
        return raw_json(json.dumps(adapter, ensure_ascii=False).encode())
    metrics: Mapping[str, Any] = adapter.get("metrics") or {}
    folder = place(ctx).state_dir / "adapters" / str(adapter["id"])
    say(
        heading(f"adapter {clean(adapter['id'])}: {clean(adapter['state'])}"),
        "",
        *facts(
            [
                ("base", clean(adapter.get("base") or "-")),
                ("recipe", clean(adapter.get("recipe") or "-")),
                ("dataset", clean(adapter.get("dataset") or "-")),
                ("parent", clean(adapter.get("parent") or "-")),
                ("created", moment(adapter.get("created_at"))),
                ("folder", clean(folder) if folder.is_dir() else "not on this machine"),
            ]
        ),
    )
    plain = [(clean(k).replace("_", " "), _metric(k, v)) for k, v in metrics.items()]
    if plain:
        say("", heading("Metrics"), *facts([pair for pair in plain if pair[1]], "  "))
    return None


@app.command(
    epilog=examples(
        "flywheel adapters export a-3f2c my-adapter", "flywheel adapters export champion a.tar.gz"
    )
)
def export(
    ctx: typer.Context,
    adapter_id: AdapterId,
    to: Annotated[Path, typer.Argument(metavar="DEST", help="A new folder, or a new .tar.gz.")],
) -> None:
    """Copy an adapter out, as a folder or an archive.

    Plain peft loads it on the base model. Works without the daemon. Its files are compared with
    those that were trained; an adapter whose files were changed is not copied.
    """
    folder = _folder(place(ctx).state_dir / "adapters", adapter_id)
    if to.exists():
        raise Refused(f"{to} exists already", hint="name a new folder or archive")
    trained = _trained(ctx, folder.name)
    if trained is not None:
        _refuse_changed(folder.name, trained, files.hashes(folder, trained))
    packed = to.name.endswith(_ARCHIVE)
    copy, archive = to.with_name(f".{to.name}.copied"), to.with_name(f".{to.name}.arriving")
    try:
        shutil.copytree(folder, copy, symlinks=True)
        if trained is not None:  # once more, for what is compared has to be what arrives
            _refuse_changed(folder.name, trained, files.hashes(copy, trained))
        if packed:
            import tarfile

            with tarfile.open(archive, "w:gz") as writer:
                writer.add(copy, arcname=folder.name)
        (archive if packed else copy).rename(to)
    finally:  # half of an adapter is worth nothing
        shutil.rmtree(copy, ignore_errors=True)
        archive.unlink(missing_ok=True)
    say(f"wrote {clean(to)}: adapter {clean(folder.name)}")
    if trained is None:
        place_of_database = clean(place(ctx).database)
        say(f"note: not compared with what was trained: no database at {place_of_database}")


def _trained(ctx: typer.Context, adapter_id: str) -> Mapping[str, str] | None:
    """SHA-256 of each file of an adapter, as registered; None where there is no database.

    Raises:
        NotFound: it is not registered.
    """
    registry: dict[str, Mapping[str, str]]
    if running(place(ctx)):
        registry = {
            each["id"]: each.get("files") or {} for each in daemon(ctx).get("adapters").value
        }
    elif place(ctx).database.is_file():
        from flywheel.store import adapters, open_store, redo

        database = place(ctx).database
        store = open_store(database, redo_folder=database.parent / redo.FOLDER)
        with contextlib.closing(store), store.read() as con:
            registry = {each.id: each.files for each in adapters.list_adapters(con)}
    else:
        return None
    if adapter_id not in registry:
        raise NotFound(f"no adapter {adapter_id} is registered", hint="flywheel adapters list")
    return registry[adapter_id]


def _refuse_changed(adapter_id: str, trained: Mapping[str, str], copied: Mapping[str, str]) -> None:
    if not trained:
        raise Refused(
            f"the files of {adapter_id} are not recorded yet",
            hint="start the daemon: the next start records them",
        )
    if changed := files.differences(trained, copied):
        raise Refused(
            f"the files of {adapter_id} are not those that were trained: {', '.join(changed)}",
            hint="put the folder back from a copy, or take another adapter",
        )


@app.command(
    epilog=examples(
        'flywheel adapters rollback --because "complaints since noon"',
        'flywheel adapters rollback a-3f2c --because "the last one that was fine"',
    )
)
def rollback(
    ctx: typer.Context,
    adapter_id: Annotated[
        str | None,
        typer.Argument(metavar="ADAPTER", help="Default: the champion before.", show_default=False),
    ] = None,
    *,
    because: Because,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Serve an earlier champion again, at once.

    Where [serving] has a server that can be asked, once it answers as it did in evaluation.
    """
    why = reason(because)
    ask = daemon(ctx)
    to = _one(ask.get("adapters").value, adapter_id)["id"] if adapter_id else None
    reply = ask.post("rollback", value={"because": why} | ({"to": to} if to else {}))
    tell(ask, reply, as_json=as_json, wait=wait)


_COLUMNS = (
    Column(title="adapter", least=14),
    Column(title="state"),
    Column(title="created"),
    Column(title="recipe", least=8),
    Column(title="dev", right=True),
    Column(title="parent", least=14),
)


def _row(adapter: Mapping[str, Any]) -> list[str]:
    return [
        clean(adapter["id"]),
        clean(adapter["state"]),
        moment(adapter.get("created_at")),
        clean(adapter.get("recipe") or "-"),
        share((adapter.get("metrics") or {}).get("dev_accuracy")),
        clean(adapter.get("parent") or "-"),
    ]


def _metric(name: str, value: Any) -> str:
    """One figure; nothing for what does not fit a line (a curve, a table)."""
    if isinstance(value, Mapping | list):
        return ""
    if isinstance(value, float) and name.endswith(("accuracy", "macro", "recall")):
        return share(value)
    return number(value)


def _one(adapters: list[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    """The adapter with this id, the champion, or the only one whose id begins so.

    Raises:
        NotFound: there is none, or there are several.
    """
    key = "state" if wanted == "champion" else "id"
    exact = [adapter for adapter in adapters if adapter.get(key) == wanted]
    matching = exact or [adapter for adapter in adapters if str(adapter["id"]).startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(str(adapter["id"]) for adapter in matching[:5])
        raise NotFound(f"{wanted} could be {names}", hint="write more of it")
    raise NotFound(f"no adapter {wanted}", hint="`flywheel adapters list` prints their ids")


def _folder(adapters: Path, wanted: str) -> Path:
    """The adapter's folder; the link `champion` is followed, but never out of `adapters`."""
    if not adapters.is_dir():
        raise NotFound(f"no adapters in {adapters}", hint="train one: flywheel turn start --wait")
    names = [
        path.name
        for path in sorted(adapters.iterdir())
        if path.name == wanted or (path.name.startswith(wanted) and not path.is_symlink())
    ]
    name = wanted if wanted in names else names[0] if len(names) == 1 else ""
    if not name:
        _one([{"id": each} for each in names], wanted)
    folder = (adapters / name).resolve()
    if folder.parent != adapters.resolve() or not (folder / _NEEDED).is_file():
        raise NotFound(f"{adapters / name} is not a whole adapter", hint="flywheel adapters list")
    return folder
