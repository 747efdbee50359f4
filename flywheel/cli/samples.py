"""`flywheel samples`: seeds, dev and golden samples in; everything out; how many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flywheel.cli.command import Because, Json, daemon, examples, group, reason
from flywheel.cli.label import label
from flywheel.cli.screen import Column, raw_json, say, table
from flywheel.cli.text import clean, number, plural, share
from flywheel.errors import FlywheelError

app = group("Labelled samples: import, export, label, count.")


class ImportSplit(StrEnum):
    """What imported samples are for."""

    seed = "seed"
    dev = "dev"
    golden = "golden"
    fresh = "fresh"


class ExportSplit(StrEnum):
    """Which samples are exported."""

    train = "train"
    dev = "dev"
    golden = "golden"
    fresh = "fresh"


Encoding = Annotated[str, typer.Option(metavar="NAME", help="Of the file, such as cp1252 or gbk.")]
Lot = Annotated[
    str,
    typer.Option(
        metavar="HOW", help="How fresh samples were drawn, kept with each: '1 % of June, by lot'."
    ),
]


@app.command(
    name="import",
    epilog=examples(
        "flywheel samples import seeds.csv --split seed",
        "flywheel samples import golden.jsonl --split golden --new-generation",
        "flywheel samples import rows.jsonl --split dev --labels names.json",
    ),
)
def import_(
    ctx: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="JSON lines, a JSON list, CSV, TSV, …; - is stdin."),
    ],
    *,
    split: Annotated[
        ImportSplit | None,
        typer.Option(
            help="seed: to train on; dev: to choose with; golden, fresh: to judge. "
            "Default: as the file names its parts, train for seed and test for golden."
        ),
    ] = None,
    new_generation: Annotated[
        bool,
        typer.Option("--new-generation", help="Open a new golden generation and seal the old one."),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="NAMES",
            help='Names of labels: ["first", "second"], {"theirs": "yours"}, or one a line.',
        ),
    ] = None,
    encoding: Encoding = "",
    lot: Lot = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts and every rejected line as JSON.")
    ] = False,
) -> None:
    """Import labelled samples.

    Read are JSON lines, JSON lists, CSV and TSV with a header, CLINC150, AutoIntent, Rasa NLU
    (YAML, JSON), rows of Hugging Face, and fine-tuning lines with `messages`. The text is in
    `text`, `utterance`, `query`, `sentence` or `input`, the label in `intent`, `label`, `labels`,
    `intent_name`, `label_text` or `category`; a label null or `none` means no call. A golden
    sample may carry `must_pass`, `family`, and the production model's stored `answer`. A line that
    names another split than --split is rejected, and so is a golden text with two labels. Fresh
    samples are drawn by lot: one that is there because the champion was wrong favours whatever
    replaces it.
    """
    if new_generation and split not in (None, ImportSplit.golden):
        raise typer.BadParameter("only golden samples have generations", param_hint="--split")
    from flywheel.cli import training

    read = [training.read(path, split, encoding, training.names(labels)) for path in files]
    training.say_drawn(read, lot.strip())
    training.send(daemon(ctx), read, new_generation=new_generation, as_json=as_json)


@app.command(
    epilog=examples(
        "flywheel samples export --split train > train.jsonl",
        "flywheel samples export --split golden --out golden.jsonl",
    )
)
def export(
    ctx: typer.Context,
    *,
    split: Annotated[ExportSplit | None, typer.Option(help="Default: every split.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file; default: standard output.")
    ] = None,
) -> None:
    """Write the samples as NDJSON.

    `flywheel ingest --kind samples` reads them back as they are.
    """
    query = {"format": "ndjson"} | ({"split": split.value} if split else {})
    reply = daemon(ctx).get("samples", query=query)
    if "ndjson" not in reply.content_type and reply.body.lstrip().startswith(b"["):
        raise FlywheelError(
            "this daemon does not export samples yet", hint="count them: flywheel samples stats"
        )
    if out is None:
        if reply.body.strip():
            raw_json(reply.body)
        return
    with out.open("xb") as file:
        file.write(reply.body)
    say(f"wrote {clean(out)}: {number(len(reply.body.splitlines()))} samples")


@app.command(
    epilog=examples('flywheel samples dispute s-4fe1c0 --because "this is a timer, not an alarm"')
)
def dispute(
    ctx: typer.Context,
    sample: Annotated[str, typer.Argument(help="A golden sample's id.")],
    *,
    because: Because,
    settled: Annotated[
        bool, typer.Option("--settled", help="Its label was checked and stands: put it back.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Set a golden sample aside because its label is doubted.

    Where the golden generation was asked before, this counts from the next generation on; a
    decision that it would turn goes to a person. A must-pass example in dispute does so too.
    `flywheel review show --json` names the samples of broken examples.
    """
    body = {"sample": sample, "because": reason(because), "disputed": not settled}
    reply = daemon(ctx).post("disputes", value=body)
    if as_json:
        return raw_json(reply.body)
    told = reply.value
    state = "stands" if settled else "is set aside"
    later = told["from_generation"] > told["generation"]
    when = f" from golden generation {told['from_generation']} on" if later else ""
    say(f"{clean(sample)} {state}{when}; {number(told['standing'])} golden samples are disputed")
    return None


app.command(
    epilog=examples(
        "flywheel samples label",
        "flywheel samples label --list --json",
        "flywheel samples label --export labelstudio queue.json",
    )
)(label)


@app.command(epilog=examples("flywheel samples stats", "flywheel samples stats --json"))
def stats(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Count the samples of each intent.

    Training samples by origin; then the other splits. `feedback`: texts that verdicts gave an
    intent, which every turn screens before it learns from them. Where two people labelled the same
    texts, how far they agree: raw, and Cohen's kappa, which is 0 for agreement by chance.
    """
    ask = daemon(ctx)
    reply = ask.get("samples")
    if as_json:
        return raw_json(reply.body)
    rows: Sequence[Mapping[str, Any]] = reply.value
    if not rows:
        say("no samples yet", "next: flywheel samples import seeds.jsonl --split seed")
        return None
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        kind = row["origin"] if row["split"] == "train" else row["split"]
        counts[row["intent"]][kind] += int(row["count"])
    numbers = (Column(title=kind, right=True) for kind in _KINDS)
    heads = (Column(title="intent", least=14, names=True), *numbers)
    cells = [[clean(name), *_counts(counts[name])] for name in sorted(counts)]
    total: dict[str, int] = defaultdict(int)
    for each in counts.values():
        for kind, count in each.items():
            total[kind] += count
    say(*table(heads, [*cells, ["all", *_counts(total)]]))
    agreement: Mapping[str, Any] = ask.get("labels", "agreement").value
    if agreement["n"]:
        kappa = "" if agreement["kappa"] is None else f", kappa {agreement['kappa']:.2f}"
        disputed = (
            f"; {plural(agreement['disputed'], 'text')} disputed" if agreement["disputed"] else ""
        )
        both = f"{share(agreement['raw'])} of {plural(agreement['n'], 'text')}"
        say("", f"two people agree on {both}{kappa}{disputed}")
    return None


_KINDS = ("seed", "feedback", "teacher", "person", "dev", "golden", "fresh")


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [number(counts.get(kind) or None) for kind in _KINDS]
