"""`flywheel ingest`: predictions, feedback and samples from files, in bulk."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli import sending
from flywheel.cli.command import daemon
from flywheel.cli.rejected import retried
from flywheel.cli.screen import say
from flywheel.cli.sending import HowToRead, Prepare, Sender, prepared_file, report
from flywheel.file_records.json_faults import NotJson, decoded

if TYPE_CHECKING:
    pass


class LineKind(StrEnum):
    """What the lines of a file are."""

    auto = "auto"
    predictions = "predictions"
    feedback = "feedback"
    samples = "samples"


class Format(StrEnum):
    """The form of the events; auto looks at the fields of each."""

    auto = "auto"
    native = "native"
    otel = "otel"
    tensorzero = "tensorzero"
    langfuse = "langfuse"
    phoenix = "phoenix"
    litellm = "litellm"
    mlflow = "mlflow"
    rasa = "rasa"
    openai = "openai"
    openai_responses = "openai-responses"
    anthropic = "anthropic"
    gemini = "gemini"
    openinference = "openinference"
    sft = "sft"


Encoding = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="The files' encoding, such as cp1252 or gbk; default: UTF-8."
    ),
]
Delimiter = Annotated[
    str,
    typer.Option(metavar="MARK", help="Between a CSV's cells; default: what its header shows."),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="Until they are loaded: count the new, the known, and the conflicts."
    ),
]
Socket = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Send over this Unix socket, as that of `ingest_socket`; default: the daemon's.",
        show_default=False,
    ),
]


def ingest(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="JSON or CSV; - is stdin.")
    ] = None,
    *,
    kind: Annotated[
        LineKind, typer.Option(help="What the lines are; auto looks at the fields of each.")
    ] = LineKind.auto,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            metavar="FORM",
            help=f"The form of the events; auto looks at each. One of {', '.join(Format)}.",
        ),
    ] = Format.auto,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    wait: Wait = False,
    socket: Socket = None,
    retry_rejected: Annotated[
        bool,
        typer.Option("--retry-rejected", help="Read what was rejected once more; takes no FILE."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts and every rejected line as JSON.")
    ] = False,
) -> None:
    """Send files of predictions, feedback or samples.

    JSON in flywheel's own form or one that your tools write: an object a line, a list of any
    size, objects over several lines, or an export that wraps them (data, hits, MongoDB). A CSV
    needs a header with text and id or intent. gzip, bzip2, xz, zstd and UTF-16 are told by their
    first bytes. Ids make it idempotent: sending a file again, or in another order, changes
    nothing. Feedback may come before its prediction. Every line is counted as accepted, repeated,
    skipped or rejected; exit code 1 when one was rejected.
    """
    if retry_rejected == bool(files):
        raise typer.BadParameter("name files, or say --retry-rejected")
    ask = daemon(ctx, socket) if socket else daemon(ctx)
    if retry_rejected:
        retried(ask, {}, as_json=as_json)
        return
    reading = HowToRead(encoding=encoding, delimiter=delimiter)
    query = {} if form == Format.auto else {"format": form.value}
    sender = Sender(ask, by_kind(kind), query | ({"wait": "1"} if wait else {}))
    guessed = kind is LineKind.auto and form is Format.auto
    look_again = sending.refuse_samples if guessed else None
    send(sender, files or [], as_json=as_json, look_again=look_again, reading=reading)


def send(
    sender: Sender,
    files: list[Path],
    *,
    as_json: bool,
    look_again: Callable[[Path, bytes], None] | None = None,
    reading: HowToRead | None = None,
) -> None:
    """Send `files`, print what became of them, and exit 1 when a line was rejected.

    Args:
        sender: of the lines.
        files: looked at before the first of them is sent.
        as_json: print the counts as JSON.
        look_again: refuses a file by its first bytes where another command is meant.
        reading: encoding and delimiter of the files.

    Raises:
        FlywheelError: a file is not there, or holds no records; nothing was sent.
    """
    for path in files:
        if str(path) != "-":
            sending.refuse_unsendable(path, look_again, reading)
    try:
        for path in files:
            file, size = prepared_file(path)
            with file:
                sender.send(str(path), file, size, reading)
    except KeyboardInterrupt:
        sender.stopped()
        raise typer.Exit(130) from None
    tally = sender.tally
    if as_json:
        say(json.dumps(tally.summary(), ensure_ascii=False))
    else:
        report(tally)
    if tally.rejected:
        raise typer.Exit(1)


def by_kind(kind: LineKind) -> Prepare:
    """How each line finds its route."""
    if kind is not LineKind.auto:
        return lambda line: (kind.value, line)
    return lambda line: (_kind_of(line), line)


def _kind_of(line: bytes) -> str:
    """Tell an event by its fields; what is no JSON object goes where the daemon says why not."""
    try:
        event = decoded(line)
    except NotJson:
        return "predictions"
    if not isinstance(event, dict):
        return "predictions"
    if "prediction_id" in event or "verdict" in event:
        return "feedback"
    return "samples" if "split" in event else "predictions"
