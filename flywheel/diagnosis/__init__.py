"""Diagnosis: failing intents, the kinds of their failures, and briefs for the teacher. Pure."""

from flywheel.diagnosis.briefs import Failed, briefs, classify
from flywheel.diagnosis.budget import Lesson, Prices, learned
from flywheel.diagnosis.health import health
from flywheel.diagnosis.input_check import (
    UnknownName,
    input_problems,
    none_share,
    unknown_names,
)

__all__ = [
    "Failed",
    "Lesson",
    "Prices",
    "UnknownName",
    "briefs",
    "classify",
    "health",
    "input_problems",
    "learned",
    "none_share",
    "unknown_names",
]
