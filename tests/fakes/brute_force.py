"""What the near-duplicate search must agree with: every pair compared, without an index."""

from __future__ import annotations

from flywheel.curation import normalise, word_set
from flywheel.curation.duplicates import jaccard


def similarity(one: str, other: str) -> float:
    """1 for texts of the same normal form, otherwise the Jaccard index of their words."""
    if normalise(one) == normalise(other):
        return 1.0
    return jaccard(word_set(one), word_set(other))
