"""Erasure of one person's data from tables, archive, datasets and jobs."""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from flywheel import content, datasets, files
from flywheel.errors import Refused
from flywheel.store import (
    adapters,
    archive,
    decisions,
    erasure,
    golden_set,
    redo,
    restoring,
    samples,
    turns,
)
from flywheel.store.erasure import Person, Traces
from flywheel.teacher import redaction
from flywheel.turn.runtime import Runtime

_HEADER = struct.Struct("<Q")  # of a file of safetensors: the length of the JSON behind it
_LONGEST_HEADER = 100_000_000  # bytes; the format's own limit


def erase(runtime: Runtime, person: Person, by: str) -> dict[str, Any]:
    """Remove a person's data, then search for what is left; `by` is who asked, for the audit trail.

    Returns:
        {"removed": rows by table, "files": rewritten or deleted files, "adapters": ids of adapters
        trained on the data, also on a label that another rater gave too, "left": places that still
        have data; empty when the data is gone}. Among them are the log of `flywheel serve` until it
        is delivered, and the databases that a restore set aside, which are not searched.

    Raises:
        Refused: a turn is running, which may hold the data in memory.
    """
    with runtime.store.write() as con:
        if turns.open_turns(con):
            raise Refused(
                "a turn is running and may hold the data",
                hint="cancel it or wait for its end, then ask again",
            )
        traces = erasure.traces(con, person, _as_a_teacher_was_shown(runtime))
        removed = erasure.remove(con, traces)
        if "golden_rows" in removed:
            _reseal(runtime, con)
        counts = ", ".join(f"{count} of {table}" for table, count in removed.items() if count)
        because = f"one person's data: {counts or 'no rows'}"
        decisions.record_act(con, "person.erased", by, because, runtime.clock())
        trained = adapters.list_adapters(con)
    forgotten = runtime.store.forget_log()  # before the files go that its transactions read
    with runtime.store.write() as con:
        archive.settle(con)
    state_dir = runtime.config.state_dir
    shared = _datasets_with(state_dir, traces.shared)
    touched = [*_files_with_data(state_dir, traces), *_states_of(state_dir, traces)]
    dataset_ids = {Path(name).stem for name in touched} | shared
    remaining = _left(runtime, traces)
    if not runtime.store.compact(anyway=True):  # a deleted row's bytes stay in its file
        remaining["the file of the database"] = 1
    if not forgotten:
        remaining[redo.FOLDER] = 1
    return {
        "removed": removed,
        "files": touched,
        "adapters": [adapter.id for adapter in trained if adapter.dataset in dataset_ids],
        "left": remaining,
    }


def _left(runtime: Runtime, traces: Traces) -> dict[str, int]:
    """Search tables and files again; rows, or 1 for a file, by where they are found."""
    state_dir = runtime.config.state_dir
    with runtime.store.read() as con:
        rows = erasure.left(con, traces)
    found = [
        *_files_with_data(state_dir, traces, only_look=True),
        *_states_of(state_dir, traces, only_look=True),
        *_answers_on_their_way(state_dir, traces),
    ]
    return {**rows, **dict.fromkeys(found, 1), **_set_aside(runtime.store.path)}


def _set_aside(database: Path) -> dict[str, int]:
    """What a restore or a damaged write-ahead log left beside the database; it is not searched."""
    kept = [
        *restoring.set_aside(database),
        *database.parent.glob(f"{database.name}.wal.before-*"),
        *database.parent.glob(f"{redo.FOLDER}.before-*"),
    ]
    return {path.name: 1 for path in kept}


def _as_a_teacher_was_shown(runtime: Runtime) -> Callable[[Sequence[str]], Sequence[str]]:
    """What replaces names and numbers in a text before a teacher reads it."""
    table = runtime.config.teacher
    if not table.redact:
        return lambda texts: texts
    names = redaction.finder(table.names_model)
    return lambda texts: redaction.redacted(texts, names)


def _reseal(runtime: Runtime, con: Any) -> None:
    """Seal the current golden generation again, without the removed rows."""
    current = golden_set.current_generation(con)
    if current is not None:
        rows = [row.sample for row in samples.golden(con) if not row.bought]
        golden_set.reseal(con, current.number, datasets.seal(rows), len(rows))


def _files_with_data(state_dir: Path, traces: Traces, *, only_look: bool = False) -> list[str]:
    """Files of datasets and jobs with the person's data, relative to the state folder.

    Unless `only_look`, Parquet files are rewritten without the rows, and other files are deleted.
    """
    touched = []
    for path in _stored_files(state_dir):
        if path.suffix == ".parquet":
            has_data = _clean_table(path, traces, only_look=only_look)
        else:
            has_data = _says(path, traces)
            if has_data and not only_look:
                path.unlink()
        if has_data:
            touched.append(str(path.relative_to(state_dir)))
    return touched


def _stored_files(state_dir: Path) -> Iterator[Path]:
    for folder in (state_dir / "datasets", *sorted(state_dir.glob("jobs*"))):  # set aside, too
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".parquet", ".json", ".jsonl"):
                yield path


def _datasets_with(state_dir: Path, sample_ids: Sequence[str]) -> set[str]:
    """Ids of the datasets that have one of the samples."""
    found = set()
    for path in sorted((state_dir / "datasets").glob("*.parquet")) if sample_ids else ():
        ids = pyarrow.parquet.read_table(path, columns=["id"])["id"]
        wanted = pyarrow.array(sample_ids, ids.type)
        if pyarrow.compute.any(pyarrow.compute.is_in(ids, wanted)).as_py():
            found.add(path.stem)
    return found


def _states_of(state_dir: Path, traces: Traces, *, only_look: bool = False) -> list[str]:
    """Files of the cache with the base's states of the person's texts, below the state folder.

    Unless `only_look`, they are deleted: the states are computed again when they are needed.
    """
    keys = {content.states_key(text) for text in traces.texts}
    found = []
    for path in sorted((state_dir / "cache").rglob("*.safetensors")) if keys else ():
        if not keys.isdisjoint(_metadata(path).get("keys", "").split()):
            found.append(str(path.relative_to(state_dir)))
            if not only_look:
                path.unlink()
    return found


def _metadata(path: Path) -> dict[str, str]:
    """What a file of safetensors says of itself; nothing where it is damaged."""
    with path.open("rb") as file:
        (size,) = _HEADER.unpack(file.read(_HEADER.size).ljust(_HEADER.size, b"\0"))
        try:
            header = json.loads(file.read(min(size, _LONGEST_HEADER)))
        except ValueError:
            return {}
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def _answers_on_their_way(state_dir: Path, traces: Traces) -> list[str]:
    """Files of the inference process that have the person's data, relative to the state folder:
    its log, which it removes within a minute after the daemon has it, and what was not taken."""
    found = []
    for path in sorted((state_dir / "serve" / "answers").glob("*.ndjson")):
        with contextlib.suppress(FileNotFoundError):  # delivered just now
            if _says(path, traces):
                found.append(str(path.relative_to(state_dir)))
    return found


def _clean_table(path: Path, traces: Traces, *, only_look: bool) -> bool:
    table = pyarrow.parquet.read_table(path)
    if "text" not in table.column_names:
        return False
    selected = pyarrow.compute.is_in(table["text"], pyarrow.array(traces.texts, pyarrow.string()))
    for name, ids in (("id", [*traces.samples, *traces.ids]), ("sample", traces.samples)):
        if name in table.column_names:
            matching = pyarrow.compute.is_in(table[name], pyarrow.array(ids, table[name].type))
            selected = pyarrow.compute.or_(selected, matching)
    if not pyarrow.compute.any(selected).as_py():
        return False
    if not only_look:
        with files.replacing(path) as staged:
            pyarrow.parquet.write_table(table.filter(pyarrow.compute.invert(selected)), staged)
    return True


def _says(path: Path, traces: Traces) -> bool:
    """Whether a file of JSON, whole or a document a line, has a value that is the person's."""
    said = path.read_bytes()
    documents = said.splitlines() if path.suffix in (".jsonl", ".ndjson") else [said]
    return any(erasure.mentions(document, traces) for document in documents)
