"""Where the rows of a training file are: lines, a table, or somewhere in a JSON value.

Only shapes are looked at here; what a row means is said in `training_rows`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from flywheel.formats.training_rasa import NoTrainingData, RasaExample, read_json, read_yaml
from flywheel.formats.training_rows import (
    GROUP_KEY,
    LABEL_KEYS,
    NAMED_SPLITS,
    NO_NAMES,
    TEXT_KEYS,
    BadRow,
    LabelNames,
    label_names,
)
from flywheel.records import NONE

DELIMITERS = (",", ";", "\t", "|")
_WRAPPERS = ("data", "rows", "examples", "samples", "utterances", "dataset")
_PATTERNS = ("patterns", "utterances", "examples", "texts", "sample_utterances")  # of an intent
_OUT_OF_SCOPE = "oos"  # in CLINC150
_LONGEST_CELL = 1 << 24
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)


class NotTraining(ValueError):
    """A file that holds no labelled texts at all; the message says what it holds."""


@dataclass(slots=True)
class FoundRow:
    """A row before it is read: its place, its value, and the part of the file it is in."""

    line: int
    value: Any
    part: str = ""
    place: str = ""  # such as train[3]; "" where the line says it
    why: str = ""  # it cannot be read
    unlabelled: bool = False


_Rows = tuple[str, Iterator[FoundRow], LabelNames, Counter[str]]


def rows_of(text: str, name: str) -> _Rows:
    """The form of a file, its rows, the names it has for labels, and what is skipped."""
    skipped: Counter[str] = Counter()
    start = text.lstrip("\ufeff \t\r\n")
    if not start:
        raise NotTraining("is empty")
    if name.endswith((".yml", ".yaml")) or start.startswith(("version:", "nlu:", "%YAML")):
        return "Rasa NLU", _of_rasa(lambda: read_yaml(text, skipped)), NO_NAMES, skipped
    if start[0] not in "[{":
        form = "TSV" if name.endswith((".tsv", ".tab")) else "CSV"
        return form, _table(text, "\t" if form == "TSV" else None), NO_NAMES, skipped
    try:
        whole = msgspec.json.decode(start.encode("utf-8", "surrogateescape"))
    except _BROKEN as error:
        _refuse_broken_list(start, error)
        return "JSON lines", _lines(text), NO_NAMES, skipped
    return _of_value(whole, skipped)


def _refuse_broken_list(start: str, error: Exception) -> None:
    """Refuse a JSON list or object over several lines that breaks off or holds a mistake."""
    first = start.partition("\n")[0].strip()
    if first in ("[", "{", "[{") or (first.startswith("[{") and not first.endswith("]")):
        raise NotTraining(f"is JSON over several lines with a mistake in it: {error}")


def _lines(text: str) -> Iterator[FoundRow]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip("\ufeff \t\r")
        if not line:
            continue
        try:
            line.encode()
        except UnicodeEncodeError:
            yield FoundRow(number, None, why="is not UTF-8; name its encoding with --encoding")
            continue
        yield _one_line(number, line)


def _one_line(number: int, line: str) -> FoundRow:
    for written in (line, line.removesuffix(",")):  # a list that was cut into lines
        try:
            return FoundRow(number, msgspec.json.decode(written))
        except RecursionError:
            return FoundRow(number, None, why="is nested too deeply")
        except _BROKEN:
            pass
    return FoundRow(number, None, why="is not JSON")


def _table(text: str, delimiter: str | None) -> Iterator[FoundRow]:
    """Rows of CSV, each with the line it begins in."""
    csv.field_size_limit(_LONGEST_CELL)
    if "\n" not in text:
        text = text.replace("\r", "\n")  # as an old Macintosh ends its lines
    delimiter = delimiter or _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield FoundRow(line, None, why=f"is no CSV: {error}")
            line = reader.line_num + 1
            continue
        if not header:
            header = _header(cells)
        elif any(cell.strip() for cell in cells):
            yield _cells(line, header, cells)
        line = reader.line_num + 1


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().removeprefix("\ufeff") for cell in cells]
    folded = {name.casefold() for name in names}
    if not folded & {*TEXT_KEYS, "messages"} or not folded & {*LABEL_KEYS, GROUP_KEY, "messages"}:
        shown = ", ".join(names)[:80]
        raise NotTraining(
            f"has no header that names text and label: looked for {', '.join(TEXT_KEYS)} and "
            f"{', '.join((*LABEL_KEYS, GROUP_KEY))}; its first line is {shown}"
        )
    return names


def _cells(line: int, header: Sequence[str], cells: Sequence[str]) -> FoundRow:
    if len(cells) < len(header) and "\n" in cells[-1].rstrip("\r\n"):
        return FoundRow(line, None, why="a quote that opens here is not closed, lines on are lost")
    if len(cells) > len(header):
        why = f"has {len(cells)} cells, and the header has {len(header)}; quote a text with commas"
        return FoundRow(line, None, why=why)
    return FoundRow(line, dict(zip(header, cells, strict=False)))


def _delimiter(text: str) -> str:
    """The delimiter whose header names the text and the label, or cuts most cells."""

    def cut(delimiter: str) -> tuple[bool, int]:
        try:
            cells = next(csv.reader(io.StringIO(text.lstrip("\r\n")), delimiter=delimiter), [])
        except csv.Error:
            cells = []
        names = {cell.strip().casefold() for cell in cells}
        return bool(names & {*TEXT_KEYS} and names & {*LABEL_KEYS, GROUP_KEY}), len(cells)

    return max(DELIMITERS, key=cut)


def _of_value(whole: Any, skipped: Counter[str]) -> _Rows:
    """The rows of one JSON value."""
    if isinstance(whole, list):
        return "JSON list", _numbered(whole), NO_NAMES, skipped
    if not isinstance(whole, Mapping):
        raise NotTraining("is a bare JSON value")
    if isinstance(nlu := whole.get("rasa_nlu_data"), Mapping):
        return "Rasa NLU JSON", _of_rasa(lambda: read_json(nlu, skipped)), NO_NAMES, skipped
    if parts := {key: found for key, value in whole.items() if (found := _part(key, value))}:
        return _of_named_parts(whole, parts, skipped)
    names = _own_names(whole)
    for key in _WRAPPERS:
        if isinstance(rows := whole.get(key), list):
            rows = [row.get("row", row) if isinstance(row, Mapping) else row for row in rows]
            return f"JSON with `{key}`", _numbered(rows), names, skipped
    for form, listed in (("columns", _columns(whole)), ("texts by intent", _by_intent(whole))):
        if listed is not None:
            return form, _numbered(listed), names, skipped
    return "JSON lines", _numbered([whole]), names, skipped


def _of_named_parts(
    whole: Mapping[str, Any], parts: Mapping[str, list[Any]], skipped: Counter[str]
) -> _Rows:
    """The rows of an object that holds a list for each split."""
    for key in whole.keys() - parts.keys() - {"intents", "features", "label_names"}:
        skipped[f"{key}: no labelled texts"] += _length(whole[key])
    names = _own_names(whole)
    if any(isinstance(row, (list, tuple)) for rows in parts.values() for row in rows):
        names = LabelNames({**names.names, _OUT_OF_SCOPE: NONE})
        return "CLINC150", _of_parts(parts), names, skipped
    form = "AutoIntent" if isinstance(whole.get("intents"), list) else "parts of rows"
    return form, _of_parts(parts, unlabelled=form == "AutoIntent"), names, skipped


def _own_names(whole: Mapping[str, Any]) -> LabelNames:
    for key in ("intents", "features", "id2label", "label_names", "names"):
        if isinstance(value := whole.get(key), (list, Mapping)):
            try:
                return label_names({"names" if key == "label_names" else key: value})
            except BadRow:
                continue
    return NO_NAMES


def _part(key: str, value: Any) -> list[Any]:
    """The rows of an entry that is named as a split, such as train_0 or oos_val; else []."""
    word = key.casefold()
    if word not in NAMED_SPLITS and word.removeprefix("oos_").split("_")[0] not in NAMED_SPLITS:
        return []
    if isinstance(value, Mapping):
        return _columns(value) or []
    return value if isinstance(value, list) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, Mapping)) else 1


def _of_parts(parts: Mapping[str, list[Any]], *, unlabelled: bool = False) -> Iterator[FoundRow]:
    """Rows of each part; `unlabelled`: a row without a label is out of scope."""
    line = 0
    for part, rows in parts.items():
        for number, row in enumerate(rows):
            line += 1
            bare = unlabelled and isinstance(row, Mapping) and "label" not in row
            value = {**row, "label": None} if bare else row
            yield FoundRow(line, value, part, f"{part}[{number}]", unlabelled=bare)


def _numbered(rows: Iterable[Any]) -> Iterator[FoundRow]:
    for number, row in enumerate(rows, 1):
        yield FoundRow(number, row)


def _columns(whole: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of an object that holds a list, or an object by row number, for each column."""
    folded = {key.casefold() for key in whole}
    if not folded & {*TEXT_KEYS} or not folded & {*LABEL_KEYS, GROUP_KEY}:
        return None
    columns = {
        key: list(value.values()) if isinstance(value, Mapping) else value
        for key, value in whole.items()
        if isinstance(value, (list, Mapping))
    }
    if len({len(values) for values in columns.values()}) != 1 or len(columns) < len(whole):
        return None
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _by_intent(whole: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of a list of texts for each intent, by name or under `intents`."""
    listed = whole.get("intents")
    if isinstance(listed, list) and len(whole) == 1:
        rows: list[dict[str, Any]] = []
        for each in listed if all(isinstance(each, Mapping) for each in listed) else ():
            label = next((each[k] for k in ("tag", "intent", "name") if k in each), None)
            texts: list[Any] = next((each[k] for k in _PATTERNS if _is_list(each.get(k))), [])
            rows += [{"text": text, "intent": label} for text in texts]
        return rows or None
    lists = [texts if isinstance(texts, list) else [None] for texts in whole.values()]
    if not all(isinstance(text, str) for texts in lists for text in texts) or not any(lists):
        return None
    return [{"text": text, "intent": name} for name, texts in whole.items() for text in texts]


def _of_rasa(read: Callable[[], Iterator[RasaExample]]) -> Iterator[FoundRow]:
    try:
        for each in read():
            yield FoundRow(each.line, each.row, why=each.why)
    except NoTrainingData as error:
        raise NotTraining(str(error)) from error
