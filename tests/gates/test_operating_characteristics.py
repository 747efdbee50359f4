"""The shipped gates keep the promises of their specification over simulated turns."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gates_oc.py"


@pytest.fixture(scope="module")
def figures():
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--seeds", "3"], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    return json.loads(done.stdout.splitlines()[-1])


def reach(figures, key, question):
    """Three standard errors of a share."""
    share = figures[key]
    return 3 * math.sqrt(share * (1 - share) / figures["trials"][question])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("key", "question", "most"),
    [
        ("equal_promoted_30", "equal, in 30", 0.10),
        ("minus20_promoted", "-20 in one", 0.05),
        ("aa_failed", "equal fails", 0.05),
        ("pool_lost_promoted", "pool lost 20", 0.05),
        ("pool_half_lost_promoted", "half lost, 20 in all", 0.05),
        ("pool_equal_failed", "equal pool fails", 0.05),
    ],
)
def test_errors_stay_below_their_bounds_by_three_standard_errors(figures, key, question, most):
    assert figures[key] + reach(figures, key, question) <= most


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("key", "least"), [("power_2pt", 0.85), ("power_2pt_strict", 0.60)])
def test_two_points_are_found_by_three_standard_errors_more_than_promised(figures, key, least):
    assert figures[key] - reach(figures, key, "+2 points") >= least


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_better_challenger_passes_with_pools_where_no_rare_intent_could_alone(figures):
    assert figures["tail_power"] - reach(figures, "tail_power", "tail, +6") >= 0.75
    assert figures["tail_power_alone"] == 0
    assert figures["tail_told"] == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_collapse_and_no_poisoned_challenger_is_ever_promoted(figures):
    assert figures["collapses"] >= 600
    assert (figures["collapses_promoted"], figures["poison_promoted"]) == (0, 0)
