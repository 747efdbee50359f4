"""Where the champion is put: one module for each way to tell a server of it."""

from flywheel.serving.link import ChampionLink

__all__ = ["ChampionLink"]
