"""A turn in which few raters taught what turns other texts waits for a person who has looked."""

from __future__ import annotations

import dataclasses

import pytest
from runtimes import PLAY, turn_once

from flywheel.config import PromotionTable
from flywheel.errors import Refused
from flywheel.turn import approve, verify
from tests.fakes import json_views as views
from tests.turn.test_raters_in_a_turn import tell


@pytest.fixture
def held(learned):
    """A turn after two raters taught one new word in four texts that the seeds do not doubt."""
    config = dataclasses.replace(
        learned.config, promotion=PromotionTable(mode="auto", bootstrap="auto")
    )
    runtime = dataclasses.replace(learned, config=config)
    plot = [(f"x-{n}", f"zorblax zorblax {n}", f"x-{n % 2}", "user", PLAY) for n in range(4)]
    tell(runtime, plot)
    turn_id = turn_once(runtime)
    return runtime, views.decision_view(runtime, views.turn_view(runtime, turn_id)["decision"])


def test_it_is_held_and_the_review_shows_what_was_taught_and_by_how_many(held):
    _, decision = held
    line = next(gate for gate in decision["gates"] if gate["gate"] == "changed_answers")
    assert line["verdict"] == "INCONCLUSIVE"
    assert decision["status"] == "pending"
    wording = decision["changed"]["wordings"][0]
    assert (wording["wording"], wording["intent"], wording["voices"]) == (
        "zorblax zorblax",
        PLAY,
        2,
    )
    assert wording["turned"] == len(wording["examples"]) or wording["turned"] > 10
    assert decision["changed"]["taught"][PLAY]["voices"] == 3  # and who has no name


def test_only_who_has_looked_can_approve_it(held):
    runtime, decision = held
    (offer,) = [offer for offer in decision["offers"] if offer["do"] == "approve"]
    with pytest.raises(Refused, match="a person has to look"):
        approve(runtime, decision["id"], "ada (uid 1000)", "blind")
    approved = approve(runtime, decision["id"], "ada (uid 1000)", "seen", looked=offer["looked"])
    assert approved.status == "applied"


def test_the_decision_can_be_recomputed_and_its_words_are_in_no_reason(held):
    runtime, decision = held
    assert verify(runtime, decision["id"])["same"]
    assert "zorblax" not in str([decision["because"], decision["gates"], decision["events"]])
