"""Curation: rules that accept or refuse training samples. Pure; every refusal has a reason."""

from flywheel.curation.duplicates import Near, near_duplicates, normalise, word_set
from flywheel.curation.noise import NoiseScore, label_noise
from flywheel.curation.raters import Believed, aged, bars, believe, capped, weighed
from flywheel.curation.screening import (
    AGREED,
    TRUSTED,
    Curated,
    leaks,
    name_texts,
    screen,
    spoken,
    without_leaks,
)
from flywheel.curation.written import (
    Alike,
    copied,
    in_their_neighbourhood,
    of_known_script,
    script,
    spread,
    stands_in,
    verified,
    without_paraphrases,
)

__all__ = [
    "AGREED",
    "TRUSTED",
    "Alike",
    "Believed",
    "Curated",
    "Near",
    "NoiseScore",
    "aged",
    "bars",
    "believe",
    "capped",
    "copied",
    "in_their_neighbourhood",
    "label_noise",
    "leaks",
    "name_texts",
    "near_duplicates",
    "normalise",
    "of_known_script",
    "screen",
    "script",
    "spoken",
    "spread",
    "stands_in",
    "verified",
    "weighed",
    "without_leaks",
    "without_paraphrases",
    "word_set",
]
