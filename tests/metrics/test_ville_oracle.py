"""The e-value of the gates is the one of another library, at stakes held fixed."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.metrics import loss_e_value

TINY = 1e-300  # so low a level makes the library's own stake larger than its ceiling, `c`


def wealth(units, margin, stake):
    """Its betting test on -1..1 against a mean of -margin, with this stake all along."""
    from ville.sequential import BettingTest  # takes a second, by scipy.stats

    ceiling = stake * (1 - margin)
    test = BettingTest(-margin, bounds=(-1, 1), alternative="greater", alpha=TINY, c=ceiling)
    return test.fit(np.array(units, float)).e_values_[-1]


@given(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=100),
    st.floats(0.05, 0.9),
)
@example([-1.0] * 6 + [-0.5] * 5 + [0.25, 1.0, 1.0, -1.0], 0.890625)  # each loss leaves 1/20
def test_the_e_value_is_that_of_a_library_of_betting_tests(units, margin):
    kappa = (margin - 0.04) / (margin * (1 - margin))
    oracle = (wealth(units, margin, 0.6 * kappa) + wealth(units, margin, kappa)) / 2
    assert loss_e_value(units, margin) == pytest.approx(oracle, rel=1e-5)  # it clips its stakes
