"""What every command shares: its group, examples and options, and which daemon it means."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flywheel.errors import ConfigError, DaemonUnreachable, FlywheelError

if TYPE_CHECKING:
    from flywheel.cli.client import DaemonClient

# Which daemon is meant: where its config.toml is, and so its folders and its socket.
#
# Reads `[flywheel]` only, and what the environment sets of it; the daemon checks the whole
# (`flywheel doctor` does it without one). `flywheel.config` would take longer to import than a
# command takes to answer.

VARIABLE = "FLYWHEEL_CONFIG"
SYSTEM_WIDE = Path("/etc/flywheel/config.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The folders of one daemon."""

    config: Path
    state_dir: Path
    log_dir: Path | None  # None: it logs to the journal only

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.state_dir / "flywheel.sock"

    @property
    def database(self) -> Path:
        """The file that the daemon keeps everything in."""
        return self.state_dir / "flywheel.duckdb"


def find_config(named: Path | None) -> Path:
    """Return the config file to use: `named`, else FLYWHEEL_CONFIG, ./config.toml, or /etc.

    A config.toml names code to run: plug-ins, commands. So the one that merely lies here is taken
    when it is the caller's or root's, with its folder and the plug-ins beside it.

    Raises:
        ConfigError: there is none, the one named does not exist, or the one here is a stranger's.
    """
    from_variable = os.environ.get(VARIABLE)
    for path, whose in ((named, "--config"), (from_variable, VARIABLE)):
        if path:
            if Path(path).is_file():
                return Path(path)
            raise ConfigError(
                f"{path}: no such file (named by {whose})",
                hint="name a config.toml, or write one with `flywheel init`",
            )
    here = Path("config.toml")
    if here.is_file():
        if strange := _not_ones_own(here):
            raise ConfigError(
                f"{strange} is another user's (uid {strange.stat().st_uid}), and config.toml names "
                "code to run",
                hint=f"if you trust it, name it: --config {shlex.quote(str(here.resolve()))}",
            )
        return here
    if SYSTEM_WIDE.is_file():
        return SYSTEM_WIDE
    raise ConfigError(
        f"no config.toml here ({Path.cwd()}) and no {SYSTEM_WIDE}",
        hint="write one with `flywheel init`, or name one with --config FILE",
    )


def _not_ones_own(config: Path) -> Path | None:
    """The first of the file, its folder and its plug-ins that is neither the caller's nor root's.

    Under sudo the caller is the user who called it too, as git has it.
    """
    mine = {0, os.geteuid()}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        mine.add(int(os.environ["SUDO_UID"]))
    folder = config.resolve().parent
    plugins = folder / "plugins"
    for path in (config.resolve(), folder, plugins, *sorted(plugins.glob("*.py"))):
        if path.exists() and path.stat().st_uid not in mine:
            return path
    return None


def find(named: Path | None) -> Place:
    """Return the folders of the daemon that `named` (or the default config) describes.

    Raises:
        ConfigError: there is no config, it is not TOML, or `[flywheel]` holds no text.
    """
    import tomllib

    path = find_config(named)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: {error}", hint=f"correct it; check with `flywheel doctor --config {path}`"
        ) from error
    table = content.get("flywheel", {})
    if isinstance(table, dict):
        table |= _from_environment("state_dir", "log_dir")
    log_dir = _text(table, "log_dir", "logs", path)
    return Place(
        config=path,
        state_dir=(path.parent / _text(table, "state_dir", "var", path)).resolve(),
        log_dir=(path.parent / log_dir).resolve() if log_dir else None,
    )


def _from_environment(*keys: str) -> dict[str, str]:
    """Those keys of `[flywheel]` that a variable sets, as `config.load` reads them."""
    variables = {name.upper(): value for name, value in os.environ.items()}
    names = {key: f"FLYWHEEL_FLYWHEEL__{key.upper()}" for key in keys}
    return {key: variables[name] for key, name in names.items() if name in variables}


def _text(table: Any, key: str, default: str, path: Path) -> str:
    value = table.get(key, default) if isinstance(table, dict) else None
    if not isinstance(value, str):
        raise ConfigError(
            f"{path}: [flywheel] {key} is not text", hint=f'write {key} = "{default}"'
        )
    return value


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


def daemon(ctx: typer.Context, socket: Path | None = None) -> DaemonClient:
    """A client of the daemon on this socket, or of the one that the command is about.

    Raises:
        ConfigError: no socket is named, and there is no config that could be used.
    """
    from flywheel.cli.client import (
        DaemonClient,  # http.client is a third of what `--help` would take
    )

    client = DaemonClient(socket or place(ctx).socket)
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
