"""Promotion gates: may this challenger replace the champion?

Pure functions of paired outcomes and a rule. Each answers PASS, FAIL or INCONCLUSIVE, and
missing evidence is never read as safety: an absent metric, an empty intersection, an unknown
intent or a row without an answer cannot pass. A gate that is off, or has nothing to judge,
leaves a note instead of a verdict.
"""

from flywheel.gates.changed_answers import changed_answers, look_code, suspicious
from flywheel.gates.evidence import (
    ChangedAnswers,
    Evidence,
    HygieneFacts,
    Judgement,
    Ledger,
    TaughtWording,
)
from flywheel.gates.groups import out_of_scope, slices
from flywheel.gates.judge import GATES, CustomGate, Gate, check, custom_gates, judge, measures
from flywheel.gates.measures import calibration, latency
from flywheel.gates.next_generation import NextGeneration, next_generation
from flywheel.gates.outlook import (
    GoldenThatPays,
    Outlook,
    golden_that_pays,
    outlook,
)
from flywheel.gates.overall import fresh, overall, prescreen
from flywheel.gates.per_intent import IntentsJudged, intents
from flywheel.gates.pools import Pool, PoolVerdict, group_line, make_pools
from flywheel.gates.prerequisites import hygiene, must_pass
from flywheel.gates.retirement import GoldenRow, judged_enough, shared
from flywheel.gates.units import Kept, Units, kept, pair

__all__ = [
    "GATES",
    "ChangedAnswers",
    "CustomGate",
    "Evidence",
    "Gate",
    "GoldenRow",
    "GoldenThatPays",
    "HygieneFacts",
    "IntentsJudged",
    "Judgement",
    "Kept",
    "Ledger",
    "NextGeneration",
    "Outlook",
    "Pool",
    "PoolVerdict",
    "TaughtWording",
    "Units",
    "calibration",
    "changed_answers",
    "check",
    "custom_gates",
    "fresh",
    "golden_that_pays",
    "group_line",
    "hygiene",
    "intents",
    "judge",
    "judged_enough",
    "kept",
    "latency",
    "look_code",
    "make_pools",
    "measures",
    "must_pass",
    "next_generation",
    "out_of_scope",
    "outlook",
    "overall",
    "pair",
    "prescreen",
    "shared",
    "slices",
    "suspicious",
]
