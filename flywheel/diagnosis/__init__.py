"""Diagnosis: failing intents, the kinds of their failures, and briefs for the teacher. Pure."""

from flywheel.diagnosis.alarms import PER_YEAR, Alarm, WeeklyAnswer, alarms, counted
from flywheel.diagnosis.briefs import SUSPECTED, Failed, briefs, classify, is_written_for
from flywheel.diagnosis.budget import Lesson, Prices, learned
from flywheel.diagnosis.doubt import Doubt, labels_that_tell, shares, worth_asking
from flywheel.diagnosis.health import ChampionLabels, feedback_stream, health
from flywheel.diagnosis.input_check import (
    UnknownName,
    input_problems,
    next_step,
    none_share,
    unknown_labels,
    unknown_names,
)

__all__ = [
    "PER_YEAR",
    "SUSPECTED",
    "Alarm",
    "ChampionLabels",
    "Doubt",
    "Failed",
    "Lesson",
    "Prices",
    "UnknownName",
    "WeeklyAnswer",
    "alarms",
    "briefs",
    "classify",
    "counted",
    "feedback_stream",
    "health",
    "input_problems",
    "is_written_for",
    "labels_that_tell",
    "learned",
    "next_step",
    "none_share",
    "shares",
    "unknown_labels",
    "unknown_names",
    "worth_asking",
]
