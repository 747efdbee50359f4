"""Training files as their tools write them, read as labelled samples.

JSON lines, JSON lists, CSV and TSV with a header, CLINC150's JSON, AutoIntent's, Rasa's NLU files
in YAML and JSON, rows and columns of Hugging Face, and files with a list of texts for each intent.
Every row is accounted for: a sample, or refused with the field at fault, or skipped by kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flywheel.content import text_key
from flywheel.formats.dispatch import detect
from flywheel.formats.reading import BadEvent
from flywheel.formats.training_rows import (
    NAMED_SPLITS,
    NO_NAMES,
    BadRow,
    LabelNames,
    SampleRow,
    sample_row,
)
from flywheel.formats.training_shapes import FoundRow, NotTraining, rows_of
from flywheel.records import NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedLine:
    """A row of the file that cannot be imported, and why."""

    line: int  # the line where it begins; in a JSON value its number in the file; from 1
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledLine:
    """A row of the file that can be imported."""

    line: int  # as of `RefusedLine`
    event: Mapping[str, Any]  # a native sample, or an event of another format
    place: str = ""  # such as train[3], where a number does not say it

    def refused(self, why: str) -> RefusedLine:
        """Return it as a line that was refused."""
        return RefusedLine(line=self.line, why=f"{self.place}: {why}" if self.place else why)


@dataclass(slots=True, kw_only=True)
class TrainingFile:
    """What a file holds."""

    form: str  # "JSON lines", "CSV", …
    rows: list[LabelledLine] = field(default_factory=list)
    refused: list[RefusedLine] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)  # by what they are
    keys: Counter[tuple[str, str]] = field(default_factory=Counter)  # (of the text, of the label)
    parts: Counter[str] = field(default_factory=Counter)  # rows by the file's own name of a split
    unlabelled: int = 0  # rows without a label, which the file's form calls out of scope

    def used(self) -> list[str]:
        """Which keys were read, the most used first: `utterance and label`."""
        return [f"{text} and {label}" for (text, label), _ in self.keys.most_common()]


def read_training_file(
    text: str, name: str, split: str | None, names: LabelNames = NO_NAMES
) -> TrainingFile:
    """Return the labelled texts of a file.

    Args:
        text: of the file; a byte that could not be decoded is a lone surrogate (`surrogateescape`)
            and costs its row only.
        name: of the file; its ending tells TSV, CSV and YAML.
        split: what all rows are for; None: each row, or the part of the file it is in, says so.
        names: of labels; before those that the file itself has.

    Raises:
        NotTraining: no row can be found.
    """
    text = text.removeprefix("\ufeff")
    form, found, own_names, skipped = rows_of(text, name.lower())
    known = LabelNames({**own_names.names, **names.names}, names.width or own_names.width)
    read = TrainingFile(form=form, skipped=skipped)
    for each in found:
        try:
            row = _read(each, known, split)
        except BadRow as error:
            bad = LabelledLine(line=each.line, event={}, place=each.place)
            read.refused.append(bad.refused(str(error)))
            continue
        read.rows.append(LabelledLine(line=each.line, event=row.event, place=each.place))
        read.keys[row.text_key, row.label_key] += 1
        read.unlabelled += each.unlabelled
        if each.part:
            read.parts[each.part] += 1
    if not read.rows and not read.refused:
        raise NotTraining("holds no labelled texts")
    return read


def _read(found: FoundRow, names: LabelNames, split: str | None) -> SampleRow:
    if found.why:
        raise BadRow(found.why)
    _refuse_undecoded(found.value)
    try:
        row = sample_row(found.value, names)
    except BadRow:
        if not _foreign(found.value):
            raise
        row = SampleRow(dict(found.value), "event", "event")
    own = found.value.get("split") if isinstance(found.value, Mapping) else None
    event = row.event | {"split": _split(own or found.part, own is not None, split, row.event)}
    return SampleRow(event, row.text_key, row.label_key)


def _split(named: Any, in_row: bool, asked: str | None, event: Mapping[str, Any]) -> str:
    """The split of a row, by what was asked for and what the row or its part is called."""
    word = str(named).strip().casefold() if named else ""
    own = NAMED_SPLITS.get(word, NAMED_SPLITS.get(word.removeprefix("oos_").split("_")[0], ""))
    if own == "seed" and word == "train" and event.get("origin") not in (None, "", "seed"):
        own = "train"  # a sample that a person or a teacher gave, as it was exported
    if asked is None:
        if not own:
            said = f"`{named}` is no split that is known here" if named else "is missing"
            raise BadRow(f"split: {said}; say --split seed, dev, golden or fresh")
        return own
    if in_row and own != asked:
        raise BadRow(f"split: the line says {named}, --split says {asked}")
    return asked


def _foreign(value: Any) -> bool:
    """Whether a row is an event of another tool, whose reader finds text and label itself."""
    if not isinstance(value, Mapping):
        return False
    try:
        return detect(value) != "native"
    except BadEvent:
        return False


def _refuse_undecoded(value: Any) -> None:
    cells = value.values() if isinstance(value, Mapping) else value
    for cell in cells if isinstance(cells, Iterable) else ():
        if isinstance(cell, str) and not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError:
                raise BadRow("is not UTF-8; name its encoding with --encoding") from None


# The same text with another label.


@dataclass(frozen=True, slots=True)
class _GoldenLabel:
    file: str
    line: int
    intent: str


def refuse_contradictions(files: Sequence[tuple[str, TrainingFile]]) -> None:
    """Move the golden rows of texts that have several labels from `rows` to `refused`.

    None of them enters, since nobody has said which is right.

    Args:
        files: each with its name; all are imported together.
    """
    labels: dict[str, list[_GoldenLabel]] = {}
    for name, read in files:
        for row in read.rows:
            if key := _golden_key(row):
                labels.setdefault(key, []).append(_GoldenLabel(name, row.line, _intent(row)))
    for name, read in files:
        kept = []
        for row in read.rows:
            given = labels.get(_golden_key(row), [])
            other = next((each for each in given if each.intent != _intent(row)), None)
            if other is None:
                kept.append(row)
                continue
            place = f"line {other.line}" if other.file == name else f"{other.file}:{other.line}"
            why = f"intent: is {_intent(row)}, but {other.intent} in {place} for the same text"
            read.refused.append(row.refused(why))
        read.rows = kept


def _golden_key(row: LabelledLine) -> str:
    """The key of a golden row's text; "" of another row."""
    text = row.event.get("text")
    golden = row.event.get("split") == "golden" and isinstance(text, str)
    return text_key(str(text)) if golden else ""


def _intent(row: LabelledLine) -> str:
    return str(row.event.get("intent") or NONE)
