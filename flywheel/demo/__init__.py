"""The embedded default: starter set, scripted teacher, traffic, and the story they tell."""

from flywheel.demo.story import Outcome, main, play

__all__ = ["Outcome", "main", "play"]
