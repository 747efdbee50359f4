"""Which daemon is meant: where its config.toml is, and so its folders and its socket.

Reads `[flywheel]` only, and what the environment sets of it; the daemon checks the whole
(`flywheel doctor` does it without one). `flywheel.config` would take longer to import than a
command takes to answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import ConfigError

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

    Raises:
        ConfigError: there is none, or the one named does not exist.
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
    for path in (Path("config.toml"), SYSTEM_WIDE):
        if path.is_file():
            return path
    raise ConfigError(
        f"no config.toml here ({Path.cwd()}) and no {SYSTEM_WIDE}",
        hint="write one with `flywheel init`, or name one with --config FILE",
    )


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
    """Those keys of `[flywheel]` that a variable sets, as `config.overrides` reads them."""
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
