"""`flywheel doctor`: could the daemon work here, and if not, what to do?

Works without a daemon, changes nothing, and stops at nothing: each check is a line of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from flywheel.cli.doctor import doors, environment, incoming, learning, vocabulary
from flywheel.cli.doctor.environment import Finding, fail, warn
from flywheel.errors import FlywheelError

if TYPE_CHECKING:
    from flywheel.config import Config

__all__ = ["Finding", "examine"]


def examine(path: Path, announce: Callable[[str], None] = lambda text: None) -> Iterator[Finding]:
    """Yield a finding for each check, in the order in which they are worth reading.

    Args:
        path: the config file.
        announce: told what is being checked, before a check that takes seconds.
    """
    yield from environment.libraries()  # first: with a wrong one the other checks may not even run
    from flywheel.config import load

    try:
        config = load(path)
    except FlywheelError as error:
        yield fail("config", error.message, error.hint)
        return
    yield Finding(level="ok", check="config", text=f"{path}; state in {config.state_dir}")
    if config.overrides:
        names = ", ".join(config.overrides)
        yield Finding(level="ok", check="environment", text=f"{names}: over config.toml, here")
    with closing(environment.ask(config)) as daemon:
        yield from _with_config(config, daemon, announce)


def _with_config(
    config: Config, daemon: environment.Running, announce: Callable[[str], None]
) -> Iterator[Finding]:
    yield from _without_effect(config, daemon)
    yield from environment.startable(config, daemon)
    yield from doors.doors(config)
    yield from learning.intents(config)
    yield from environment.folder(config)
    yield from environment.database(config, daemon)
    yield from environment.server(config, daemon)
    announce("looking at what comes in…")
    seen = incoming.SeenTraffic()
    incoming.predictions(config, daemon, seen)
    yield from incoming.sources(config, daemon, seen)
    yield from incoming.named(learning.listed(config), seen, _golden(daemon))
    yield from incoming.labels(daemon)
    announce("checking the base model…")
    texts = [*learning.texts(daemon), *seen.texts()]
    spoken = bool(texts) or seen.n > 0
    texts += learning.described(config)
    looked = environment.look_at_base(config)
    yield environment.base(config, looked)
    if "folder" in looked:
        yield from vocabulary.scripts(config, Path(looked["folder"]), texts, spoken=spoken)
    yield from environment.device(config)
    announce("asking the teacher…")
    yield from learning.teacher(config)
    yield from environment.disk(config)
    yield from learning.golden(config, daemon)


def _golden(daemon: environment.Running) -> Mapping[str, int]:
    try:
        return learning.golden_rows(daemon)
    except FlywheelError:
        return {}  # told by its own check


def _without_effect(config: Config, daemon: environment.Running) -> Iterator[Finding]:
    """What the file asks for in vain, unless the running daemon says so itself."""
    from flywheel.config import without_effect

    named = daemon.status.get("problems") or []
    for words in without_effect(config):
        if words not in named:
            yield warn("watch", words)
