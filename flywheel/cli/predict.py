"""`flywheel predict`: answers of the champion for the texts of a file, in this process.

The daemon is not asked: the library loads the adapter and proves it, as in any program.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from flywheel.cli import screen
from flywheel.cli.command import find_config, named_config
from flywheel.cli.text import clean
from flywheel.errors import ConfigError

if TYPE_CHECKING:
    from flywheel.config import Config
    from flywheel.router import Router

_TOGETHER = 256  # lines answered before the next are read
_PROGRESS_S = 2.0  # what takes longer says how far it is
_SHOWN = 20  # bad lines that are named one by one


class AnsweredBy(StrEnum):
    """What computes the answers."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLine:
    """One line of the file that holds a text."""

    number: int  # counted from 1
    text: str
    fields: dict[str, Any]  # of its JSON object that are handed on: `id`


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredLine:
    """One line that holds none."""

    number: int
    why: str


@dataclass(slots=True)
class _Outcome:
    answered: int = 0
    bad: list[UnansweredLine] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)  # where they are printed as JSON


def predict(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A text a line, or JSONL; - is stdin.")
    ],
    *,
    adapter: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="An adapter, or its folder; default: the champion.",
            show_default=False,
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write there, whole or not at all; default: stdout."),
    ] = None,
    engine: Annotated[
        AnsweredBy, typer.Option(help="What computes; auto is the fastest here.")
    ] = AnsweredBy.auto,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: answers, and bad lines.")
    ] = False,
) -> None:
    """Answer the texts of a file with the champion.

    FILE holds a text a line, or JSON objects with `text` or `messages` and perhaps `id`. Each
    answer is a line of JSON: line, text, intent, arguments, confidence, adapter. Lines that hold
    no text are listed and the others answered; exit code 1 when there was one. Nothing is sent to
    the daemon: to log answers as traffic, ingest them.
    """
    config = _config(ctx, adapter)
    with ExitStack() as opened:
        lines = opened.enter_context(_opened(file))
        router = _router(config, adapter, engine)
        turns = 0 if config is None else config.intents.context_turns
        outcome = _Outcome()
        if as_json and output is None:
            _answer(router, lines, turns, outcome, None)
        else:
            _answer(router, lines, turns, outcome, opened.enter_context(_written(output)))
    _report(router, outcome, as_json=as_json, output=output)
    if outcome.bad:
        raise typer.Exit(1)


def _answer(
    router: Router, lines: BinaryIO, context_turns: int, outcome: _Outcome, to: TextIO | None
) -> None:
    """Answer line by line into `to`, or into the outcome where it is None."""
    asked = _read(lines, context_turns, outcome.bad)
    progress, began = screen.ProgressLine(), time.monotonic()
    try:
        while some := list(islice(asked, _TOGETHER)):
            answers = router.answer_batch([line.text for line in some])
            for line, answer in zip(some, answers, strict=True):
                row = {
                    "line": line.number,
                    **line.fields,
                    "text": line.text,
                    "intent": answer.intent,
                    "arguments": dict(answer.arguments),
                    "confidence": round(answer.confidence, 6),
                    "adapter": answer.adapter,
                }
                if to is None:
                    outcome.answers.append(row)
                else:
                    to.write(json.dumps(row, ensure_ascii=False) + "\n")
            if to is not None:
                to.flush()
            outcome.answered += len(some)
            if time.monotonic() - began > _PROGRESS_S:
                rate = outcome.answered / (time.monotonic() - began)
                progress.show(f"{outcome.answered:,} texts answered, {rate:,.0f} a second")
    finally:
        progress.clear()


def _read(lines: BinaryIO, context_turns: int, bad: list[UnansweredLine]) -> Iterator[AskedLine]:
    """The lines that hold a text; those that hold none are added to `bad`.

    A file is JSONL when its first line that is not empty is a JSON object.
    """
    as_json: bool | None = None
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            bad.append(UnansweredLine(number=number, why=f"is not UTF-8: {error.reason}"))
            continue
        if not line:
            continue
        if as_json is None:
            as_json = line.startswith("{")
        if not as_json:
            yield AskedLine(number=number, text=line, fields={})
            continue
        try:
            yield _of_object(number, line, context_turns)
        except ValueError as error:
            bad.append(UnansweredLine(number=number, why=str(error)))


def _of_object(number: int, line: str, context_turns: int) -> AskedLine:
    """The text of a JSON object.

    Raises:
        ValueError: it is no JSON object, or has no text.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    fields = {"id": row["id"]} if isinstance(row.get("id"), (str, int)) else {}
    if "messages" in row and "text" not in row:
        return AskedLine(
            number=number, text=_last_said(row["messages"], context_turns), fields=fields
        )
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ValueError("has no `text` and no `messages`" if text is None else "`text` is no text")
    return AskedLine(number=number, text=text, fields=fields)


def _last_said(messages: Any, context_turns: int) -> str:
    from flywheel.formats.calls import asked
    from flywheel.formats.reading import BadEvent, Fields

    try:
        return asked(messages, Fields("openai", {}), "messages", context_turns).text
    except BadEvent as error:
        raise ValueError(f"`{error.field}` {error.why}") from error


def _opened(file: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb")


@contextmanager
def _written(output: Path | None) -> Iterator[TextIO]:
    """Where answers go: standard output, or a file that is there whole or not at all."""
    if output is None:
        yield sys.stdout
        return
    from flywheel.files import replacing

    with replacing(output) as staged, staged.open("w", encoding="utf-8") as file:
        yield file


def _config(ctx: typer.Context, adapter: str) -> Config | None:
    """The configuration; None where there is none and an adapter's folder is named."""
    from flywheel.config import load

    try:
        return load(find_config(named_config(ctx)))
    except ConfigError:
        if adapter and named_config(ctx) is None and Path(adapter, "flywheel.json").is_file():
            return None
        raise


def _router(config: Config | None, adapter: str, engine: AnsweredBy) -> Router:
    from flywheel.router import Router

    if config is None:
        return Router.load(adapter, engine=engine.value)
    place = Path(adapter)
    if not adapter:
        place = config.state_dir
    elif not (place / "flywheel.json").exists() and place.name == adapter:
        place = config.state_dir / "adapters" / adapter
    model = config.model
    return Router.load(place, engine=engine.value, device=model.device, threads=model.threads)


def _report(router: Router, outcome: _Outcome, *, as_json: bool, output: Path | None) -> None:
    if as_json:
        value: dict[str, Any] = {"adapter": router.adapter, "engine": router.engine}
        value |= {"answered": outcome.answered}
        value |= {} if output else {"predictions": outcome.answers}
        value["rejected"] = [{"line": line.number, "reason": line.why} for line in outcome.bad]
        screen.raw_json(json.dumps(value, ensure_ascii=False).encode())
        return
    for line in outcome.bad[:_SHOWN]:
        screen.remark(f"line {line.number} {clean(line.why)}")
    if len(outcome.bad) > _SHOWN:
        screen.remark(f"and {len(outcome.bad) - _SHOWN:,} more lines")
    if output or outcome.bad:
        refused = f", {len(outcome.bad):,} lines refused" if outcome.bad else ""
        into = f" into {output}" if output else ""
        screen.remark(f"{outcome.answered:,} texts answered by {router.adapter}{into}{refused}")
