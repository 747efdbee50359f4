"""Which labels are refused as likely wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation import NoiseScore, label_noise
from flywheel.records import Sample


def sample(number=0, origin="feedback"):
    return Sample(id=f"s-{number}", text="放首歌", intent="play", origin=origin, split="train")


scores = st.builds(
    NoiseScore,
    p_label=st.floats(0, 1),
    top=st.sampled_from(["play", "stop"]),
    p_top=st.floats(0, 1),
)


@given(st.lists(scores), st.floats(1, 9), st.floats(1, 9))
def test_a_larger_ratio_never_refuses_more(given_scores, one, other):
    candidates = [sample(i) for i in range(len(given_scores))]
    by_id = {f"s-{i}": score for i, score in enumerate(given_scores)}
    loose, strict = (label_noise(candidates, by_id, ratio) for ratio in sorted((one, other)))
    assert {s.id for s in loose.kept} <= {s.id for s in strict.kept}
    assert len(loose.kept) + len(loose.refused) == len(candidates)


@given(scores, st.sampled_from(["seed", "person"]))
def test_seeds_and_what_a_person_labelled_are_never_refused(score, origin):
    assert label_noise([sample(origin=origin)], {"s-0": score}, 1.0).refused == ()


@pytest.mark.parametrize(
    ("score", "refused"),
    [
        (NoiseScore(p_label=0.1, top="stop", p_top=0.21), True),
        (NoiseScore(p_label=0.1, top="stop", p_top=0.2), False),
        (NoiseScore(p_label=0.9, top="play", p_top=0.9), False),
        (NoiseScore(p_label=0.0, top="stop", p_top=0.01), True),
    ],
)
def test_a_label_is_refused_where_another_is_more_than_twice_as_likely(score, refused):
    for origin in ("feedback", "teacher"):
        curated = label_noise([sample(origin=origin)], {"s-0": score}, 2.0)
        assert bool(curated.refused) is refused


def test_a_sample_without_a_score_is_kept_and_a_refusal_shows_the_numbers():
    doubted = NoiseScore(p_label=0.1, top="stop", p_top=0.82)
    curated = label_noise([sample(1), sample(2)], {"s-1": doubted}, 2.0)
    assert [s.id for s in curated.kept] == ["s-2"]
    assert curated.refused[0].reason == "label_noise"
    assert curated.refused[0].detail == "stop at 0.82, its label at 0.10"
