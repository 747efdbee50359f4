"""Curation: which samples are fit to learn from. Pure; every refusal says why."""

from flywheel.curation.age import aged
from flywheel.curation.names import name_texts, spoken
from flywheel.curation.neighbours import Near, near_duplicates
from flywheel.curation.noise import NoiseScore, label_noise
from flywheel.curation.paraphrase import Alike, in_their_neighbourhood, spread, without_paraphrases
from flywheel.curation.raters import Believed, bars, believe, capped, weighed
from flywheel.curation.screening import AGREED, TRUSTED, Curated, leaks, screen, without_leaks
from flywheel.curation.script import of_known_script, script
from flywheel.curation.text import normalise, word_set
from flywheel.curation.written import copied, stands_in, verified

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
