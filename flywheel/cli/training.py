"""Training files of `flywheel samples import`: decoded, read, sent, and what became of them."""

from __future__ import annotations

import codecs
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from flywheel.cli import overlapping, sending
from flywheel.cli.screen import prose, say
from flywheel.cli.text import clean, counted, plural
from flywheel.errors import FlywheelError
from flywheel.file_records import decoding
from flywheel.formats.training_files import (
    LabelledLine,
    TrainingFile,
    read_training_file,
    refuse_contradictions,
)
from flywheel.formats.training_rows import NO_NAMES, BadRow, LabelNames, label_names
from flywheel.formats.training_shapes import NotTraining

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

_LARGEST = 1 << 29  # bytes: a training file is read whole, so that its labels can be compared
_NATIVE = ("text and intent", "messages and messages")  # keys that need no remark
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

Read = tuple[str, TrainingFile]
"""A file's name and what it holds."""


def names(path: Path | None) -> LabelNames:
    """Return the names of labels in a file: JSON, or a name a line.

    Raises:
        FlywheelError: there is no such file, or it holds no names.
    """
    if path is None:
        return NO_NAMES
    sending.openable(path)
    text = path.read_text(encoding="utf-8-sig", errors="replace").strip()
    try:
        value = msgspec.json.decode(text) if text[:1] in "[{" else text.split("\n")
        value = [n.strip() for n in value] if isinstance(value, list) and text[:1] != "[" else value
        return label_names(value)
    except (BadRow, msgspec.DecodeError, RecursionError) as error:
        raise FlywheelError(
            f"{path}: {error}", hint='--labels reads ["first", "second"] or {"theirs": "yours"}'
        ) from error


def read(path: Path, split: str | None, encoding: str, labels: LabelNames) -> Read:
    """Return what a training file holds.

    Args:
        path: `-` is standard input; what is compressed is unpacked.
        split: of every row; None: as the file says.
        encoding: of the file; "" is UTF-8, or UTF-16 where it begins with its mark.
        labels: names of its labels.

    Raises:
        FlywheelError: there is no such file, or it holds no labelled texts.
    """
    file, _ = sending.prepared_file(path)
    with file:
        try:
            _, pieces = decoding.uncompressed(file)
            body = decoding.limited(pieces, _LARGEST)
        except decoding.Undecodable as error:
            raise FlywheelError(f"{path}: {error.message}", hint="is the file whole?") from error
    if len(body) > _LARGEST:
        raise FlywheelError(
            f"{path} is larger than {_LARGEST >> 20} MB", hint="split it: split -C 200M FILE"
        )
    if not body.strip():
        raise FlywheelError(f"{path} is empty", hint="nothing was sent; is it the right file?")
    text = _decoded(path, body, encoding)
    if text.lstrip().startswith("{"):
        sending.refuse_events(path, text.lstrip().partition("\n")[0].encode("utf-8", "replace"))
    try:
        return str(path), read_training_file(text, path.name.removesuffix(".gz"), split, labels)
    except NotTraining as error:
        hint = "write one JSON object a line, with text and intent, or CSV with a header"
        raise FlywheelError(f"{path} {error}", hint=hint) from error


def _decoded(path: Path, body: bytes, encoding: str) -> str:
    mark = next((name for start, name in _MARKS.items() if body.startswith(start)), "")
    if not encoding and not mark and (b"\x00" in body or body[:4] in (b"PAR1", b"PK\x03\x04")):
        sending.refuse_unreadable(path, body[: sending.HEAD])
    try:
        if encoding:
            return body.decode(encoding)
        return body.decode(mark or "utf-8", "strict" if mark == "utf-16" else "surrogateescape")
    except LookupError as error:
        raise typer.BadParameter(f"{encoding} is no encoding", param_hint="--encoding") from error
    except UnicodeError as error:
        raise FlywheelError(
            f"{path} is not {encoding or mark}: {error}", hint="name its encoding with --encoding"
        ) from error


def say_drawn(files: Sequence[Read], lot: str) -> None:
    """Write into each fresh row how it was drawn, where the row does not say so itself."""
    for _, file in files:
        file.rows[:] = [_drawn(line, lot) if lot else line for line in file.rows]


def _drawn(line: LabelledLine, lot: str) -> LabelledLine:
    provenance = line.event.get("provenance") or {}
    if line.event.get("split") != "fresh" or not isinstance(provenance, dict):
        return line
    return replace(line, event={**line.event, "provenance": {"lot": lot, **provenance}})


def _on_lots(files: Sequence[Read]) -> list[str]:
    """What fresh rows rest on: a lot, or the word of whoever imports them."""
    events = [line.event for _, file in files for line in file.rows]
    fresh = [event for event in events if event.get("split") == "fresh"]
    drawn = [row for row in fresh if "lot" in (row.get("provenance") or {})]
    told = [f"{plural(len(drawn), 'fresh sample')}: drawn as recorded"] if drawn else []
    if missing := len(fresh) - len(drawn):
        told += [
            f"{plural(missing, 'fresh sample')} without a word on how they were drawn (--lot HOW): "
            "judging only where [gates.fresh] asks for such, on your word that nobody chose them"
        ]
    return told


def send(ask: DaemonClient, files: Sequence[Read], *, new_generation: bool, as_json: bool) -> None:
    """Send the rows of the files, print what became of them, and exit 1 when one was rejected."""
    refuse_contradictions(files)
    query = {"new_generation": "1"} if new_generation else None
    sender = sending.Sender(ask, lambda line: ("samples", line), query)
    try:
        for name, file in files:
            _send(sender, name, file)
    except KeyboardInterrupt:
        sender.stopped()
        raise typer.Exit(130) from None
    tally = sender.tally
    if as_json:
        read_as = [_summary(name, file) for name, file in files]
        skipped = sum((file.skipped for _, file in files), Counter())
        summary = tally.summary() | {"skipped": dict(skipped), "files": read_as}
        say(json.dumps(summary, ensure_ascii=False))
    else:
        for name, file in files:
            _tell(name, file)
        sending.report(tally)
        say(*(line for told in _on_lots(files) for line in prose(told)))
        overlapping.tell(tally.overlaps)
    if tally.rejected:
        raise typer.Exit(1)


def _send(sender: sending.Sender, name: str, file: TrainingFile) -> None:
    """Send a file's rows; what the daemon rejects is named by the line of the file."""
    before, met = len(sender.tally.rejected), len(sender.tally.overlaps)
    body = b"\n".join(msgspec.json.encode(row.event) for row in file.rows)
    try:
        sender.send(name, io.BytesIO(body), len(body))
    finally:
        rejected = sender.tally.rejected
        sender.tally.sent += len(file.refused)
        ours = [(name, each.line, each.why) for each in file.refused]
        for _, number, why in rejected[before:]:
            row = file.rows[number - 1].refused(why) if 0 < number <= len(file.rows) else None
            ours.append((name, row.line, row.why) if row else (name, 0, why))
        rejected[before:] = sorted(ours, key=lambda each: each[1])
        found = sender.tally.overlaps
        found[met:] = overlapping.at_lines(found[met:], [row.line for row in file.rows])


def _summary(name: str, file: TrainingFile) -> dict[str, Any]:
    return {
        "file": name,
        "form": file.form,
        "keys": file.used(),
        "rows": len(file.rows),
        "refused": len(file.refused),
        "parts": dict(file.parts),
        "unlabelled": file.unlabelled,
    }


def _tell(name: str, file: TrainingFile) -> None:
    """Say how a file was read, unless it is in flywheel's own form."""
    used = file.used()
    if used and (file.form != "JSON lines" or not {*used} <= {*_NATIVE}):
        parts = f" ({counted(file.parts)})" if file.parts else ""
        say(clean(f"{name}: {file.form}{parts}, keys {'; '.join(used)}"))
    if file.unlabelled:
        say(f"{plural(file.unlabelled, 'text')} without a label: none, as {file.form} means it")
    if file.skipped:
        say(f"skipped: {counted(file.skipped)}")
