"""Old feedback weighs less, and nothing else does."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from flywheel.curation import aged
from flywheel.records import Sample

NEWEST = datetime(2026, 11, 22, 5, 17, tzinfo=UTC)


def labelled(days, origin="feedback", weight=1.0, text=""):
    """A sample whose text was said so many days before the newest."""
    at = (NEWEST - timedelta(days=days)).isoformat()
    return Sample(
        id=f"s-{origin}-{days}",
        text=text or f"wake me in {days}",
        intent="set_alarm",
        origin=origin,
        split="train",
        provenance={"said_at": at} if origin == "feedback" else {},
        weight=weight,
    )


def test_a_label_weighs_half_a_half_life_after_and_never_less_than_a_tenth():
    rows = [labelled(0), labelled(30), labelled(60, weight=0.8), labelled(3000)]
    assert [one.weight for one in aged(rows, rows, 30)] == [1.0, 0.5, 0.2, 0.1]


def test_what_a_person_wrote_down_does_not_age():
    rows = [labelled(0), labelled(400, "seed"), labelled(400, "person"), labelled(400, "teacher")]
    assert [one.weight for one in aged(rows, rows, 30)] == [1.0, 1.0, 1.0, 1.0]


def test_what_is_said_again_does_not_age_whichever_of_its_samples_is_kept():
    said = [labelled(365, text="Wake me"), labelled(0, text="wake me!"), labelled(365)]
    assert [one.weight for one in aged([said[0], said[2]], said, 30)] == [1.0, 0.1]


def test_nothing_ages_unless_a_half_life_is_given():
    rows = [labelled(0), labelled(400)]
    assert aged(rows, rows, 0) == tuple(rows)
    assert aged([], [], 30) == ()


@given(st.lists(st.integers(0, 900), min_size=1), st.integers(1, 400), st.integers(0, 900))
def test_only_weights_change_they_fall_with_age_and_silence_makes_nothing_older(days, half, later):
    rows = [replace(labelled(each), id=f"s-{n}", text=f"text {n}") for n, each in enumerate(days)]
    found = aged(rows, rows, half)
    assert [replace(one, weight=1.0) for one in found] == rows
    by_age = sorted(zip(days, (one.weight for one in found), strict=True))
    weights = [weight for _, weight in by_age]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] == 1.0
    as_late = [
        replace(labelled(each + later), id=f"s-{n}", text=f"text {n}")
        for n, each in enumerate(days)
    ]
    assert [one.weight for one in aged(as_late, as_late, half)] == [one.weight for one in found]
