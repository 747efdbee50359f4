"""Where the champion is put: one module for each way to tell a server of it, and one row here, by
the name in `[serving] kind`."""

from collections.abc import Callable

from flywheel.config import Config, secret
from flywheel.errors import ConfigError
from flywheel.protocols import Serving
from flywheel.serving.by_command import CommandServing
from flywheel.serving.directory import Directory
from flywheel.serving.link import ChampionLink
from flywheel.serving.local_server import LocalServer
from flywheel.serving.shelf import shelf_at


def _link(config: Config) -> Serving:
    return ChampionLink(config.state_dir / "adapters")


def _local(config: Config) -> Serving:
    return LocalServer(config.state_dir / "adapters", config.serve_path)


def _directory(config: Config) -> Serving:
    place = config.serving.directory
    if not place:
        raise ConfigError(
            "[serving] directory is empty, and kind is directory",
            hint='for example directory = "/srv/champion", or "s3://bucket/prefix"',
        )
    shelf = shelf_at(place if "://" in place else str((config.root / place).resolve()))
    return Directory(config.state_dir / "adapters", shelf, config.state_dir / "serve" / "daemon-id")


def _command(config: Config) -> Serving:
    table = config.serving
    if not table.command:
        raise ConfigError(
            "[serving] command is empty, and kind is command",
            hint='for example command = ["/usr/local/bin/deploy"]',
        )
    try:
        token = secret(table.token_env) or ""
        return CommandServing(
            config.state_dir / "adapters", table.command, table.url, token, table.command_env
        )
    except ValueError as error:
        raise ConfigError(
            f"[serving] url: {error}", hint='for example url = "https://router.example.org"'
        ) from error


SERVING: dict[str, Callable[[Config], Serving]] = {
    "link": _link,
    "local": _local,
    "directory": _directory,
    "command": _command,
}
"""From the configuration to what serves one of its adapters; raises ConfigError."""

__all__ = ["SERVING", "ChampionLink", "CommandServing", "Directory", "LocalServer"]
