"""What every command shares: its group, its examples, its options, its daemon."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flywheel.cli.paths import Place, find
from flywheel.errors import DaemonUnreachable, FlywheelError

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

Json = Annotated[bool, typer.Option("--json", help="Print the daemon's JSON as it is.")]
Because = Annotated[
    str, typer.Option("--because", help="Why; kept in the audit trail.", metavar="TEXT")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The daemon's config.toml; default: $FLYWHEEL_CONFIG, ./config.toml, "
        "/etc/flywheel/config.toml.",
        show_default=False,
    ),
]


def group(text: str) -> typer.Typer:
    """A group of commands; without one of them it prints its help."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def examples(*lines: str) -> str:
    """The end of a command's help: lines that can be typed as they are."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\b\n" + "\n".join([title, *(f"  {line}" for line in lines)])


def named_config(ctx: typer.Context) -> Path | None:
    """The file given to `flywheel --config FILE …`, if any."""
    value = ctx.find_root().params.get("config")
    return value if isinstance(value, Path) else None


def place(ctx: typer.Context) -> Place:
    """The folders of the daemon that this command is about; raises ConfigError."""
    return find(named_config(ctx))


def daemon(ctx: typer.Context) -> DaemonClient:
    """A client of the daemon that this command is about; raises ConfigError."""
    from flywheel.cli.client import (
        DaemonClient,  # http.client is a third of what `--help` would take
    )

    client = DaemonClient(place(ctx).socket)
    ctx.call_on_close(client.close)
    return client


def running(folders: Place) -> bool:
    """Whether a daemon answers for these folders."""
    from flywheel.cli.client import DaemonClient

    client = DaemonClient(folders.socket, timeout_s=10)
    try:
        client.get("status")
    except DaemonUnreachable:
        return False
    except FlywheelError:
        return True
    finally:
        client.close()
    return True


def reason(because: str) -> str:
    """Refuse an empty reason: it is there for whoever reads the audit trail later.

    Raises:
        typer.BadParameter: there is nothing but space.
    """
    if not because.strip():
        raise typer.BadParameter("say why in a few words", param_hint="--because")
    return because.strip()
