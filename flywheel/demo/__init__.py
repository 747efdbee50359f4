"""The embedded default: starter set, scripted teacher, traffic, and the story they tell."""

from flywheel.demo.story import StoryOutcome, main, play

__all__ = ["StoryOutcome", "main", "play"]
