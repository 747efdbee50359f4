"""Which labels are refused as likely wrong."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.curation import NoiseScore, label_noise
from flywheel.records import Sample


def sample(number=0, origin="feedback", intent="play"):
    return Sample(id=f"s-{number}", text="放首歌", intent=intent, origin=origin, split="train")


def fits_better(odds, top="stop"):
    return NoiseScore(p_label=0.1, top=top, p_top=0.8, odds=odds)


scores = st.builds(
    NoiseScore,
    p_label=st.floats(0, 1),
    top=st.sampled_from(["play", "stop"]),
    p_top=st.floats(0, 1),
    odds=st.floats(1, 100),
)


@given(st.lists(scores), st.floats(1, 9), st.floats(1, 9), st.floats(0, 1))
def test_a_larger_ratio_never_refuses_more(given_scores, one, other, share):
    candidates = [sample(i) for i in range(len(given_scores))]
    by_id = {f"s-{i}": score for i, score in enumerate(given_scores)}
    loose, strict = (label_noise(candidates, by_id, r, share) for r in sorted((one, other)))
    assert len(loose.kept) <= len(strict.kept)
    assert len(loose.kept) + len(loose.refused) == len(candidates)


@given(scores, st.sampled_from(["seed", "person"]))
def test_seeds_and_what_a_person_labelled_are_never_refused(score, origin):
    assert label_noise([sample(origin=origin)], {"s-0": score}, 1.0, 1.0).refused == ()


def test_a_label_is_refused_where_another_intent_fits_that_many_times_better():
    for origin in ("feedback", "teacher"):
        for odds, refused in ((6.1, True), (6.0, False), (1.0, False)):
            curated = label_noise([sample(origin=origin)], {"s-0": fits_better(odds)}, 6.0, 1.0)
            assert bool(curated.refused) is refused


@given(st.lists(st.floats(7, 29), min_size=3, max_size=30))
@example([7.0, 28.999999999999996, 29.0])  # one number, divided by 6
def test_an_intent_that_is_doubted_as_a_whole_keeps_most_of_its_labels(odds):
    candidates = [sample(i) for i in range(len(odds))]
    by_id = {f"s-{i}": fits_better(each) for i, each in enumerate(odds)}
    curated = label_noise(candidates, by_id, 6.0, 0.34)
    assert len(curated.refused) == int(0.34 * len(odds))
    kept = [by_id[s.id].odds for s in curated.kept]
    assert all(by_id[r.sample.id].odds >= max(kept) for r in curated.refused)


def test_a_label_that_is_beyond_doubt_wrong_goes_even_where_it_is_the_only_one():
    curated = label_noise([sample()], {"s-0": fits_better(145.0)}, 6.0, 0.34)
    assert [refusal.reason for refusal in curated.refused] == ["label_noise"]
    assert curated.refused[0].detail == "stop fits 145 times better (0.80, its label 0.10)"


def test_a_sample_without_a_score_is_kept():
    curated = label_noise([sample(1), sample(2)], {"s-1": fits_better(90.0)}, 6.0, 1.0)
    assert [s.id for s in curated.kept] == ["s-2"]
