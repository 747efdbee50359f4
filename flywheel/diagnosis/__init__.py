"""Diagnosis: failing intents, the kinds of their failures, and briefs for the teacher. Pure."""

from flywheel.diagnosis.briefs import Failed, briefs, classify
from flywheel.diagnosis.budget import Lesson, Prices, learned
from flywheel.diagnosis.health import health

__all__ = ["Failed", "Lesson", "Prices", "briefs", "classify", "health", "learned"]
