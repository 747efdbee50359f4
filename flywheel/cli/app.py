"""The command line as a whole: every command, and how an error ends it."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flywheel import __version__
from flywheel.cli import (
    adapters,
    alias,
    base_models,
    database,
    ingest,
    plugins,
    predict,
    rejected,
    review,
    samples,
    screen,
    start,
    status,
    turns,
)
from flywheel.cli.command import ConfigFile, examples
from flywheel.cli.screen import complain, say
from flywheel.errors import FlywheelError


class _Commands(TyperGroup):
    """Ends a command that failed with two lines, not with a stack trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FlywheelError as error:
            complain(error)
        except OSError as error:
            if error.errno == errno.EPIPE:  # `flywheel … | head`; typer ends it quietly
                raise
            what = f"{error.filename}: " if error.filename else ""
            complain(FlywheelError(f"{what}{error.strerror or error}"))
        raise typer.Exit(1)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=examples("flywheel init", "flywheel run", "flywheel status"),
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"flywheel {__version__}")
        raise typer.Exit


@app.callback()
def _flywheel(
    config: ConfigFile = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit."),
    ] = False,
) -> None:
    """Keep a small production model getting better by itself, and review what it decides."""
    screen.remember(config)


app.command(epilog=examples("flywheel demo", "flywheel demo my-demo --keep"))(start.demo)
app.command(epilog=examples("flywheel init", "flywheel init /etc/flywheel"))(start.init)
app.command(epilog=examples("flywheel run", "flywheel run --once"))(start.run)
app.command(epilog=examples("flywheel serve", "flywheel serve --config config.toml"))(start.serve)
app.command(
    epilog=examples("flywheel predict texts.txt", "flywheel predict - --adapter a-3f2c01d4e5b6")
)(predict.predict)
app.command(epilog=examples("flywheel doctor", "flywheel doctor --config config.toml"))(
    start.doctor
)
app.command(epilog=examples("flywheel status", "flywheel status --json"))(status.status)
app.command(epilog=examples("flywheel reload", "systemctl reload flywheel"))(start.reload)
intents = typer.Typer(
    no_args_is_help=False,
    rich_markup_mode=None,
    epilog=examples("flywheel intents", "flywheel intents --failing"),
)
intents.callback(invoke_without_command=True)(status.intents)
intents.command(epilog=examples("flywheel intents alias SetAlarm set_alarm"))(alias.alias)
app.add_typer(intents, name="intents")
app.command(
    epilog=examples(
        "flywheel ingest traffic.jsonl", "flywheel ingest feedback.jsonl --kind feedback"
    )
)(ingest.ingest)
app.add_typer(rejected.rejected, name="rejected")
app.add_typer(rejected.feedback, name="feedback")
app.add_typer(samples.app, name="samples")
app.add_typer(turns.app, name="turn")
app.add_typer(review.app, name="review")
app.add_typer(adapters.app, name="adapters")
app.add_typer(base_models.app, name="base")
app.add_typer(plugins.app, name="plugins")
app.add_typer(database.app, name="db")
app.command(
    epilog=examples(
        "flywheel erase --session s-9 --json", "flywheel erase --rater u-77 --and-retrain"
    )
)(database.erase)
app.command(epilog=examples("flywheel log", "flywheel log --lines 200 --turn t-3"))(start.log)
