"""`flywheel demo`: starter set, scripted teacher, simulated production, and three turns."""

from flywheel.demo.story import StoryOutcome, main, play

__all__ = ["StoryOutcome", "main", "play"]
