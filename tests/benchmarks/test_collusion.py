"""A few raters who work together plant no backdoor, and do not keep good challengers out."""

import pytest


@pytest.mark.slow
def test_no_backdoor_is_promoted_by_itself_and_honest_turns_are(figures_of):
    figures = figures_of("collusion.py")
    assert figures["backdoors_promoted"] == 0
    assert figures["backdoors"] >= 4
    assert figures["honest_turns"] >= 1
