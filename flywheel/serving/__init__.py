"""Where the champion is put: one module for each way to tell a server of it, and one row here, by
the name in `[serving] kind`."""

from collections.abc import Callable
from pathlib import Path

from flywheel.protocols import Serving
from flywheel.serving.link import ChampionLink

SERVING: dict[str, Callable[[Path], Serving]] = {
    "link": ChampionLink,
}
"""From the folder of the adapters to what serves one of them."""

__all__ = ["SERVING", "ChampionLink"]
