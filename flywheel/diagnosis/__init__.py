"""Diagnosis: which intents fail, how, and what should be written for them. Pure."""

from flywheel.diagnosis.briefs import Failed, briefs, classify
from flywheel.diagnosis.budget import Lesson, Prices, learned
from flywheel.diagnosis.health import health

__all__ = ["Failed", "Lesson", "Prices", "briefs", "classify", "health", "learned"]
