"""Distribution functions, from `scipy.special`, which is imported by whoever needs one first.

It takes as long to import as half of what a daemon needs, or a command that reads the store: most
of them judge nothing. Names and arguments are those of `scipy.special`.
"""

from __future__ import annotations


def betainc(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function: the CDF of Beta(a, b) at x.

    For whole numbers also P(Bin(a + b - 1, x) >= a).
    """
    from scipy.special import betainc as function

    return float(function(a, b, x))


def gammainc(a: float, x: float) -> float:
    """Return the regularised lower incomplete gamma function; P(Poisson(x) >= a) for whole a."""
    from scipy.special import gammainc as function

    return float(function(a, x))


def bdtr(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) <= k)."""
    from scipy.special import bdtr as function

    return float(function(k, n, p))


def bdtrc(k: int, n: int, p: float) -> float:
    """Return P(Bin(n, p) > k)."""
    from scipy.special import bdtrc as function

    return float(function(k, n, p))


def stdtrit(df: float, p: float) -> float:
    """Return the quantile p of Student's t distribution with `df` degrees of freedom."""
    from scipy.special import stdtrit as function

    return float(function(df, p))
