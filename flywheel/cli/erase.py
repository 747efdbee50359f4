"""`flywheel erase`: one person's data, everywhere."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flywheel.cli.command import daemon
from flywheel.cli.screen import say
from flywheel.cli.text import clean


def erase(
    ctx: typer.Context,
    *,
    session: Annotated[str, typer.Option(help="Predictions with this slice `session`.")] = "",
    rater: Annotated[str, typer.Option(help="Feedback and samples of this rater.")] = "",
    prediction: Annotated[str, typer.Option(help="One prediction, by its id.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Remove one person's data everywhere.

    Tables, datasets and jobs are cleaned, and the adapters that learned from it are named.

    A text that somebody else said too stays theirs. Adapters are named and not changed: roll back
    or train anew where they must go. Exit code 1 when a search still finds something.
    """
    asked = {"session": session, "rater": rater, "prediction": prediction}
    asked = {name: value for name, value in asked.items() if value}
    if len(asked) != 1:
        raise typer.BadParameter("name one of --session, --rater, --prediction")
    said = daemon(ctx).post("erase", value=asked).value
    if as_json:
        say(json.dumps(said, ensure_ascii=False))
    else:
        rows = ", ".join(f"{count} of {name}" for name, count in said["removed"].items())
        say(f"removed {rows or 'nothing'}; {len(said['files'])} files rewritten or deleted")
        for each in said["adapters"]:
            say(f"trained on it: {clean(each)}")
        for place in said["left"]:
            if ".before-" in place and "/" not in place:
                say(f"not searched: {clean(place)}, which a restore set aside; delete it")
            else:
                say(f"still found in {clean(place)}")
    if said["left"]:
        raise typer.Exit(1)
