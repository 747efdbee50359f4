"""Did counts by category move? An exact test of two samples, by drawing again. Pure.

Where both samples are of the same distribution, and their members independent, every way to deal
their members over the two is as likely. The p-value is then uniform, whatever the categories, and
however rare some are: no large-sample formula is needed for its small values.
"""

from __future__ import annotations

from collections.abc import Mapping

_DRAWS = 4000
_GLANCE = 100  # draws after which a p-value that is far from small is left as it is
_FAR = 20  # of these, at least as extreme


def shift_p(reference: Mapping[str, int], recent: Mapping[str, int], seed: int) -> float:
    """Return the p-value of "both are of one distribution": uniform where that holds.

    The statistic is Pearson's; ties are broken by lot.

    Args:
        reference, recent: members by category, 0 or more.
        seed: of the draws.

    Raises:
        ValueError: one of them has no members.

    Source: Dwass 1957 (permutation by sampling); Besag and Clifford 1991 (stopping early).

    >>> shift_p({"a": 500, "none": 50}, {"a": 80, "none": 20}, 1) < 0.01
    True
    """
    import numpy

    names = sorted({*reference, *recent})
    seen = numpy.array([recent.get(name, 0) for name in names])
    whole = seen + numpy.array([reference.get(name, 0) for name in names])
    if not 0 < seen.sum() < whole.sum():
        raise ValueError("a sample has no members")
    seen, whole = seen[whole > 0], whole[whole > 0]
    random = numpy.random.default_rng(seed)
    observed = float((seen**2 / whole).sum())
    more, ties, drawn = 0, 0, 0
    while drawn < _DRAWS:
        size = _GLANCE if not drawn else _DRAWS - drawn
        dealt = random.multivariate_hypergeometric(whole, int(seen.sum()), size, "marginals")
        statistic = (dealt**2 / whole).sum(axis=1)
        equal = numpy.isclose(statistic, observed, rtol=1e-12, atol=0)
        more += int(((statistic > observed) & ~equal).sum())
        ties += int(equal.sum())
        drawn += size
        if drawn == _GLANCE and more + ties >= _FAR:
            break
    return float((more + random.random() * (1 + ties)) / (drawn + 1))
