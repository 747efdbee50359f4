"""The embedded default: starter set, scripted teacher, traffic, and the story they tell."""

from flywheel.demo.story import main

__all__ = ["main"]
