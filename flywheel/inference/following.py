"""Which adapter is to answer, where nobody orders it: the link's, or the one on a shelf.

A shelf's adapter is fetched first, every file by its published hash. The link then names it here
too, so that a server that starts while the shelf is away answers with what it answered last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flywheel.config import Config
from flywheel.errors import ConfigError, ServingAway
from flywheel.inference.loaded import linked
from flywheel.serving.link import ChampionLink
from flywheel.serving.shelf import Shelf, fetch, published, shelf_at

log = logging.getLogger(__name__)

LINK_S = 1.0
SHELF_S = 5.0
"""Seconds between two looks at the link, and at a shelf."""

Named = Callable[[], str | None]
"""The adapter that is to answer, with its folder here; None for none. May take its time, and raises
FlywheelError where it cannot be known or had."""


def named_by(config: Config) -> tuple[Named, float] | None:
    """What names the adapter, and the seconds between two looks; None: the daemon orders it.

    Raises:
        ConfigError: the shelf cannot be used as configured.
    """
    adapters_dir = config.state_dir / "adapters"
    match config.serving.kind:
        case "link":
            return (lambda: linked(adapters_dir)), LINK_S
        case "directory":
            place = config.serving.directory
            if not place:
                raise ConfigError(
                    "[serving] directory is empty, and kind is directory",
                    hint='name the daemon\'s: "/srv/champion", or "s3://bucket/prefix"',
                )
            shelf = shelf_at(place if "://" in place else str(config.root / place))
            return (lambda: _on_shelf(shelf, adapters_dir)), SHELF_S
    return None


def first(named: Named, adapters_dir: Path) -> str | None:
    """The adapter to start with: where the shelf is away, the one that answered last.

    Raises:
        FlywheelError: there is one, and it cannot be had.
    """
    try:
        return named()
    except ServingAway as error:
        last = linked(adapters_dir)
        if last is None:
            raise
        log.error(  # noqa: TRY400
            "starting with %s: %s", last, error.message, extra={"event": "serve.shelf_away"}
        )
        return last


def _on_shelf(shelf: Shelf, adapters_dir: Path) -> str | None:
    champion = published(shelf)
    link = ChampionLink(adapters_dir)
    if champion.adapter is None:
        link.retire()
        return None
    if link.serving() != champion.adapter:
        adapters_dir.mkdir(parents=True, exist_ok=True)
        fetch(shelf, champion, adapters_dir)
        link.promote(champion.adapter)
    return champion.adapter
