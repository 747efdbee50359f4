"""Remove one person's data everywhere: tables, archive, datasets, jobs; and who learnt from it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from flywheel import datasets, files
from flywheel.errors import Refused
from flywheel.store import adapters, archive, erasure, golden_set, restoring, samples, turns
from flywheel.store.erasure import Person, Traces
from flywheel.turn.runtime import Runtime


def erase(runtime: Runtime, person: Person) -> dict[str, Any]:
    """Remove a person's data, and prove it by a search.

    Returns:
        {"removed": rows by table, "files": rewritten or deleted, "adapters": trained on it,
        "left": where it is found still, and the databases that a restore set aside, which are not
        searched; empty when all went well}.

    Raises:
        Refused: a turn is running, which may hold the data in memory.
    """
    with runtime.store.write() as con:
        if turns.open_turns(con):
            raise Refused(
                "a turn is running and may hold the data",
                hint="cancel it or wait for its end, then ask again",
            )
        found = erasure.traces(con, person)
        removed = erasure.remove(con, found)
        if "golden_rows" in removed:
            _seal_again(runtime, con)
        trained = adapters.list_adapters(con)
    with runtime.store.write() as con:
        archive.settle(con)
    touched = _files(runtime.config.state_dir, found)
    named = {Path(name).stem for name in touched}
    with runtime.store.read() as con:
        left: dict[str, int] = dict(erasure.left(con, found))
    left |= dict.fromkeys(_files(runtime.config.state_dir, found, only_look=True), 1)
    left |= {path.name: 1 for path in restoring.set_aside(runtime.store.path)}  # not searched
    if not runtime.store.compact(anyway=True):  # a deleted row's bytes stay in its file
        left["the file of the database"] = 1
    return {
        "removed": removed,
        "files": touched,
        "adapters": [one.id for one in trained if one.dataset in named],
        "left": left,
    }


def _seal_again(runtime: Runtime, con: Any) -> None:
    """The golden generation without the rows that went."""
    current = golden_set.current_generation(con)
    if current is not None:
        rows = [row.sample for row in samples.golden(con)]
        golden_set.reseal(con, current.number, datasets.seal(rows), len(rows))


def _files(state_dir: Path, found: Traces, *, only_look: bool = False) -> list[str]:
    """Files of datasets and jobs that held the person's data, relative to the state folder.

    A table is written again without the rows; any other file is deleted.
    """
    touched = []
    for path in _kept(state_dir):
        if path.suffix == ".parquet":
            held = _table_held(path, found, only_look=only_look)
        else:
            held = _text_held(path, found.texts)
            if held and not only_look:
                path.unlink()
        if held:
            touched.append(str(path.relative_to(state_dir)))
    return touched


def _kept(state_dir: Path) -> Iterator[Path]:
    for folder in (state_dir / "datasets", *sorted(state_dir.glob("jobs*"))):  # set aside, too
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".parquet", ".json", ".jsonl"):
                yield path


def _table_held(path: Path, found: Traces, *, only_look: bool) -> bool:
    table = pyarrow.parquet.read_table(path)
    if "text" not in table.column_names:
        return False
    mine = pyarrow.compute.is_in(table["text"], pyarrow.array(found.texts, pyarrow.string()))
    for name, ids in (("id", [*found.samples, *found.ids]), ("sample", found.samples)):
        if name in table.column_names:
            own = pyarrow.compute.is_in(table[name], pyarrow.array(ids, table[name].type))
            mine = pyarrow.compute.or_(mine, own)
    if not pyarrow.compute.any(mine).as_py():
        return False
    if not only_look:
        with files.replacing(path) as staged:
            pyarrow.parquet.write_table(table.filter(pyarrow.compute.invert(mine)), staged)
    return True


def _text_held(path: Path, texts: Collection[str]) -> bool:
    content = path.read_text(encoding="utf-8", errors="replace")
    return any(
        json.dumps(text) in content or json.dumps(text, ensure_ascii=False) in content
        for text in texts
    )
