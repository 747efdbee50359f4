"""Curation: which samples are fit to learn from. Pure; every refusal says why."""

from flywheel.curation.neighbours import Near, near_duplicates
from flywheel.curation.noise import NoiseScore, label_noise
from flywheel.curation.raters import Believed, bars, believe, capped, weighed
from flywheel.curation.schema import argument_problems
from flywheel.curation.screening import AGREED, TRUSTED, Curated, leaks, screen, without_leaks
from flywheel.curation.text import normalise, similarity, word_set
from flywheel.curation.written import copied, stands_in, verified

__all__ = [
    "AGREED",
    "TRUSTED",
    "Believed",
    "Curated",
    "Near",
    "NoiseScore",
    "argument_problems",
    "bars",
    "believe",
    "capped",
    "copied",
    "label_noise",
    "leaks",
    "near_duplicates",
    "normalise",
    "screen",
    "similarity",
    "stands_in",
    "verified",
    "weighed",
    "without_leaks",
    "word_set",
]
